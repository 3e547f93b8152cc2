/* SPDX-License-Identifier: MIT
 * What a process shows of itself in /proc: argv, environment and executable, of exactly the one
 * that is meant. */
#include "pp.h"

#include <stdio.h>
#include <sys/stat.h>

#include "judging.h"
#include "procfs_linux.h"
#include "util.h"

#define EXEC_TIME 500000000LL /* how long the second half of an exec may take */

/* Is this a program, rather than a kernel thread?  -ESRCH: nothing is shown under the pid. */
static int
has_program(int32_t pid)
{
    char path[40], byte;

    (void) snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    if (readlink(path, &byte, 1) >= 0 || errno != ENOENT)
        return 1;
    (void) snprintf(path, sizeof(path), "/proc/%d", pid);
    return access(path, F_OK) < 0 ? -ESRCH : 0;
}

static int
read_exe(int32_t pid, char *buffer, size_t size, size_t *ret_size)
{
    char path[40];
    ssize_t length;

    (void) snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    length = readlink(path, buffer, size);
    if (length < 0 && errno == ENOENT)
        return has_program(pid) < 0 ? -ESRCH : -ENOENT;
    if (length < 0)
        return -errno;
    if ((size_t) length == size)
        return -ENOBUFS;
    *ret_size = (size_t) length;
    return 0;
}

static int
read_text(int32_t pid, int what, char *buffer, size_t size, size_t *ret_size)
{
    static const char *const names[] = {"cmdline", "environ"};
    char path[40];

    if (what == PP_TEXT_EXE)
        return read_exe(pid, buffer, size, ret_size);
    if (what != PP_TEXT_ARGV && what != PP_TEXT_ENVIRON)
        return -EINVAL;
    (void) snprintf(path, sizeof(path), "/proc/%d/%s", pid, names[what]);
    for (int64_t deadline = clock_after(EXEC_TIME);;) {
        struct timespec nap = as_timespec(200000);
        int r = procfs_read(path, buffer, size, ret_size);

        if (r < 0)
            return r == -ENOENT ? -ESRCH : r;
        /* In the middle of an exec both are empty for a moment, after the descriptors marked
         * close-on-exec were closed, which is how others learn that the exec succeeded. */
        if (*ret_size || what != PP_TEXT_ARGV || has_program(pid) <= 0 ||
            clock_now() >= deadline)
            return 0;
        (void) nanosleep(&nap, NULL);
    }
}

int
pp_process_read(const struct pp_host *host, const struct pp_identity *identity, int what,
                char *buffer, size_t size, size_t *ret_size)
{
    CLEANUP_CLOSE int fd = -EBADF;
    int32_t reason;
    size_t length = 0;
    int r, read_result;

    r = pp_process_open(host, identity, &fd, &reason);
    if (r != PP_ALIVE)
        return judge_unreadable(r, reason);
    if (!(host->features & PP_HAS_PROC))
        return -EXDEV;
    read_result = read_text(identity->pid, what, buffer, size, &length);
    r = pp_process_poll(host, identity, fd, &reason);
    if (r != PP_ALIVE)
        return judge_unreadable(r, reason);
    if (read_result == -ESRCH)
        return -EACCES; /* alive and not shown: hidepid */
    if (read_result < 0)
        return read_result;
    *ret_size = length;
    return 0;
}

int
pp_pid_shares_files(int32_t pid)
{
    static const char *const names[] = {"ns/mnt", "root"};

    /* mount_namespaces(7) */
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        char path[40];
        struct stat mine, other;

        (void) snprintf(path, sizeof(path), "/proc/self/%s", names[i]);
        if (stat(path, &mine) < 0)
            return -errno;
        (void) snprintf(path, sizeof(path), "/proc/%d/%s", pid, names[i]);
        if (stat(path, &other) < 0)
            return -errno;
        if (mine.st_dev != other.st_dev || mine.st_ino != other.st_ino)
            return 0;
    }
    return 1;
}
