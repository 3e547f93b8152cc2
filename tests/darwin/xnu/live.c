/* SPDX-License-Identifier: MIT
 * The processes of this machine, shown as macOS would show them: so that the tests which start,
 * end and stop real processes can be run on the sources for macOS. */
#define _GNU_SOURCE
#include "xnu.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int
pidfd_of(int32_t pid)
{
    return (int) syscall(SYS_pidfd_open, pid, 0);
}

int
pidfd_exited(int fd)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};

    return poll(&item, 1, 0) > 0;
}

static ssize_t
slurp(int32_t pid, const char *name, char *buffer, size_t size)
{
    char path[64];
    ssize_t used = 0, n;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    while ((size_t) used < size && (n = read(fd, buffer + used, size - (size_t) used)) > 0)
        used += n;
    close(fd);
    return used;
}

/* Another number after each exec: that of where the program and its stack lie. */
static int32_t
version_of(unsigned long long code, unsigned long long stack)
{
    uint64_t mixed = (code ^ (stack << 7)) * 0x9E3779B97F4A7C15ULL;

    return (int32_t) (mixed >> 34) | 1;
}

int
xnu_process(int32_t pid, struct process *ret)
{
    struct entry *entry = xnu_find(pid);
    unsigned long long ticks, code = 0, stack = 0, flags;
    char text[2048], status[4096], *rest, *line, letter;
    struct process found = {.pid = pid, .flags = X_P_LP64, .exit_fd = -1};
    long threads;
    ssize_t size;
    struct stat st;
    int fd;

    if (entry) {
        *ret = entry->process;
        return 0;
    }
    if (pid <= 0)
        return X_ESRCH;
    fd = pidfd_of(pid);
    if (fd < 0)
        return X_ESRCH; /* a thread, too */
    fstat(fd, &st);
    found.unique_id = st.st_ino;
    close(fd);
    size = slurp(pid, "stat", text, sizeof(text) - 1);
    if (size <= 0)
        return X_ESRCH;
    text[size] = '\0';
    rest = strrchr(text, ')');
    if (!rest || sscanf(rest + 1,
                        " %c %d %d %d %*d %*d %llu %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld "
                        "%*d %llu %*u %*d %*u %llu %*u %llu",
                        &letter, &found.parent, &found.group, &found.session, &flags, &threads,
                        &ticks, &code, &stack) < 7)
        return X_ESRCH;
    size = slurp(pid, "status", status, sizeof(status) - 1);
    status[size < 0 ? 0 : size] = '\0';
    line = strstr(status, "\nUid:");
    if (!line || sscanf(line + 5, "%u %u", &found.real_uid, &found.effective_uid) != 2)
        return X_ESRCH;
    found.start_seconds = 1700000000 + (int64_t) (ticks / 100);
    found.start_microseconds = (int32_t) (ticks % 100) * 10000;
    found.version = version_of(code, stack);
    found.state = X_SRUN; /* as macOS shows a sleeping one too */
    if (letter == 'T' || letter == 't')
        found.state = X_SSTOP;
    if (letter == 'X' || (letter == 'Z' && threads <= 1))
        found.state = X_SZOMB;
    if (!(flags & 0x40)) /* PF_FORKNOEXEC */
        found.flags |= X_P_EXEC;
    *ret = found;
    return 0;
}

static size_t
pad(char *buffer, size_t at)
{
    while (at % 8)
        buffer[at++] = '\0';
    return at;
}

/* As exec lays it out, and sysctl shows it; the word before it is argc. */
int
xnu_area(int32_t pid, char *buffer, size_t capacity, size_t *ret_size)
{
    static const char kernel[] = "pfz=0x7ffffff12000\0stack_guard=0xd3b0c2\0ptr_munge=\0"
                                 "main_stack=0x16fe0,0x800000\0executable_file=0x1,0x2\0";
    struct entry *entry = xnu_find(pid);
    char path[64];
    int32_t argc = 0;
    ssize_t n;
    size_t at;

    if (entry) {
        if (entry->process.area_errno)
            return entry->process.area_errno;
        memcpy(buffer, entry->area.data, entry->area.size);
        *ret_size = entry->area.size;
        return 0;
    }
    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    n = readlink(path, buffer + 4, 4096);
    if (n < 0 && errno == ENOENT) {
        /* A thread of the kernel, which macOS does not have as a process: one that shows nothing. */
        memcpy(buffer, "\0\0\0\0kernel\0\0", 12);
        *ret_size = 12;
        return 0;
    }
    if (n < 0)
        return X_EINVAL;
    at = 4 + (size_t) n;
    buffer[at++] = '\0';
    at = pad(buffer + 4, at - 4) + 4;
    n = slurp(pid, "cmdline", buffer + at, capacity - at - 4096);
    if (n < 0)
        return X_EINVAL;
    if (n == 0)
        return X_EIO; /* in the middle of an exec */
    if (buffer[at + (size_t) n - 1] != '\0')
        buffer[at + (size_t) n++] = '\0'; /* overwritten, up to its environment */
    for (ssize_t i = 0; i < n; i++)
        argc += buffer[at + (size_t) i] == '\0';
    at += (size_t) n;
    n = slurp(pid, "environ", buffer + at, capacity - at - 4096);
    if (n < 0)
        return X_EINVAL;
    at = pad(buffer + 4, at + (size_t) n - 4) + 4;
    memcpy(buffer + at, kernel, sizeof(kernel));
    at += sizeof(kernel) + 16;
    put32(buffer, 0, (uint32_t) argc);
    *ret_size = at;
    return 0;
}
