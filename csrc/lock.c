/* SPDX-License-Identifier: MIT
 * The spawn lock: its file is created, judged and removed only inside the guard.
 *
 * Why this is in C: one acquisition is a dozen system calls that must not be torn apart by a
 * Python signal handler between them, and the guard must be short. */
#include "pp.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "lockfile.h"
#include "util.h"

/* Whatever is flocked here is in the struct of the caller before it is flocked: a fork that another
 * thread makes meanwhile closes its copies, or they would hold the locks past our death. */

static void
leave_guard(struct pp_guard **guard)
{
    pp_guard_leave(*guard);
}

#define CLEANUP_GUARD __attribute__((cleanup(leave_guard)))

/* A fork that no handler knew of only closes its copies. */
static int
is_acquirer(const struct pp_lock *lock)
{
    return lock->owner == getpid();
}

static void
drop_life(struct pp_lock *lock)
{
    /* Unlock before close: a fork may hold a copy of the descriptor. */
    if (lock->fd >= 0 && is_acquirer(lock))
        (void) flock(lock->fd, LOCK_UN);
    close_fd(&lock->fd);
}

/* ----------------------------------------------------------------------------------- acquire */

/* Read and judge the lock file that `fd` is; liveness 0 when its content says nothing to us. */
static int
read_holder(const struct pp_host *host, int fd, struct pp_holder *ret_holder)
{
    char text[LOCK_LINE_SIZE];
    struct pp_holder holder = {0};
    size_t size;
    int r;

    r = lockfile_read(fd, text, &size);
    if (r < 0)
        return r;
    if (lockfile_parse(text, size, &holder) == 0)
        holder.liveness = pp_process_compare(host, &holder.identity, &holder.reason);
    *ret_holder = holder;
    return 0;
}

static int64_t
host_now(const struct pp_host *host)
{
    return clock_now() - host->monotonic_offset;
}

/* May the lock that `fd` is be taken from its holder?  > 0: yes, as enum pp_found says; 0: no. */
static int
judge(const struct pp_host *host, int fd, struct pp_holder *holder)
{
    int r = read_holder(host, fd, holder);

    if (r < 0)
        return r;
    if (holder->liveness == PP_GONE)
        return PP_FOUND_DEAD;
    /* The kernel drops the life flock at death and at exec, in whatever namespace. */
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return holder->liveness ? PP_FOUND_ABANDONED : PP_FOUND_HALF_WRITTEN;
    if (errno != EWOULDBLOCK)
        return -errno;
    if (holder->liveness && host_now(host) > holder->deadline)
        return PP_FOUND_AGED;
    return 0;
}

static int
make_nonce(char nonce[PP_NONCE_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[(PP_NONCE_SIZE - 1) / 2];
    int r = system_random(bytes, sizeof(bytes));

    if (r < 0)
        return r;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        nonce[2 * i] = digits[bytes[i] >> 4];
        nonce[2 * i + 1] = digits[bytes[i] & 15];
    }
    nonce[PP_NONCE_SIZE - 1] = '\0';
    return 0;
}

/* O_EXCL create and life flock.  Whoever waits may open the file the moment that it exists, and
 * hold its life flock for as long as he takes to wake up: he is left behind with that inode. */
