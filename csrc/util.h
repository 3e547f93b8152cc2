/* SPDX-License-Identifier: MIT
 * Cleanup by attribute, and the few conversions that every file needs. */
#ifndef PP_UTIL_H
#define PP_UTIL_H

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "system.h"

#define NSEC_PER_SEC 1000000000LL

static inline void
close_fd(int *fd)
{
    /* Forgotten before it is closed: once closed, the number is another thread's to have, and a
     * fork that finds it here would close that one's. */
    int closed = *fd;
    *fd = -EBADF;

    /* The descriptor is released even when close reports EINTR: never retried. */
    if (closed >= 0)
        (void) close(closed);
}

static inline void
free_pointer(void *pointer)
{
    free(*(void **) pointer);
}

#define CLEANUP_CLOSE __attribute__((cleanup(close_fd)))
#define CLEANUP_FREE __attribute__((cleanup(free_pointer)))

static inline int
take_fd(int *fd)
{
    int taken = *fd;
    *fd = -EBADF;
    return taken;
}

/* The result of a libc call as ours: itself, or the negative errno. */
static inline int
nerrno(int result)
{
    return result < 0 ? -errno : result;
}

static inline int64_t
clock_read(clockid_t clock)
{
    struct timespec now = {0};

    (void) clock_gettime(clock, &now);
    return (int64_t) now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

/* Now plus a duration, without overflow for "for ever". */
static inline int64_t
clock_after(int64_t duration)
{
    int64_t sum;
    if (__builtin_add_overflow(clock_now(), duration, &sum))
        return INT64_MAX;
    return sum;
}

static inline struct timespec
as_timespec(int64_t nanoseconds)
{
    if (nanoseconds < 0)
        nanoseconds = 0;
    return (struct timespec){.tv_sec = (time_t) (nanoseconds / NSEC_PER_SEC),
                             .tv_nsec = (long) (nanoseconds % NSEC_PER_SEC)};
}

/* For poll(2), rounded up: a wait that ends early would be taken for an event that stays away. */
static inline int
as_milliseconds(int64_t nanoseconds)
{
    int64_t whole = nanoseconds / 1000000;

    if (nanoseconds <= 0)
        return 0;
    if (whole >= INT_MAX)
        return INT_MAX;
    return (int) (whole + (nanoseconds % 1000000 != 0));
}

/* Parse an unsigned decimal that fills [text, end) exactly: no sign, no space, no overflow. */
static inline int
parse_u64(const char *text, const char *end, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (text == end || (end - text > 1 && *text == '0'))
        return -EINVAL;
    for (; text < end; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        if (__builtin_mul_overflow(value, 10U, &value) ||
            __builtin_add_overflow(value, (uint64_t) (*text - '0'), &value))
            return -EINVAL;
    }
    *ret_value = value;
    return 0;
}

#endif
