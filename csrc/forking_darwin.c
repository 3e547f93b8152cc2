/* SPDX-License-Identifier: MIT */
#include "forking.h"

#include <libproc.h>
#include <signal.h>
#include <sys/resource.h>

#include "exit_darwin.h"
#include "util.h"

#define LISTED 128 /* descriptors in one look: the child has little stack to spare */

int
forking_fork(const struct pp_host *host, int32_t *ret_pid_fd)
{
    CLEANUP_CLOSE int fd = -EBADF;
    pid_t pid;

    *ret_pid_fd = -1;
    if (host->features & PP_HAS_KQUEUE) {
        fd = exit_queue();
        if (fd < 0)
            return fd;
    }
    pid = fork();
    if (pid == 0) {
        fd = -EBADF; /* not inherited */
        return 0;
    }
    if (pid < 0)
        return -errno;
    /* It is ours to reap, so it still has that pid.  If it has exited already there is no event to
     * wait for, and it is asked for by number. */
    if (fd >= 0 && exit_register(fd, pid) == 0)
        *ret_pid_fd = take_fd(&fd);
    return pid;
}

int
forking_pin_self(const struct pp_host *host, int *ret_fd)
{
    (void) host; /* a kqueue passes no fork: the child makes its own */
    *ret_fd = -1;
    return 0;
}

int
forking_watch_parent(pid_t parent, int *fd)
{
    CLEANUP_CLOSE int queue = exit_queue();
    int r;

    if (queue < 0)
        return 0; /* then it asks who its parent is */
    r = exit_register(queue, parent);
    if (r == -ESRCH)
        return r;
    if (r == 0)
        *fd = take_fd(&queue);
    return 0;
}

int
forking_reap(pid_t pid, int pid_fd, int *ret_status)
{
    (void) pid_fd;
    return forking_reap_by_number(pid, ret_status);
}

int
forking_close_all(int first, int keep, int keep_too)
{
    struct proc_fdinfo open[LISTED];
    int size, closed;
    struct rlimit limit;

    /* The list is cut where the buffer ends; those that were closed make room for the next. */
    do {
        size = proc_pidinfo(getpid(), PROC_PIDLISTFDS, 0, open, sizeof(open));
        closed = 0;
        for (int i = 0; i < size / (int) sizeof(open[0]); i++) {
            int fd = open[i].proc_fd;

            if (fd >= first && fd != keep && fd != keep_too && close(fd) == 0)
                closed++;
        }
    } while (closed > 0);
    if (size > 0)
        return 0;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    if (limit.rlim_cur > INT_MAX)
        limit.rlim_cur = OPEN_MAX;
    for (int fd = first; (rlim_t) fd < limit.rlim_cur; fd++)
        if (fd != keep && fd != keep_too)
            (void) close(fd);
    return 0;
}
