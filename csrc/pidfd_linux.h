/* SPDX-License-Identifier: MIT
 * The calls on pidfds that more than one file makes (pidfd_open(2)). */
#ifndef PP_PIDFD_LINUX_H
#define PP_PIDFD_LINUX_H

#include "pp.h"

#include <poll.h>
#include <sys/syscall.h>

#include "util.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* for headers before Linux 5.3 */
#endif

/* A descriptor, close-on-exec, that pins the process.
 *   -ESRCH                    no such process
 *   -EINVAL, -ENOENT          the id of a thread
 *   -ENOSYS, -EPERM, -EACCES  no such call here
 *   -EMFILE, -ENFILE, -ENOMEM */
static inline int
pidfd_of(int32_t pid)
{
    return nerrno((int) syscall(SYS_pidfd_open, pid, 0));
}

/* 1: exited (a zombie, or reaped); 0: not.
 *   -ENOMEM */
static inline int
pidfd_has_exited(int fd)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    int r;

    do
        r = nerrno(poll(&item, 1, 0));
    while (r == -EINTR);
    if (r < 0)
        return r;
    return r > 0;
}

#endif
