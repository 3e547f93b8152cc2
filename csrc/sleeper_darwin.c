/* SPDX-License-Identifier: MIT
 * Nothing but a signal interrupts flock(2) here, and signals belong to the program.  So the thread
 * sleeps in kevent on the unlocking of the file (NOTE_FUNLOCK, which the kernel also posts when a
 * holder dies), and asks for the flock without blocking.  Several that wait for one file may get
 * it in any order. */
#include "sleeper.h"

#include <fcntl.h>
#include <sys/event.h>
#include <sys/file.h>

#include "util.h"

#define STOP 1                                  /* the event by which another thread ends it */
#define LOOK_AROUND (NSEC_PER_SEC)              /* where the filesystem posts the event */
#define LOOK_AROUND_BLIND (NSEC_PER_SEC / 50LL) /* where it does not */

int
sleeper_prepare(struct pp_waiter *waiter)
{
    CLEANUP_CLOSE int fd = nerrno(kqueue());
    struct kevent stop;

    if (fd < 0)
        return fd;
    (void) fcntl(fd, F_SETFD, FD_CLOEXEC);
    EV_SET(&stop, STOP, EVFILT_USER, EV_ADD, 0, 0, NULL);
    if (kevent(fd, &stop, 1, NULL, 0, NULL) < 0)
        return -errno;
    waiter->stop_fd = take_fd(&fd);
    return 0;
}

void
sleeper_begin(void)
{
}

int
sleeper_flock(struct pp_waiter *waiter, int fd)
{
    struct timespec limit = as_timespec(LOOK_AROUND);
    struct kevent event;
    int n;

    /* First the event, then the look: an unlocking in between is not missed. */
    EV_SET(&event, fd, EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_FUNLOCK, 0, NULL);
    if (kevent(waiter->stop_fd, &event, 1, NULL, 0, NULL) < 0)
        limit = as_timespec(LOOK_AROUND_BLIND);
    for (;;) {
        if (__atomic_load_n(&waiter->stage, __ATOMIC_SEQ_CST) == SLEEPER_STOPPED)
            return -ECANCELED;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return -errno;
        n = kevent(waiter->stop_fd, NULL, 0, &event, 1, &limit);
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

void
sleeper_stop(struct pp_waiter *waiter)
{
    struct kevent stop;

    __atomic_store_n(&waiter->stage, SLEEPER_STOPPED, __ATOMIC_SEQ_CST);
    EV_SET(&stop, STOP, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
    (void) kevent(waiter->stop_fd, &stop, 1, NULL, 0, NULL);
}

void
sleeper_done(struct pp_waiter *waiter, int in_fork)
{
    /* A fork does not inherit a kqueue: there the number is nobody's, or another's. */
    if (in_fork)
        waiter->stop_fd = -EBADF;
    else
        close_fd(&waiter->stop_fd);
}
