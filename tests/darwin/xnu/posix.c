/* SPDX-License-Identifier: MIT
 * libSystem: processes, signals, threads, time and memory, with the numbers and structs of macOS. */
#define _GNU_SOURCE
#include "xnu.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Declared by use: nobody but the sources for macOS calls these. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC visibility push(hidden)

/* -------------------------------------------------------------------------------- processes */

int
xnu_fork(void)
{
    return xnu_wrap(fork());
}

int
xnu_execve(const char *path, char *const *arguments, char *const *environment)
{
    return xnu_wrap(execve(path, arguments, environment));
}

void
xnu__exit(int status)
{
    _exit(status);
}

int
xnu_setsid(void)
{
    return xnu_wrap(setsid());
}

int
xnu_getpid(void)
{
    return getpid();
}

int
xnu_getppid(void)
{
    return getppid();
}

uint32_t
xnu_geteuid(void)
{
    return xnu_caller();
}

int
xnu_waitpid(pid_t pid, int *status, int options)
{
    return xnu_wrap(waitpid(pid, status, options & 1)); /* WNOHANG is 1 on both */
}

int
xnu_waitid(int kind, unsigned id, char *ret, int options)
{
    siginfo_t info = {0};
    int r;

    if (kind != 1 || options != (4 | 1 | 0x20)) /* P_PID; WEXITED, WNOHANG, WNOWAIT */
        abort();
    r = waitid(P_PID, id, &info, WEXITED | WNOHANG | WNOWAIT);
    if (r == 0 && info.si_pid)
        put32(ret, 12, (uint32_t) info.si_pid);
    return xnu_wrap(r);
}

int
xnu_getrlimit(int what, struct rlimit *ret)
{
    if (what != 8) /* RLIMIT_NOFILE */
        abort();
    return xnu_wrap(getrlimit(RLIMIT_NOFILE, ret));
}

/* ---------------------------------------------------------------------------------- signals */

int
xnu_sigaction(int number, const void *action, void *old)
{
    struct sigaction ours = {.sa_handler = SIG_DFL};
    void *handler;

    memcpy(&handler, action, sizeof(handler));
    if (handler != SIG_DFL || old)
        abort();
    if (number == 31) /* those that macOS does not have, with the last of its own */
        for (int rest = 1; rest < NSIG; rest++)
            if (darwin_signal(rest) > 31)
                (void) sigaction(rest, &ours, NULL);
    if (xnu_signal(number) < 0)
        return 0; /* SIGEMT, SIGINFO */
    return xnu_wrap(sigaction(xnu_signal(number), &ours, NULL));
}

/* sigset_t has 32 bits there. */
static int
set_mask(int how, const uint32_t *theirs, uint32_t *old)
{
    sigset_t ours, before;

    if (how != 3) /* SIG_SETMASK */
        abort();
    sigemptyset(&ours);
    if (*theirs == UINT32_MAX)
        sigfillset(&ours);
    else
        for (int number = 1; number <= 31; number++)
            if (*theirs & (1U << (number - 1)) && xnu_signal(number) > 0)
                sigaddset(&ours, xnu_signal(number));
    if (pthread_sigmask(SIG_SETMASK, &ours, &before) != 0)
        return X_EINVAL;
    if (old) {
        *old = 0;
        for (int number = 1; number <= 31; number++)
            if (xnu_signal(number) > 0 && sigismember(&before, xnu_signal(number)))
                *old |= 1U << (number - 1);
    }
    return 0;
}

int
xnu_pthread_sigmask(int how, const uint32_t *theirs, uint32_t *old)
{
    return set_mask(how, theirs, old);
}

int
xnu_sigprocmask(int how, const uint32_t *theirs, uint32_t *old)
{
    int r = set_mask(how, theirs, old);

    return r ? xnu_fail(r) : 0;
}

/* ---------------------------------------------------------------------------------- threads */

int
xnu_pthread_attr_init(void *attributes)
{
    return pthread_attr_init(attributes); /* 64 bytes there, 56 here */
}

int
xnu_pthread_attr_setstacksize(void *attributes, size_t size)
{
    return pthread_attr_setstacksize(attributes, size);
}

int
xnu_pthread_attr_destroy(void *attributes)
{
    return pthread_attr_destroy(attributes);
}

int
xnu_pthread_create(void *thread, const void *attributes, void *(*start)(void *), void *argument)
{
    int r = pthread_create(thread, attributes, start, argument);

    return r ? xnu_errno(r) : 0;
}

int
xnu_pthread_join(uint64_t thread, void **ret)
{
    return pthread_join((pthread_t) thread, ret);
}

/* ------------------------------------------------------------------------------------- time */

uint64_t
xnu_clock_gettime_nsec_np(int clock)
{
    struct timespec now;

    /* CLOCK_UPTIME_RAW stands still in sleep, CLOCK_MONOTONIC_RAW does not: unlike here. */
    if (clock != 8 && clock != 4)
        abort();
    clock_gettime(clock == 8 ? CLOCK_MONOTONIC : CLOCK_BOOTTIME, &now);
    return (uint64_t) now.tv_sec * 1000000000U + (uint64_t) now.tv_nsec;
}

int
xnu_sched_yield(void)
{
    return xnu_wrap(sched_yield());
}

int
xnu_nanosleep(const struct timespec *nap, struct timespec *left)
{
    return xnu_wrap(nanosleep(nap, left));
}

/* ------------------------------------------------------------------------- memory and the rest */

static char secret[64];
static int secrets_freed;

void
xnu_set_secret(const char *text)
{
    strncpy(secret, text, sizeof(secret) - 1);
    secrets_freed = 0;
}

int
xnu_secrets_freed(void)
{
    return secrets_freed;
}

static void
look_for_secret(void *block)
{
    if (block && secret[0] &&
        memmem(block, malloc_usable_size(block), secret, strlen(secret)))
        secrets_freed++;
}

void *
xnu_malloc(size_t size)
{
    return malloc(size);
}

void *
xnu_realloc(void *block, size_t size)
{
    return realloc(block, size);
}

void
xnu_free(void *block)
{
    look_for_secret(block);
    free(block);
}

int
xnu_memset_s(void *at, size_t capacity, int value, size_t size)
{
    if (size > capacity)
        return X_EINVAL;
    memset(at, value, size);
    return 0;
}

int
xnu_getentropy(void *buffer, size_t size)
{
    return xnu_wrap(getentropy(buffer, size));
}

int
xnu_gethostuuid(unsigned char *uuid, const struct timespec *limit)
{
    char text[64] = {0};
    int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
    long n = fd < 0 ? -1 : read(fd, text, 32);

    (void) limit;
    if (fd >= 0)
        close(fd);
    if (n != 32)
        return xnu_fail(35);
    for (int i = 0; i < 16; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

        uuid[i] = (unsigned char) strtoul(pair, NULL, 16);
    }
    return 0;
}
