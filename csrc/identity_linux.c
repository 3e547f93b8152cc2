/* SPDX-License-Identifier: MIT
 * Which process is that: identity by pidfs inode, else by start time, read behind a pidfd.
 *
 * The order is always the same: pin the process (pidfd_open), compare or read, then see that it
 * has not exited.  While it has not, its pid cannot have been given to another. */
#include "pp.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "judging.h"
#include "pidfd_linux.h"
#include "procfs_linux.h"
#include "util.h"

/* Is this the answer of a kernel or a filter that has no pidfds, rather than about the pid? */
static int
pidfd_is_missing(int r)
{
    return r == -ENOSYS || r == -EPERM || r == -EACCES;
}

/* The start time as it is outside any time namespace. */
static uint64_t
unshifted(const struct pp_host *host, uint64_t start_time)
{
    return start_time - (uint64_t) (host->boottime_offset / host->tick);
}

static int
compare_start(const struct pp_host *host, const struct pp_identity *identity, uint64_t shown,
              int32_t *ret_reason)
{
    uint64_t now = unshifted(host, shown);
    uint64_t distance =
        now > identity->start_time ? now - identity->start_time : identity->start_time - now;

    if (distance == 0)
        return answer(PP_ALIVE, PP_SAME_PROCESS, ret_reason);
    if (distance == 1 && (host->features & PP_CLOCK_INEXACT))
        return answer(PP_UNKNOWN, PP_TOO_CLOSE, ret_reason);
    return answer(PP_GONE, PP_OTHER_PROCESS, ret_reason);
}

/* Compare the process that `fd` pins. */
static int
compare_pinned(const struct pp_host *host, const struct pp_identity *identity, int fd,
               int32_t *ret_reason)
{
    int r, liveness = PP_ALIVE;

    if (identity->unique_id && (host->features & PP_HAS_PIDFS)) {
        struct stat st;

        if (fstat(fd, &st) < 0)
            return answer(PP_UNKNOWN, -errno, ret_reason);
        if (st.st_ino != identity->unique_id)
            return answer(PP_GONE, PP_OTHER_PROCESS, ret_reason);
    } else if (!identity->start_time) {
        return answer(PP_UNKNOWN, PP_NOTHING_TO_COMPARE, ret_reason);
    } else if (!(host->features & PP_HAS_PROC)) {
        return answer(PP_UNKNOWN, -EXDEV, ret_reason);
    } else {
        struct procfs_stat stat;

        r = procfs_stat(identity->pid, &stat);
        if (r == -ESRCH) {
            /* Either it has just been reaped, or hidepid hides it from us. */
            r = pidfd_has_exited(fd);
            if (r > 0)
                return answer(PP_GONE, PP_EXITED, ret_reason);
            return answer(PP_UNKNOWN, r < 0 ? r : -EACCES, ret_reason);
        }
        if (r < 0)
            return answer(PP_UNKNOWN, r, ret_reason);
        liveness = compare_start(host, identity, stat.start_time, ret_reason);
        if (liveness == PP_GONE)
            return liveness;
    }

    r = pidfd_has_exited(fd);
    if (r < 0)
        return answer(PP_UNKNOWN, r, ret_reason);
    if (r > 0)
        return answer(PP_GONE, PP_EXITED, ret_reason);
    if (liveness == PP_UNKNOWN)
        return liveness;
    return answer(PP_ALIVE, PP_SAME_PROCESS, ret_reason);
}

/* Compare without pidfds: the start time alone, and the state for a zombie.  A leader thread that
 * ended before its process shows Z as well, with more than one thread left. */
static int
compare_by_number(const struct pp_host *host, const struct pp_identity *identity,
                  int32_t *ret_reason)
{
    struct procfs_stat stat;
    int r;

    if (kill(identity->pid, 0) < 0 && errno == ESRCH)
        return answer(PP_GONE, PP_NO_SUCH_PID, ret_reason);
    if (!(host->features & PP_HAS_PROC))
        return answer(PP_UNKNOWN, -EXDEV, ret_reason);
    if (!identity->start_time)
        return answer(PP_UNKNOWN, PP_NOTHING_TO_COMPARE, ret_reason);
    r = procfs_stat(identity->pid, &stat);
    if (r == -ESRCH) {
        if (kill(identity->pid, 0) < 0 && errno == ESRCH)
            return answer(PP_GONE, PP_NO_SUCH_PID, ret_reason);
        return answer(PP_UNKNOWN, -EACCES, ret_reason);
    }
    if (r < 0)
        return answer(PP_UNKNOWN, r, ret_reason);
    r = compare_start(host, identity, stat.start_time, ret_reason);
    if (r != PP_GONE && (stat.state == 'X' || (stat.state == 'Z' && stat.threads <= 1)))
        return answer(PP_GONE, PP_EXITED, ret_reason);
    return r;
}

