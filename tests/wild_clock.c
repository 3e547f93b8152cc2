/* SPDX-License-Identifier: MIT
 * Preloaded: a wall clock that steps by days, forward and back, at every look.  Clocks that do not
 * show the time of day are left alone. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* From the first look on: now, years ahead, before 1970, ... */
static long
step(void)
{
    static const long steps[] = {0, 400 * 86400L, -30000 * 86400L, 86400, -86400};
    static unsigned looks;

    return steps[__atomic_fetch_add(&looks, 1, __ATOMIC_RELAXED) % 5];
}

int
clock_gettime(clockid_t clock, struct timespec *time)
{
    int r = (int) syscall(SYS_clock_gettime, clock, time);

    if (r == 0 &&
        (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI))
        time->tv_sec += step();
    return r;
}

int
gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    int r = (int) syscall(SYS_gettimeofday, time, zone);

    if (r == 0 && time)
        time->tv_sec += step();
    return r;
}

time_t
time(time_t *ret_time)
{
    struct timespec now;

    (void) clock_gettime(CLOCK_REALTIME, &now);
    if (ret_time)
        *ret_time = now.tv_sec;
    return now.tv_sec;
}
