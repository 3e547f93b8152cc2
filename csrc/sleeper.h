/* SPDX-License-Identifier: MIT
 * A sleep in line for an flock, of the helper thread of a wait, that another thread can end. */
#ifndef PP_SLEEPER_H
#define PP_SLEEPER_H

#include "pp.h"

#include <pthread.h>
#include <string.h>

/* Where the helper thread is; pp_waiter.stage. */
enum { SLEEPER_AWAKE = 0, SLEEPER_ASLEEP = 1, SLEEPER_STOPPED = 2 };

static inline pthread_t
thread_of(const struct pp_waiter *waiter)
{
    pthread_t thread;

    memcpy(&thread, &waiter->thread, sizeof(thread));
    return thread;
}

#pragma GCC visibility push(hidden)

/* Before the thread is started.
 *   -ELIBACC  what ending the sleep takes cannot be loaded
 *   -EMFILE, -ENFILE, -ENOMEM */
int sleeper_prepare(struct pp_waiter *waiter);

/* First thing in the thread. */
void sleeper_begin(void);

/* Sleep until the flock is ours.
 *   -ECANCELED  the wait was ended
 *   -ENOLCK, -EOPNOTSUPP, -EBADF, -ENOMEM */
int sleeper_flock(struct pp_waiter *waiter, int fd);

/* End the sleep; the thread can be joined. */
void sleeper_stop(struct pp_waiter *waiter);

/* Let go of what sleeper_prepare has got.  in_fork: in a forked child, which may not have it. */
void sleeper_done(struct pp_waiter *waiter, int in_fork);

#pragma GCC visibility pop

#endif