int
pp_process_open(const struct pp_host *host, const struct pp_identity *identity,
                int32_t *ret_fd, int32_t *ret_reason)
{
    CLEANUP_CLOSE int fd = -EBADF;
    int r;

    *ret_fd = -1;
    r = judge_unseen(host, identity, ret_reason);
    if (r)
        return r;
    if (!(host->features & PP_HAS_PIDFD))
        return compare_by_number(host, identity, ret_reason);

    fd = pidfd_of(identity->pid);
    if (fd == -ESRCH)
        return answer(PP_GONE, PP_NO_SUCH_PID, ret_reason);
    if (fd == -EINVAL || fd == -ENOENT) /* a thread has the number by now */
        return answer(PP_GONE, PP_OTHER_PROCESS, ret_reason);
    if (pidfd_is_missing(fd))
        return compare_by_number(host, identity, ret_reason);
    if (fd < 0)
        return answer(PP_UNKNOWN, fd, ret_reason);
    r = compare_pinned(host, identity, fd, ret_reason);
    if (r == PP_ALIVE)
        *ret_fd = take_fd(&fd);
    return r;
}

int
pp_process_compare(const struct pp_host *host, const struct pp_identity *identity,
                   int32_t *ret_reason)
{
    CLEANUP_CLOSE int fd = -EBADF;

    return pp_process_open(host, identity, &fd, ret_reason);
}

int
pp_process_poll(const struct pp_host *host, const struct pp_identity *identity, int32_t fd,
                int32_t *ret_reason)
{
    int r;

    if (fd < 0)
        return pp_process_compare(host, identity, ret_reason);
    r = pidfd_has_exited(fd);
    if (r < 0)
        return answer(PP_UNKNOWN, r, ret_reason);
    if (r > 0)
        return answer(PP_GONE, PP_EXITED, ret_reason);
    return answer(PP_ALIVE, PP_SAME_PROCESS, ret_reason);
}

/* Without pidfs, processes that follow each other on a pid within one clock tick show the same
 * start time.  So none is identified before its first tick is over: if it is still there then,
 * whoever gets its pid later starts later.  One whole tick is enough, whatever the clocks say. */
static void
outlive_first_tick(const struct pp_host *host, const struct procfs_stat *stat)
{
    int64_t now = clock_read(CLOCK_BOOTTIME),
            end = (int64_t) (stat->start_time + 1) * host->tick;

    if (end > now + host->tick)
        end = now + host->tick;
    for (; now < end; now = clock_read(CLOCK_BOOTTIME)) {
        struct timespec left = as_timespec(end - now);

        (void) nanosleep(&left, NULL);
    }
}

/* Fill in what /proc has to say about the process: owner and start time. */
static int
identify_from_proc(const struct pp_host *host, int32_t pid, struct pp_identity *identity,
                   struct procfs_stat *ret_stat)
{
    int32_t thread_group;
    int r;

    r = procfs_owner(pid, &identity->uid, &thread_group);
    if (r < 0)
        return r;
    if (thread_group != pid)
        return -EINVAL;
    r = procfs_stat(pid, ret_stat);
    if (r < 0)
        return r;
    identity->start_time = unshifted(host, ret_stat->start_time);
    return 0;
}

static int
identify_by_number(const struct pp_host *host, struct pp_identity *identity)
{
    struct procfs_stat first, second;
    int r;

    if (!(host->features & PP_HAS_PROC))
        return -EXDEV;
    if (kill(identity->pid, 0) < 0 && errno == ESRCH)
        return -ESRCH;
    r = identify_from_proc(host, identity->pid, identity, &first);
    if (r == -ESRCH && (kill(identity->pid, 0) == 0 || errno != ESRCH))
        return -EACCES;
    if (r < 0)
        return r;
    outlive_first_tick(host, &first);
    r = identify_from_proc(host, identity->pid, identity, &second);
    if (r < 0)
        return r;
    if (second.start_time != first.start_time || second.state == 'X' ||
        (second.state == 'Z' && second.threads <= 1))
        return -ESRCH;
    return 0;
}

int
pp_process_identify(const struct pp_host *host, int32_t pid, struct pp_identity *ret_identity)
{
    struct pp_identity identity = {
        .pid = pid, .uid = UINT32_MAX, .pid_namespace = host->pid_namespace};
    CLEANUP_CLOSE int fd = -EBADF;
    struct procfs_stat stat;
    int r, exited;

    if (pid <= 0)
        return -EINVAL;
    memcpy(identity.boot_id, host->boot_id, PP_BOOT_ID_SIZE);
    if (host->features & PP_HAS_PIDFD) {
        fd = pidfd_of(pid);
        if (fd == -EINVAL || fd == -ENOENT)
            return -EINVAL;
        if (fd < 0 && !pidfd_is_missing(fd))
            return fd;
    }
    if (fd < 0) {
        r = identify_by_number(host, &identity);
        if (r < 0)
            return r;
        *ret_identity = identity;
        return 0;
    }

    if (host->features & PP_HAS_PIDFS) {
        struct stat st;

        if (fstat(fd, &st) < 0)
            return -errno;
        identity.unique_id = st.st_ino;
    }
    if (host->features & PP_HAS_PROC) {
        r = identify_from_proc(host, pid, &identity, &stat);
        if (r < 0 && r != -ESRCH)
            return r;
        if (r == 0 && !identity.unique_id)
            outlive_first_tick(host, &stat);
    } else {
        r = identity.unique_id ? 0 : -EXDEV;
        if (r < 0)
            return r;
    }
    /* Whatever /proc said: only a process that has not exited yet was the one we asked about. */
    exited = pidfd_has_exited(fd);
    if (exited)
        return exited < 0 ? exited : -ESRCH;
    if (r == -ESRCH)
        return -EACCES; /* alive and not shown: hidepid */
    *ret_identity = identity;
    return 0;
}
