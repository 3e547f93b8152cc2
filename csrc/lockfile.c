/* SPDX-License-Identifier: MIT
 * The spawn lock's file: created, judged and removed only inside the guard.
 *
 * Why this is in C: one acquisition is a dozen system calls that must not be torn apart by a
 * Python signal handler between them, and the guard must be short. */
#include "lockfile.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "util.h"

#define PREFIX "pidproof-lock "
#define VERSION "1"

static void
leave_guard(struct pp_guard *guard)
{
    pp_guard_leave(guard);
}

#define CLEANUP_GUARD __attribute__((cleanup(leave_guard)))

/* ------------------------------------------------------------------------------------- guard */

int
pp_guard_enter(int32_t directory_fd, int64_t timeout, struct pp_guard *guard)
{
    /* A descriptor of its own for each section: flock then excludes threads as well. */
    CLEANUP_CLOSE int fd =
        nerrno(openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    int64_t deadline = clock_after(timeout), pause = 20000;

    if (fd < 0)
        return fd;
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        struct timespec nap;
        unsigned jitter = 0;

        if (errno != EWOULDBLOCK && errno != EINTR)
            return -errno;
        if (clock_now() >= deadline)
            return -ETIMEDOUT;
        (void) getrandom(&jitter, sizeof(jitter), GRND_NONBLOCK);
        nap = as_timespec(pause / 2 + (int64_t) (jitter % (unsigned) pause));
        if (nanosleep(&nap, NULL) < 0)
            return -errno;
        if (pause < 2000000)
            pause *= 2;
    }
    guard->fd = take_fd(&fd);
    return 0;
}

void
pp_guard_leave(struct pp_guard *guard)
{
    if (guard->fd < 0)
        return;
    /* Unlock before close: a fork may hold a copy of the descriptor. */
    (void) flock(guard->fd, LOCK_UN);
    close_fd(&guard->fd);
}

void
pp_guard_forget(struct pp_guard *guard)
{
    close_fd(&guard->fd);
}

/* ----------------------------------------------------------------------------------- content */

static int
is_nonce(const char *text, size_t size)
{
    if (size != PP_NONCE_SIZE - 1)
        return 0;
    for (size_t i = 0; i < size; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
            return 0;
    return 1;
}

static int
is_purpose(const char *text, size_t size)
{
    if (size == 0 || size > PP_PURPOSE_SIZE - 1)
        return 0;
    for (size_t i = 0; i < size; i++)
        if (!((text[i] >= 'a' && text[i] <= 'z') || text[i] == '-'))
            return 0;
    return 1;
}

static const char *
word_end(const char *word, const char *end)
{
    const char *space = memchr(word, ' ', (size_t) (end - word));

    return space ? space : end;
}

int
lockfile_parse(const char *text, size_t size, struct pp_holder *ret_holder)
{
    struct pp_holder holder = {0};
    const char *word = text, *stop, *end = text + size - 1;
    uint64_t version, since, deadline;
    int r;

    /* The line is written in one piece: without its newline it was never finished. */
    if (size == 0 || size >= LOCK_LINE_SIZE || *end != '\n' || size < strlen(PREFIX) ||
        memcmp(text, PREFIX, strlen(PREFIX)) != 0)
        return -EINVAL;
    word += strlen(PREFIX);
    stop = word_end(word, end);
    if (parse_u64(word, stop, &version) < 0)
        return -EINVAL;
    if (version != 1)
        return -EPROTONOSUPPORT;

    if (stop == end)
        return -EINVAL;
    word = stop + 1;
    stop = word_end(word, end);
    if (!is_nonce(word, (size_t) (stop - word)) || stop == end)
        return -EINVAL;
    memcpy(holder.nonce, word, PP_NONCE_SIZE - 1);

    word = stop + 1;
    stop = word_end(word, end);
    r = pp_token_parse(word, (size_t) (stop - word), &holder.identity);
    if (r < 0)
        return r;

    if (stop == end)
        return -EINVAL;
    word = stop + 1;
    stop = word_end(word, end);
    if (parse_u64(word, stop, &since) < 0 || since > INT64_MAX || stop == end)
        return -EINVAL;
    word = stop + 1;
    stop = word_end(word, end);
    if (parse_u64(word, stop, &deadline) < 0 || deadline > INT64_MAX || stop == end)
        return -EINVAL;
    holder.since = (int64_t) since;
    holder.deadline = (int64_t) deadline;

    word = stop + 1;
    if (!is_purpose(word, (size_t) (end - word)))
        return -EINVAL;
    memcpy(holder.purpose, word, (size_t) (end - word));
    *ret_holder = holder;
    return 0;
}

static int
make_nonce(char nonce[PP_NONCE_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[(PP_NONCE_SIZE - 1) / 2];

    /* 16 bytes never come short, and never block once the kernel's pool is ready. */
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t) sizeof(bytes))
        return -EIO;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        nonce[2 * i] = digits[bytes[i] >> 4];
        nonce[2 * i + 1] = digits[bytes[i] & 15];
    }
    nonce[PP_NONCE_SIZE - 1] = '\0';
    return 0;
}

