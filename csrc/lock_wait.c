/* SPDX-License-Identifier: MIT
 * Waiting for the lock in line, on the kernel's own event.
 *
 * The queue is an flock on the turn file: whoever holds it is the head.  The head sleeps
 * until the life flock of the current lock file is free, which the kernel sees to at release, death
 * and exec alike.  Both sleeps know no timeout, so a helper thread makes them, and the caller sleeps
 * on a descriptor that it can put into any event loop. */
#include "pp.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>

#include "event.h"
#include "lockfile.h"
#include "sleeper.h"
#include "util.h"

#define STACK_SIZE (128 * 1024)

_Static_assert(sizeof(pthread_t) <= sizeof(uint64_t), "the boundary carries a pthread_t");

static void *
wait_in_line(void *argument)
{
    struct pp_waiter *waiter = argument;

    sleeper_begin();
    if (!waiter->has_turn && sleeper_flock(waiter, waiter->turn_fd) == 0)
        waiter->has_turn = 1;
    if (waiter->has_turn) {
        /* Opened only now: while we stood in line the lock has passed through other files. */
        waiter->life_fd = open_own(waiter->directory_fd, LOCK_NAME, 0);
        if (waiter->life_fd >= 0)
            (void) sleeper_flock(waiter, waiter->life_fd);
    }
    event_notify(waiter->notify_fd);
    return NULL;
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
    waiter->stage = SLEEPER_AWAKE;
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
    r = sleeper_prepare(waiter);
    if (r < 0)
        return r;
    waiter->directory_fd = directory_fd;
    if (waiter->turn_fd < 0) {
        r = open_own(directory_fd, TURN_NAME, O_CREAT);
        if (r < 0) {
            sleeper_done(waiter, 0);
            return r;
        }
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
        /* Joined first, though who was woken is in a hurry: measured, a thread that ends beside us
         * costs more, for it frees its stack and the other processor waits for that. */
        sleeper_stop(waiter);
        (void) pthread_join(thread_of(waiter), NULL);
        waiter->running = 0;
    }
    sleeper_done(waiter, 0);
    close_wait(waiter, 1);
    if (!keep_turn || !waiter->has_turn)
        close_turn(waiter, 1);
}

void
pp_waiter_forget(struct pp_waiter *waiter)
{
    waiter->running = 0;
    sleeper_done(waiter, 1);
    close_wait(waiter, 0);
    close_turn(waiter, 0);
}
