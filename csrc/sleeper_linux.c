/* SPDX-License-Identifier: MIT
 * The sleep is flock(2) itself, which the kernel grants in the order of asking (those behind one that
 * gives up ask anew, fs/locks.c __locks_wake_up_blocks); it is ended by cancelling the thread. */
#include "sleeper.h"

#include <dlfcn.h>
#include <sys/file.h>

#include "util.h"

/* Where it is cancelled, a thread leaves its frames without AddressSanitizer's clearing the zones
 * around their variables, which it then finds under whoever uses that stack next. */
#define WITHOUT_ZONES __attribute__((no_sanitize("address")))

/* The thread is cancelled while asleep only, and cannot leave that state once it was decided to
 * cancel it: glibc delivers a cancellation that was sent a moment ago in the middle of an openat
 * even where the thread has disabled it, and the descriptor would be lost. */
WITHOUT_ZONES static int
move_on(struct pp_waiter *waiter, int32_t from, int32_t to)
{
    return __atomic_compare_exchange_n(&waiter->stage, &from, to, 0, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

/* glibc loads a library at the first cancellation, and aborts the whole process if it cannot: for
 * want of a descriptor then, or of the library.  So it is loaded while that is still an error. */
int
sleeper_prepare(struct pp_waiter *waiter)
{
#ifdef __GLIBC__
    void *library = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_NOLOAD);

    if (library)
        (void) dlclose(library); /* it stays: this was only to see that it is there */
    else if (!dlopen("libgcc_s.so.1", RTLD_NOW))
        return -ELIBACC;
#endif
    waiter->stop_fd = -EBADF;
    return 0;
}

void
sleeper_begin(void)
{
    int ignored;

    /* Created with every signal blocked; cancellation starts enabled, so it is closed first. */
    (void) pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
    (void) pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &ignored);
}

/* flock is no cancellation point, so cancelling is allowed at any instruction around it. */
WITHOUT_ZONES int
sleeper_flock(struct pp_waiter *waiter, int fd)
{
    int r, ignored;

    if (!move_on(waiter, SLEEPER_AWAKE, SLEEPER_ASLEEP))
        return -ECANCELED;
    (void) pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &ignored);
    do
        r = nerrno(flock(fd, LOCK_EX));
    while (r == -EINTR);
    while (!move_on(waiter, SLEEPER_ASLEEP, SLEEPER_AWAKE))
        (void) pause();
    (void) pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
    return r;
}

void
sleeper_stop(struct pp_waiter *waiter)
{
    if (__atomic_exchange_n(&waiter->stage, SLEEPER_STOPPED, __ATOMIC_SEQ_CST) ==
        SLEEPER_ASLEEP)
        (void) pthread_cancel(thread_of(waiter));
}

void
sleeper_done(struct pp_waiter *waiter, int in_fork)
{
    (void) in_fork;
    waiter->stop_fd = -EBADF;
}
