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

static void
give_back(int *life_fd)
{
    if (*life_fd >= 0)
        (void) flock(*life_fd, LOCK_UN);
    close_fd(life_fd);
}

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
        if (waiter->life_fd >= 0 && sleeper_flock(waiter, waiter->life_fd) != -ECANCELED)
            give_back(&waiter->life_fd);
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
pp_lock_has_line(int32_t directory_fd)
{
    CLEANUP_CLOSE int fd = open_own(directory_fd, TURN_NAME, 0);

    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    /* Shared: two that ask at once do not take each other for a line. */
    if (flock(fd, LOCK_SH | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? 1 : -errno;
    (void) flock(fd, LOCK_UN);
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

static void
close_wait(struct pp_waiter *waiter)
{
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
    /* Before anything else, though the head of the line is in a hurry: a thread that ends beside us
     * frees its stack, and makes the other processor wait for that. */
    if (waiter->running) {
        sleeper_stop(waiter);
        (void) pthread_join(thread_of(waiter), NULL);
        waiter->running = 0;
    }
    sleeper_done(waiter, 0);
    give_back(&waiter->life_fd); /* which a wait that was ended may have got */
    close_wait(waiter);
    if (!keep_turn || !waiter->has_turn)
        close_turn(waiter, 1);
}

void
pp_waiter_forget(struct pp_waiter *waiter)
{
    waiter->running = 0;
    sleeper_done(waiter, 1);
    close_fd(&waiter->life_fd);
    close_wait(waiter);
    close_turn(waiter, 0);
}
