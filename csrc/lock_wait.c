/* SPDX-License-Identifier: MIT
 * Waiting for the lock in line, on the kernel's own event.
 *
 * The queue is an flock on the turn file: whoever holds it is the head.  The head sleeps in flock
 * on the life flock of the current lock file, which the kernel frees at release, death and exec
 * alike.  Both calls block without timeout, so a helper thread makes them, and the caller sleeps
 * on a descriptor that it can put into any event loop. */
#include "pp.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>

#include "event.h"
#include "lockfile.h"
#include "util.h"

#define STACK_SIZE (128 * 1024)

_Static_assert(sizeof(pthread_t) <= sizeof(uint64_t), "the boundary carries a pthread_t");

static pthread_t
thread_of(const struct pp_waiter *waiter)
{
    pthread_t thread;

    memcpy(&thread, &waiter->thread, sizeof(thread));
    return thread;
}

/* Where the helper thread is.  It is cancelled while asleep only, and cannot leave that state once
 * it was decided to cancel it: glibc delivers a cancellation that was sent a moment ago in the
 * middle of an openat even where the thread has disabled it, and the descriptor would be lost. */
enum stage { AWAKE = 0, ASLEEP = 1, STOPPED = 2 };

static int
move_on(struct pp_waiter *waiter, int32_t from, int32_t to)
{
    return __atomic_compare_exchange_n(&waiter->stage, &from, to, 0, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

/* flock is no cancellation point, so cancelling is allowed at any instruction around it. */
static int
flock_cancellable(struct pp_waiter *waiter, int fd)
{
    int r, ignored;

    if (!move_on(waiter, AWAKE, ASLEEP))
        return -ECANCELED;
    (void) pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &ignored);
    do
        r = nerrno(flock(fd, LOCK_EX));
    while (r == -EINTR);
    while (!move_on(waiter, ASLEEP, AWAKE))
        (void) pause();
    (void) pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
    return r;
}

static void *
wait_in_line(void *argument)
{
    struct pp_waiter *waiter = argument;
    int ignored;

    /* Created with every signal blocked; cancellation starts enabled, so it is closed first. */
    (void) pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
    (void) pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &ignored);
    if (!waiter->has_turn && flock_cancellable(waiter, waiter->turn_fd) == 0)
        waiter->has_turn = 1;
    if (waiter->has_turn) {
        /* Opened only now: while we stood in line the lock has passed through other files. */
        waiter->life_fd = open_own(waiter->directory_fd, LOCK_NAME, 0);
        if (waiter->life_fd >= 0)
            (void) flock_cancellable(waiter, waiter->life_fd);
    }
    event_notify(waiter->notify_fd);
    return NULL;
}

/* glibc loads a library at the first cancellation, and aborts the whole process if it cannot: for
 * want of a descriptor then, or of the library.  So it is loaded while that is still an error. */
static int
prepare_to_cancel(void)
{
#ifdef __GLIBC__
    void *library = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_NOLOAD);

    if (library)
        (void) dlclose(library); /* it stays: this was only to see that it is there */
    else if (!dlopen("libgcc_s.so.1", RTLD_NOW))
        return -ELIBACC;
#endif
    return 0;
}

static int
start_thread(struct pp_waiter *waiter)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_t thread;
    int r;

    r = pthread_attr_init(&attributes);
    if (r)
        return -r;
    (void) pthread_attr_setstacksize(&attributes, STACK_SIZE);
    waiter->stage = AWAKE;
    (void) sigfillset(&all);
    r = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (r == 0) {
        r = pthread_create(&thread, &attributes, wait_in_line, waiter);
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    (void) pthread_attr_destroy(&attributes);
    if (r)
        return -r;
    memcpy(&waiter->thread, &thread, sizeof(thread));
    waiter->running = 1;
    return 0;
}

int
pp_waiter_start(int32_t directory_fd, struct pp_waiter *waiter)
{
    int r;

    if (waiter->running)
        return -EBUSY;
    r = prepare_to_cancel();
    if (r < 0)
        return r;
    waiter->directory_fd = directory_fd;
    if (waiter->turn_fd < 0) {
        r = open_own(directory_fd, TURN_NAME, O_CREAT);
        if (r < 0)
            return r;
        waiter->turn_fd = r;
        waiter->has_turn = 0;
    }
    r = event_open(&waiter->event_fd, &waiter->notify_fd);
    if (r == 0)
        r = start_thread(waiter);
    if (r < 0)
        pp_waiter_stop(waiter, 0);
    return r;
}

/* The life flock that a cancelled or satisfied wait may have got is given back at once. */
static void
close_wait(struct pp_waiter *waiter, int unlock)
{
    if (waiter->life_fd >= 0 && unlock)
        (void) flock(waiter->life_fd, LOCK_UN);
    close_fd(&waiter->life_fd);
    if (waiter->notify_fd != waiter->event_fd)
        close_fd(&waiter->notify_fd);
    waiter->notify_fd = -EBADF;
    close_fd(&waiter->event_fd);
}

static void
close_turn(struct pp_waiter *waiter, int unlock)
{
    if (waiter->turn_fd >= 0 && unlock)
        (void) flock(waiter->turn_fd, LOCK_UN);
    close_fd(&waiter->turn_fd);
    waiter->has_turn = 0;
}

void
pp_waiter_stop(struct pp_waiter *waiter, int keep_turn)
{
    if (waiter->running) {
        if (__atomic_exchange_n(&waiter->stage, STOPPED, __ATOMIC_SEQ_CST) == ASLEEP)
            (void) pthread_cancel(thread_of(waiter));
        (void) pthread_join(thread_of(waiter), NULL);
        waiter->running = 0;
    }
    close_wait(waiter, 1);
    if (!keep_turn || !waiter->has_turn)
        close_turn(waiter, 1);
}

void
pp_waiter_forget(struct pp_waiter *waiter)
{
    waiter->running = 0;
    close_wait(waiter, 0);
    close_turn(waiter, 0);
}
