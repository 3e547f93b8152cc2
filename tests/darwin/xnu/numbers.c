/* SPDX-License-Identifier: MIT
 * errno and signals: one meaning, two numbers (sys/errno.h and sys/signal.h of macOS). */
#define _GNU_SOURCE
#include "xnu.h"

#include <errno.h>
#include <signal.h>

static const struct {
    int ours, theirs;
} ERRORS[] = {
    {EPERM, 1}, {ENOENT, 2}, {ESRCH, 3}, {EINTR, 4}, {EIO, 5}, {ENXIO, 6}, {E2BIG, 7},
    {ENOEXEC, 8}, {EBADF, 9}, {ECHILD, 10}, {EAGAIN, 35}, {ENOMEM, 12}, {EACCES, 13},
    {EFAULT, 14}, {EBUSY, 16}, {EEXIST, 17}, {EXDEV, 18}, {ENODEV, 19}, {ENOTDIR, 20},
    {EISDIR, 21}, {EINVAL, 22}, {ENFILE, 23}, {EMFILE, 24}, {ENOTTY, 25}, {ETXTBSY, 26},
    {EFBIG, 27}, {ENOSPC, 28}, {ESPIPE, 29}, {EROFS, 30}, {EMLINK, 31}, {EPIPE, 32},
    {ENOTSOCK, 38}, {ENOPROTOOPT, 42}, {EPROTONOSUPPORT, 43}, {EOPNOTSUPP, 102},
    {EADDRINUSE, 48}, {ENOBUFS, 55}, {ECONNRESET, 54}, {ENOTCONN, 57}, {ETIMEDOUT, 60},
    {ECONNREFUSED, 61}, {ELOOP, 62}, {ENAMETOOLONG, 63}, {EDQUOT, 69}, {ENOLCK, 77},
    {ENOSYS, 78}, {EOVERFLOW, 84}, {ECANCELED, 89}, {EPROTO, 100}, {EOPNOTSUPP, 45},
};
#define ERROR_COUNT (sizeof(ERRORS) / sizeof(*ERRORS))

static const struct {
    int ours, theirs;
} SIGNALS[] = {
    {0, 0}, {SIGHUP, 1}, {SIGINT, 2}, {SIGQUIT, 3}, {SIGILL, 4}, {SIGTRAP, 5}, {SIGABRT, 6},
    {SIGFPE, 8}, {SIGKILL, 9}, {SIGBUS, 10}, {SIGSEGV, 11}, {SIGSYS, 12}, {SIGPIPE, 13},
    {SIGALRM, 14}, {SIGTERM, 15}, {SIGURG, 16}, {SIGSTOP, 17}, {SIGTSTP, 18}, {SIGCONT, 19},
    {SIGCHLD, 20}, {SIGTTIN, 21}, {SIGTTOU, 22}, {SIGIO, 23}, {SIGXCPU, 24}, {SIGXFSZ, 25},
    {SIGVTALRM, 26}, {SIGPROF, 27}, {SIGWINCH, 28}, {SIGUSR1, 30}, {SIGUSR2, 31},
};
#define SIGNAL_COUNT (sizeof(SIGNALS) / sizeof(*SIGNALS))

int *
xnu___error(void)
{
    static __thread int number;

    return &number;
}

int
xnu_errno(int number)
{
    for (size_t i = 0; i < ERROR_COUNT; i++)
        if (ERRORS[i].ours == number)
            return ERRORS[i].theirs;
    return 999; /* a test that sees it has found one that is missing here */
}

int
linux_errno(int number)
{
    for (size_t i = 0; i < ERROR_COUNT; i++)
        if (ERRORS[i].theirs == number)
            return ERRORS[i].ours;
    return 999;
}

int
linux_result(int result)
{
    return result < 0 ? -linux_errno(-result) : result;
}

int
xnu_fail(int number)
{
    *xnu___error() = number;
    return -1;
}

int
xnu_wrap(long result)
{
    return result < 0 ? xnu_fail(xnu_errno(errno)) : (int) result;
}

int
xnu_signal(int number)
{
    for (size_t i = 0; i < SIGNAL_COUNT; i++)
        if (SIGNALS[i].theirs == number)
            return SIGNALS[i].ours;
    return -1;
}

int
darwin_signal(int number)
{
    for (size_t i = 0; i < SIGNAL_COUNT; i++)
        if (SIGNALS[i].ours == number)
            return SIGNALS[i].theirs;
    return number < 0 ? number : 1000 + number; /* no signal there either */
}
