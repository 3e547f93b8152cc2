/* SPDX-License-Identifier: MIT
 * A kqueue with one event in it, the exit of a process: poll(2) says when it came, any number of
 * times, for nobody takes the event out. */
#ifndef PP_EXIT_DARWIN_H
#define PP_EXIT_DARWIN_H

#include "pp.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/event.h>

#include "util.h"

/* A kqueue, closed on exec; no fork inherits it.
 *   -EMFILE, -ENFILE, -ENOMEM */
static inline int
exit_queue(void)
{
    int fd = nerrno(kqueue());

    if (fd >= 0)
        (void) fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

/* Register whatever process has the pid now: who it is has to be verified afterwards.  Its exit
 * cannot be missed: the kernel posts it after the last registration could succeed.
 *   -ESRCH  nobody has, or it is exiting
 *   -ENOMEM, -EBADF */
static inline int
exit_register(int fd, int32_t pid)
{
    struct kevent event;

    EV_SET(&event, pid, EVFILT_PROC, EV_ADD | EV_ONESHOT, NOTE_EXIT, 0, NULL);
    return nerrno(kevent(fd, &event, 1, NULL, 0, NULL));
}

/* 1: it came; 0: not yet.
 *   -EBADF  the kqueue is another process's: we are a fork of the one that made it
 *   -ENOMEM */
static inline int
exit_has_come(int fd)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    int r;

    do
        r = nerrno(poll(&item, 1, 0));
    while (r == -EINTR);
    if (r <= 0)
        return r;
    return item.revents & POLLNVAL ? -EBADF : 1;
}

#endif
