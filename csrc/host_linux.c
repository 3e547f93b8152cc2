/* SPDX-License-Identifier: MIT
 * The facts of this boot, this pid namespace and this time namespace. */
#include "pp.h"

#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "pidfd_linux.h"
#include "procfs_linux.h"
#include "util.h"

#ifndef PID_FS_MAGIC
#define PID_FS_MAGIC 0x50494446 /* "PIDF", include/uapi/linux/magic.h since 6.9 */
#endif

_Static_assert(sizeof(pid_t) == sizeof(int32_t), "the boundary carries a pid as int32_t");
_Static_assert(sizeof(ino_t) == 8, "pidfs inodes have 64 bits");

/* Ask the kernel for a pidfd of ourselves; a seccomp filter may deny it in any words. */
static int
probe_pidfd(uint32_t *features)
{
    CLEANUP_CLOSE int fd = pidfd_of(getpid());
    struct statfs fs;

    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
        return fd;
    if (fd < 0)
        return 0;
    *features |= PP_HAS_PIDFD;
    if (fstatfs(fd, &fs) == 0 && fs.f_type == PID_FS_MAGIC)
        *features |= PP_HAS_PIDFS;
    return 0;
}

/* The number of numbers behind NSpid in /proc/self/status. */
static int
count_namespaces(const char *text, size_t size)
{
    const char *value, *end;
    int r, numbers = 0, inside = 0;

    r = procfs_find_status(text, size, "NSpid", &value, &end);
    if (r < 0)
        return r;
    for (; value < end; value++) {
        int is_digit = *value >= '0' && *value <= '9';
        numbers += is_digit && !inside;
        inside = is_digit;
    }
    return numbers;
}

/* /proc may have been mounted for an outer pid namespace, where our pids name other processes.
 * NSpid then lists our pid once per namespace from there inwards (proc_pid_status(5)). */
static int
probe_proc(uint32_t *features)
{
    char text[8192];
    size_t size;
    int r;

    r = procfs_read("/proc/self/status", text, sizeof(text), &size);
    if (r == -ENOBUFS)
        size = sizeof(text);
    else if (r < 0)
        return r;
    r = count_namespaces(text, size);
    if (r < 0)
        return r;
    if (r == 1)
        *features |= PP_HAS_PROC;
    return 0;
}

/* The offset of a clock in /proc/self/timens_offsets; a NUL stands behind the text. */
static int
parse_offset(const char *text, size_t size, const char *clock, int64_t *ret_offset)
{
    const char *line = memmem(text, size, clock, strlen(clock));
    long long seconds, nanoseconds;
    int64_t offset;

    if (!line || sscanf(line + strlen(clock), "%lld %lld", &seconds, &nanoseconds) != 2 ||
        __builtin_mul_overflow(seconds, NSEC_PER_SEC, &offset) ||
        __builtin_add_overflow(offset, nanoseconds, &offset))
        return -EPROTO;
    *ret_offset = offset;
    return 0;
}

/* A time namespace shifts both the clocks and the start times that /proc shows
 * (time_namespaces(7)).  Subtracted, they are the same for all of this boot. */
static int
read_clock_offsets(struct pp_host *host)
{
    struct stat own, children;
    char text[256];
    size_t size;
    int r;

    r = procfs_read("/proc/self/timens_offsets", text, sizeof(text) - 1, &size);
    if (r == -ENOENT)
        return 0; /* before Linux 5.6 */
    if (r < 0)
        return r;
    text[size] = '\0';
    r = parse_offset(text, size, "monotonic", &host->monotonic_offset);
    if (r < 0)
        return r;
    r = parse_offset(text, size, "boottime", &host->boottime_offset);
    if (r < 0)
        return r;
    /* The file tells of the namespace that our children will get: after unshare, not our own. */
    if (stat("/proc/self/ns/time", &own) < 0 ||
        stat("/proc/self/ns/time_for_children", &children) < 0)
        return -errno;
    if (own.st_ino != children.st_ino)
        return -EXDEV;
    if (host->boottime_offset % host->tick)
        host->features |= PP_CLOCK_INEXACT;
    return 0;
}

int
pp_host_read(uint32_t without, struct pp_host *ret_host)
{
    struct pp_host host = {0};
    struct stat st;
    long ticks = sysconf(_SC_CLK_TCK);
    char text[64];
    size_t size;
    int r;

    if (ticks <= 0)
        return -EPROTO;
    host.tick = NSEC_PER_SEC / ticks;

    r = procfs_read("/proc/sys/kernel/random/boot_id", text, sizeof(text), &size);
    if (r < 0)
        return r;
    if (size < PP_BOOT_ID_SIZE - 1)
        return -EPROTO;
    memcpy(host.boot_id, text, PP_BOOT_ID_SIZE - 1);

    if (stat("/proc/self/ns/pid", &st) < 0)
        return -errno;
    host.pid_namespace = st.st_ino;
    r = probe_pidfd(&host.features);
    if (r < 0)
        return r;
    r = probe_proc(&host.features);
    if (r < 0)
        return r;
    r = read_clock_offsets(&host);
    if (r == -EXDEV) {
        /* Rare, and only the fallback without pidfs looks at start times at all. */
        host.features |= PP_CLOCK_INEXACT;
        host.monotonic_offset = host.boottime_offset = 0;
        r = 0;
    }
    if (r < 0)
        return r;

    host.features &= ~without;
    if (!(host.features & PP_HAS_PIDFD))
        host.features &= ~(uint32_t) PP_HAS_PIDFS;
    *ret_host = host;
    return 0;
}
