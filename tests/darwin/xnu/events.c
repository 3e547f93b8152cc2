/* SPDX-License-Identifier: MIT
 * kqueue: as much of it as is used.  A queue is an eventfd, readable once it holds an event; one
 * that waits for the exit of a process becomes that process's pidfd. */
#define _GNU_SOURCE
#include "xnu.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct change { /* struct kevent */
    uint64_t ident;
    int16_t filter;
    uint16_t flags;
    uint32_t details;
    int64_t data;
    void *mine;
};

HIDDEN int xnu_kqueue(void);
HIDDEN int xnu_kevent(int fd, const struct change *changes, int change_count, struct change *ret,
                      int ret_count, const struct timespec *timeout);

enum { PROC = -5, USER = -10, VNODE = -4 };
enum { ADD = 1, CLEAR = 0x20, ONESHOT = 0x10, NOTE_EXIT = (int) 0x80000000, NOTE_FUNLOCK = 0x100,
       NOTE_TRIGGER = 0x01000000 };
#define QUEUES 1024

static struct queue {
    int used;
    int is_process; /* its descriptor is a pidfd by now */
    int has_user, triggered;
    int watched; /* the file whose unlocking is waited for, or -1 */
    int watcher_runs, watcher_done, unlocked;
    int own; /* the watcher's own open of the file */
    pthread_t watcher;
} queues[QUEUES];

int
xnu_is_queue(int fd)
{
    return fd >= 0 && fd < QUEUES && queues[fd].used;
}

int
xnu_kqueue(void)
{
    int fd = eventfd(0, EFD_NONBLOCK);

    if (fd < 0)
        return xnu_wrap(fd);
    if (fd >= QUEUES) {
        close(fd);
        return xnu_fail(24); /* EMFILE */
    }
    memset(&queues[fd], 0, sizeof(queues[fd]));
    queues[fd].used = 1;
    queues[fd].watched = queues[fd].own = -1;
    return fd;
}

static void
post(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof(one)) < 0)
        return;
}

/* Sleeps until the file is unlocked, which the real kernel posts of itself. */
static void *
watch(void *argument)
{
    struct queue *queue = argument;
    int ignored;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &ignored);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &ignored);
    while (flock(queue->own, LOCK_SH) < 0 && errno == EINTR)
        continue;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
    flock(queue->own, LOCK_UN);
    /* Without a mutex: whoever ends the watcher waits for it here. */
    __atomic_store_n(&queue->unlocked, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&queue->watcher_done, 1, __ATOMIC_SEQ_CST);
    post((int) (queue - queues));
    return NULL;
}

static void
end_watcher(struct queue *queue)
{
    if (queue->watcher_runs) {
        pthread_cancel(queue->watcher);
        pthread_join(queue->watcher, NULL);
    }
    if (queue->own >= 0)
        close(queue->own);
    queue->watcher_runs = queue->watcher_done = 0;
    queue->own = -1;
}

static void
start_watcher(struct queue *queue)
{
    char path[64];

    if (queue->watched < 0 || (queue->watcher_runs && !queue->watcher_done))
        return;
    end_watcher(queue);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", queue->watched);
    queue->own = open(path, O_RDONLY | O_CLOEXEC);
    if (queue->own >= 0 && pthread_create(&queue->watcher, NULL, watch, queue) == 0)
        queue->watcher_runs = 1;
}

void
xnu_queue_closed(int fd)
{
    struct queue *queue = &queues[fd];

    end_watcher(queue);
    queue->used = 0;
}

/* Python closes one without telling us; the number may be another file's by now. */
static int
is_still_one(int fd)
{
    char path[64], target[64] = {0};

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (readlink(path, target, sizeof(target) - 1) < 0)
        return 0;
    return strstr(target, "pidfd") != NULL || strstr(target, "eventfd") != NULL;
}

/* No fork inherits them. */
void
xnu_queues_forked(void)
{
    for (int fd = 0; fd < QUEUES; fd++) {
        if (queues[fd].used && is_still_one(fd))
            close(fd);
        if (queues[fd].used && queues[fd].own >= 0)
            close(queues[fd].own); /* of the stand-in alone */
        queues[fd].used = queues[fd].watcher_runs = 0;
        queues[fd].own = -1;
    }
}

__attribute__((constructor)) static void
register_fork(void)
{
    pthread_atfork(NULL, NULL, xnu_queues_forked);
}

/* The event is of whatever process has the pid; there is none of one that is exiting. */
static int
add_process(int fd, int32_t pid)
{
    struct process process;
    int exit_fd;

    xnu_hook("EVFILT_PROC", pid);
    if (xnu_process(pid, &process) || process.state == X_SZOMB || (process.flags & X_P_WEXIT))
        return xnu_fail(X_ESRCH);
    exit_fd = xnu_find(pid) ? dup(process.exit_fd) : pidfd_of(pid);
    if (exit_fd < 0)
        return xnu_wrap(exit_fd);
    if (!xnu_find(pid) && pidfd_exited(exit_fd)) {
        close(exit_fd);
        return xnu_fail(X_ESRCH);
    }
    dup3(exit_fd, fd, fcntl(fd, F_GETFD) & FD_CLOEXEC ? O_CLOEXEC : 0);
    close(exit_fd);
    queues[fd].is_process = 1;
    return 0;
}

static int
apply(int fd, const struct change *change)
{
    struct queue *queue = &queues[fd];

    if (change->filter == PROC && change->flags & ADD && change->details == (uint32_t) NOTE_EXIT)
        return add_process(fd, (int32_t) change->ident);
    if (change->filter == USER && change->flags & ADD) {
        queue->has_user = 1;
        return 0;
    }
    if (change->filter == USER && change->details & NOTE_TRIGGER && queue->has_user) {
        __atomic_store_n(&queue->triggered, 1, __ATOMIC_SEQ_CST);
        post(fd);
        return 0;
    }
    if (change->filter == VNODE && change->flags & ADD && change->details & NOTE_FUNLOCK) {
        end_watcher(queue);
        queue->watched = (int) change->ident;
        start_watcher(queue);
        return 0;
    }
    return xnu_fail(X_EINVAL);
}

static int
take(int fd, struct change *ret)
{
    struct queue *queue = &queues[fd];
    uint64_t count;

    if (__atomic_load_n(&queue->triggered, __ATOMIC_SEQ_CST)) {
        *ret = (struct change){.ident = 1, .filter = USER};
        return 1; /* it stays: it was added without EV_CLEAR */
    }
    if (read(fd, &count, sizeof(count)) < 0)
        return 0;
    if (!__atomic_exchange_n(&queue->unlocked, 0, __ATOMIC_SEQ_CST))
        return 0;
    *ret = (struct change){
        .ident = (uint64_t) queue->watched, .filter = VNODE, .details = NOTE_FUNLOCK};
    return 1;
}

int
xnu_kevent(int fd, const struct change *changes, int change_count, struct change *ret,
           int ret_count, const struct timespec *timeout)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    int r;

    if (!xnu_is_queue(fd))
        return xnu_fail(X_EBADF);
    for (int i = 0; i < change_count; i++)
        if (apply(fd, &changes[i]) < 0)
            return -1;
    if (ret_count == 0)
        return 0;
    if (!__atomic_load_n(&queues[fd].unlocked, __ATOMIC_SEQ_CST))
        start_watcher(&queues[fd]);
    r = ppoll(&item, 1, timeout, NULL);
    if (r <= 0)
        return xnu_wrap(r);
    return take(fd, ret);
}
