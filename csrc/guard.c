/* SPDX-License-Identifier: MIT
 * The guard: an flock on the key's own directory, for the microseconds of a check-and-act. */
#include "pp.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>

#include "util.h"

/* About as long as it is held: to fall asleep and wake up takes longer. */
#define SPIN_TIME 100000

static int
flock_within(int fd, int64_t timeout)
{
    int64_t began = clock_now(), pause = 20000;

    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int64_t waited = clock_now() - began;
        struct timespec nap;
        unsigned jitter = 0;

        if (errno != EWOULDBLOCK && errno != EINTR)
            return -errno;
        if (waited >= timeout)
            return -ETIMEDOUT;
        if (waited < SPIN_TIME) {
            (void) sched_yield();
            continue;
        }
        (void) system_random(&jitter, sizeof(jitter));
        nap = as_timespec(pause / 2 + (int64_t) (jitter % (unsigned) pause));
        if (nanosleep(&nap, NULL) < 0)
            return -errno;
        if (pause < 2000000)
            pause *= 2;
    }
    return 0;
}

int
pp_guard_enter(int32_t directory_fd, int64_t timeout, struct pp_guard *guard)
{
    int r;

    /* An interrupt can end a section before it is left. */
    pp_guard_leave(guard);
    /* A descriptor of its own for each section: flock then excludes threads as well.  In the struct
     * before it is flocked: a fork made by another thread has to find it there. */
    guard->owner = getpid();
    guard->fd = nerrno(openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (guard->fd < 0)
        return guard->fd;
    r = flock_within(guard->fd, timeout);
    if (r < 0)
        close_fd(&guard->fd);
    return r;
}

void
pp_guard_leave(struct pp_guard *guard)
{
    if (guard->fd < 0)
        return;
    /* Unlock before close: a fork may hold a copy of the descriptor. */
    if (guard->owner == getpid())
        (void) flock(guard->fd, LOCK_UN);
    close_fd(&guard->fd);
}

void
pp_guard_forget(struct pp_guard *guard)
{
    close_fd(&guard->fd);
}