int
lockfile_open(int directory_fd)
{
    int fd = nerrno(openat(directory_fd, LOCK_NAME,
                           O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
    struct stat st;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid()) {
        close_fd(&fd);
        return -EPERM;
    }
    return fd;
}

/* Read and judge the lock file that `fd` is; liveness 0 when its content says nothing to us. */
static int
read_holder(const struct pp_host *host, int fd, struct pp_holder *ret_holder)
{
    char text[LOCK_LINE_SIZE];
    struct pp_holder holder = {0};
    ssize_t size;

    do
        size = pread(fd, text, sizeof(text), 0);
    while (size < 0 && errno == EINTR);
    if (size < 0)
        return -errno;
    if (lockfile_parse(text, (size_t) size, &holder) == 0)
        holder.liveness = pp_process_compare(host, &holder.identity, &holder.reason);
    *ret_holder = holder;
    return 0;
}

/* ----------------------------------------------------------------------------------- acquire */

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
write_line(int fd, const struct pp_host *host, const struct pp_identity *self,
           const char *purpose, int64_t hold, struct pp_lock *lock)
{
    char token[PP_TOKEN_SIZE], line[LOCK_LINE_SIZE];
    int64_t now = host_now(host), deadline;
    int length, r;
    ssize_t written;

    r = make_nonce(lock->nonce);
    if (r < 0)
        return r;
    r = pp_token_format(self, token, sizeof(token));
    if (r < 0)
        return r;
    if (__builtin_add_overflow(now, hold, &deadline))
        deadline = INT64_MAX;
    length = snprintf(line, sizeof(line), PREFIX VERSION " %s %s %" PRId64 " %" PRId64 " %s\n",
                      lock->nonce, token, now, deadline, purpose);
    if (length < 0 || (size_t) length >= sizeof(line))
        return -ENOBUFS;
    /* One write: whoever reads sees none of it or all of it, and a short one is a full disk. */
    do
        written = write(fd, line, (size_t) length);
    while (written < 0 && errno == EINTR);
    if (written < 0)
        return -errno;
    return written == length ? 0 : -ENOSPC;
}

/* O_EXCL create and life flock.  Whoever waits may open the file the moment that it exists, and
 * hold its life flock for as long as he takes to wake up: he is left behind with that inode. */
static int
create_flocked(int directory_fd)
{
    int r = -EAGAIN;

    for (int tries = 0; tries < 100 && r == -EAGAIN; tries++) {
        CLEANUP_CLOSE int fd =
            nerrno(openat(directory_fd, LOCK_NAME,
                          O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));

        if (fd < 0)
            return fd;
        r = nerrno(flock(fd, LOCK_EX | LOCK_NB));
        if (r == 0)
            return take_fd(&fd);
        (void) unlinkat(directory_fd, LOCK_NAME, 0);
    }
    return r;
}

/* The lock file with its content; on failure nothing stays. */
static int
create(const struct pp_host *host, const struct pp_identity *self, int directory_fd,
       const char *purpose, int64_t hold, struct pp_lock *lock)
{
    CLEANUP_CLOSE int fd = create_flocked(directory_fd);
    struct stat st;
    int r;

    if (fd < 0)
        return fd;
    r = nerrno(fstat(fd, &st));
    if (r >= 0)
        r = write_line(fd, host, self, purpose, hold, lock);
    if (r < 0) {
        (void) unlinkat(directory_fd, LOCK_NAME, 0);
        return r;
    }
    lock->device = st.st_dev;
    lock->inode = st.st_ino;
    lock->owner = getpid();
    lock->fd = take_fd(&fd);
    return 0;
}

int
pp_lock_try(const struct pp_host *host, const struct pp_identity *self, int32_t directory_fd,
            const char *purpose, int64_t hold, int64_t guard_timeout, struct pp_lock *lock,
            struct pp_holder *holder)
{
    CLEANUP_GUARD struct pp_guard guard = {.fd = -1};
    CLEANUP_CLOSE int fd = -EBADF;
    int r, found = PP_FOUND_FREE;

    if (hold < 0 || !is_purpose(purpose, strnlen(purpose, PP_PURPOSE_SIZE)))
        return -EINVAL;
    r = pp_guard_enter(directory_fd, guard_timeout, &guard);
    if (r < 0)
        return r;
    fd = lockfile_open(directory_fd);
    if (fd < 0 && fd != -ENOENT)
        return fd;
    if (fd >= 0) {
        found = judge(host, fd, holder);
        if (found <= 0)
            return found;
        r = nerrno(unlinkat(directory_fd, LOCK_NAME, 0));
        if (r < 0)
            return r;
    }
    r = create(host, self, directory_fd, purpose, hold, lock);
    return r < 0 ? r : found;
}

int
pp_lock_look(const struct pp_host *host, int32_t directory_fd, struct pp_holder *ret_holder)
{
    CLEANUP_CLOSE int fd = lockfile_open(directory_fd);
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
    CLEANUP_CLOSE int fd = -EBADF;
    char text[LOCK_LINE_SIZE];
    struct pp_holder holder;
    struct stat st;
    ssize_t size;

    if (lock->fd < 0 || lock->owner != getpid())
        return 0;
    fd = lockfile_open(directory_fd);
    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_dev != lock->device || st.st_ino != lock->inode)
        return 0;
    do
        size = pread(fd, text, sizeof(text), 0);
    while (size < 0 && errno == EINTR);
    if (size < 0)
        return -errno;
    return lockfile_parse(text, (size_t) size, &holder) == 0 &&
           memcmp(holder.nonce, lock->nonce, PP_NONCE_SIZE) == 0;
}

void
pp_lock_drop(struct pp_lock *lock)
{
    /* Unlock before close: a fork may hold a copy of the descriptor. */
    if (lock->fd >= 0 && lock->owner == getpid())
        (void) flock(lock->fd, LOCK_UN);
    close_fd(&lock->fd);
}

int
pp_lock_release(int32_t directory_fd, int64_t guard_timeout, struct pp_lock *lock)
{
    CLEANUP_GUARD struct pp_guard guard = {.fd = -1};
    int r;

    if (lock->fd < 0)
        return 0;
    if (lock->owner != getpid()) {
        pp_lock_drop(lock);
        return 0;
    }
    r = pp_guard_enter(directory_fd, guard_timeout, &guard);
    if (r == -EINTR)
        return r;
    if (r == 0)
        r = pp_lock_mine(directory_fd, lock);
    if (r > 0 && unlinkat(directory_fd, LOCK_NAME, 0) < 0)
        r = -errno;
    pp_lock_drop(lock);
    return r;
}
