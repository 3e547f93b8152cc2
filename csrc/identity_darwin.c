/* SPDX-License-Identifier: MIT
 * Which process is that: identity by p_uniqueid, else by start time.
 *
 * There is nothing that pins a process.  The event of its exit is registered first and the process
 * verified after: then the event is of that very process, whoever has the pid later. */
#include "pp.h"

#include <string.h>

#include "exit_darwin.h"
#include "facts_darwin.h"
#include "judging.h"

int
pp_process_compare(const struct pp_host *host, const struct pp_identity *identity,
                   int32_t *ret_reason)
{
    struct facts facts;

    return facts_judge(host, identity, &facts, ret_reason);
}

int
pp_process_open(const struct pp_host *host, const struct pp_identity *identity,
                int32_t *ret_fd, int32_t *ret_reason)
{
    CLEANUP_CLOSE int fd = -EBADF;
    int r, registered;

    *ret_fd = -1;
    r = pp_process_compare(host, identity, ret_reason);
    if (r != PP_ALIVE || !(host->features & PP_HAS_KQUEUE))
        return r;
    fd = exit_queue();
    if (fd < 0)
        return answer(PP_UNKNOWN, fd, ret_reason);
    registered = exit_register(fd, identity->pid);
    r = pp_process_compare(host, identity, ret_reason);
    if (r != PP_ALIVE)
        return r;
    /* Alive after all, so the kernel has not got to showing that it exits. */
    if (registered == -ESRCH)
        return answer(PP_GONE, PP_EXITED, ret_reason);
    if (registered < 0)
        return answer(PP_UNKNOWN, registered, ret_reason);
    *ret_fd = take_fd(&fd);
    return r;
}

int
pp_process_poll(const struct pp_host *host, const struct pp_identity *identity, int32_t fd,
                int32_t *ret_reason)
{
    if (fd >= 0 && exit_has_come(fd) > 0)
        return answer(PP_GONE, PP_EXITED, ret_reason);
    /* The event comes late while a debugger holds the process, so it is asked for as well. */
    return pp_process_compare(host, identity, ret_reason);
}

int
pp_process_identify(const struct pp_host *host, int32_t pid, struct pp_identity *ret_identity)
{
    struct pp_identity identity = {.pid = pid, .pid_namespace = host->pid_namespace};
    struct facts facts;
    int r;

    if (pid <= 0)
        return -EINVAL;
    r = facts_read(host, pid, &facts);
    if (r < 0)
        return r;
    if (facts.is_exiting)
        return -ESRCH;
    memcpy(identity.boot_id, host->boot_id, PP_BOOT_ID_SIZE);
    identity.uid = facts.uid;
    identity.start_time = facts.start_time;
    identity.unique_id = facts.unique_id;
    *ret_identity = identity;
    return 0;
}
