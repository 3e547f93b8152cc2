/* SPDX-License-Identifier: MIT
 * Signals to a process that was proven to be the one that is meant. */
#include "pp.h"

#include <signal.h>

#include "judging.h"
#include "pidfd_linux.h"
#include "util.h"

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#define SIGNAL_PROCESS_GROUP (1U << 2) /* PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9 */

static int
signal_group(const struct pp_identity *identity, int fd, int signal_number)
{
    int r;

    if (fd >= 0) {
        r = nerrno((int) syscall(SYS_pidfd_send_signal, fd, signal_number, NULL,
                                 SIGNAL_PROCESS_GROUP));
        if (r != -EINVAL)
            return r;
        /* Before 6.9.  While the leader is not reaped, or a member lives, its number is taken. */
        r = nerrno((int) syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
        if (r < 0)
            return r;
    }
    return nerrno(kill(-identity->pid, signal_number));
}

int
pp_process_signal(const struct pp_host *host, const struct pp_identity *identity, int32_t fd,
                  int32_t signal_number, int scope)
{
    int32_t reason;
    int r;

    if (identity->pid <= 1)
        return -EPERM;
    if (fd < 0) {
        switch (pp_process_compare(host, identity, &reason)) {
        case PP_ALIVE:
            break;
        case PP_GONE:
            /* A leader that is not reaped still proves its group. */
            if (scope == PP_SCOPE_GROUP && reason == PP_EXITED)
                break;
            return -ESRCH;
        default:
            return judge_unproven(reason);
        }
    }
    if (scope == PP_SCOPE_GROUP)
        return signal_group(identity, fd, signal_number);
    if (fd < 0)
        return nerrno(kill(identity->pid, signal_number));
    /* To a zombie the kernel would report success. */
    r = pidfd_has_exited(fd);
    if (r)
        return r < 0 ? r : -ESRCH;
    return nerrno((int) syscall(SYS_pidfd_send_signal, fd, signal_number, NULL, 0));
}