static int
create_flocked(int directory_fd, struct pp_lock *lock)
{
    int r = -EAGAIN;

    for (int tries = 0; tries < 100 && r == -EAGAIN; tries++) {
        lock->fd = nerrno(openat(directory_fd, LOCK_NAME,
                                 O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (lock->fd < 0)
            return lock->fd;
        r = nerrno(flock(lock->fd, LOCK_EX | LOCK_NB));
        if (r == 0)
            return 0;
        (void) unlinkat(directory_fd, LOCK_NAME, 0);
        close_fd(&lock->fd);
    }
    return r;
}

/* The lock file with its content; on failure nothing stays. */
static int
create(const struct pp_host *host, const struct pp_identity *self, int directory_fd,
       const char *purpose, int64_t hold, struct pp_lock *lock)
{
    struct pp_holder line = {.identity = *self, .since = host_now(host)};
    struct stat st;
    int r;

    r = make_nonce(line.nonce);
    if (r < 0)
        return r;
    if (__builtin_add_overflow(line.since, hold, &line.deadline))
        line.deadline = INT64_MAX;
    memcpy(line.purpose, purpose, strlen(purpose));
    lock->owner = getpid();
    r = create_flocked(directory_fd, lock);
    if (r < 0)
        return r;
    r = nerrno(fstat(lock->fd, &st));
    if (r >= 0)
        r = lockfile_write(lock->fd, &line);
    if (r < 0) {
        (void) unlinkat(directory_fd, LOCK_NAME, 0);
        drop_life(lock);
        return r;
    }
    memcpy(lock->nonce, line.nonce, PP_NONCE_SIZE);
    lock->device = (uint64_t) st.st_dev;
    lock->inode = st.st_ino;
    return 0;
}

/* Inside the guard. */
static int
take_over(const struct pp_host *host, const struct pp_identity *self, int directory_fd,
          const char *purpose, int64_t hold, struct pp_lock *lock, struct pp_holder *holder)
{
    int found = PP_FOUND_FREE, r = create(host, self, directory_fd, purpose, hold, lock);

    if (r != -EEXIST)
        return r < 0 ? r : found;
    lock->fd = open_own(directory_fd, LOCK_NAME, 0);
    if (lock->fd < 0 && lock->fd != -ENOENT)
        return lock->fd;
    if (lock->fd >= 0) {
        found = judge(host, lock->fd, holder);
        r = found > 0 ? nerrno(unlinkat(directory_fd, LOCK_NAME, 0)) : found;
        /* judge may have flocked it, and a fork may have a copy: who waits for it is woken now. */
        (void) flock(lock->fd, LOCK_UN);
        close_fd(&lock->fd);
        if (found <= 0 || r < 0)
            return r;
    }
    r = create(host, self, directory_fd, purpose, hold, lock);
    return r < 0 ? r : found;
}

int
pp_lock_try(const struct pp_host *host, const struct pp_identity *self, int32_t directory_fd,
            const char *purpose, int64_t hold, int64_t guard_timeout, struct pp_lock *lock,
            struct pp_holder *holder)
{
    CLEANUP_GUARD struct pp_guard *guard = &lock->guard;
    int r;

    guard->fd = -1;
    if (hold < 0 || !lockfile_is_purpose(purpose, strnlen(purpose, PP_PURPOSE_SIZE)))
        return -EINVAL;
    r = pp_guard_enter(directory_fd, guard_timeout, guard);
    if (r < 0)
        return r;
    r = take_over(host, self, directory_fd, purpose, hold, lock, holder);
    if (r <= 0)
        lock->fd = -1;
    return r;
}

int
pp_lock_has_line(int32_t directory_fd, struct pp_lock *lock)
{
    CLEANUP_GUARD struct pp_guard *turn = &lock->guard;

    turn->owner = getpid();
    turn->fd = open_own(directory_fd, TURN_NAME, 0);
    if (turn->fd < 0)
        return turn->fd == -ENOENT ? 0 : turn->fd;
    /* Shared: two that ask at once do not take each other for a line. */
    if (flock(turn->fd, LOCK_SH | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? 1 : -errno;
    return 0;
}

int
pp_lock_look(const struct pp_host *host, int32_t directory_fd, struct pp_holder *ret_holder)
{
    CLEANUP_CLOSE int fd = open_own(directory_fd, LOCK_NAME, 0);
    int r;

    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return fd;
    r = read_holder(host, fd, ret_holder);
    return r < 0 ? r : 1;
}

/* --------------------------------------------------------------------------- fence and release */

int
pp_lock_mine(int32_t directory_fd, const struct pp_lock *lock)
{
    char text[LOCK_LINE_SIZE];
    struct pp_holder holder;
    struct stat st;
    size_t size;
    int r;

    if (lock->fd < 0 || !is_acquirer(lock))
        return 0;
    if (fstatat(directory_fd, LOCK_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    /* As long as we have it open, its inode is no other file's: what stands there is what we made,
     * and is read through our own descriptor. */
    if ((uint64_t) st.st_dev != lock->device || st.st_ino != lock->inode)
        return 0;
    if (!is_own(&st))
        return -EPERM;
    r = lockfile_read(lock->fd, text, &size);
    if (r < 0)
        return r;
    return lockfile_parse(text, size, &holder) == 0 &&
           memcmp(holder.nonce, lock->nonce, PP_NONCE_SIZE) == 0;
}

void
pp_lock_drop(struct pp_lock *lock)
{
    drop_life(lock);
    pp_guard_leave(&lock->guard);
}

void
pp_lock_forget(struct pp_lock *lock)
{
    close_fd(&lock->fd);
    pp_guard_forget(&lock->guard);
}

int
pp_lock_release(int32_t directory_fd, int64_t guard_timeout, struct pp_lock *lock)
{
    int r;

    if (lock->fd < 0)
        return 0;
    if (!is_acquirer(lock)) {
        pp_lock_drop(lock);
        return 0;
    }
    r = pp_guard_enter(directory_fd, guard_timeout, &lock->guard);
    if (r == -EINTR)
        return r;
    /* First of all, for the head of the line to wake up meanwhile.  Inside the guard nobody finds the
     * file abandoned. */
    (void) flock(lock->fd, LOCK_UN);
    if (r == 0)
        r = pp_lock_mine(directory_fd, lock);
    if (r > 0 && unlinkat(directory_fd, LOCK_NAME, 0) < 0)
        r = -errno;
    pp_guard_leave(&lock->guard);
    close_fd(&lock->fd);
    return r;
}
