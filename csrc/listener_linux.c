/* SPDX-License-Identifier: MIT
 * Whose socket listens on a port: /proc/net/tcp names its inode (proc_net(5)), and the process
 * that holds it shows a descriptor with that inode. */
#include "pp.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "procfs_linux.h"
#include "util.h"

/* local address, port, state, uid, inode */
#define TABLE_LINE                                                                            \
    " %*u: %32[0-9A-F]:%4x %*[0-9A-F]:%*x %2x %*x:%*x %*x:%*x %*x %u %*u %" SCNu64
#define SOCKETS 256 /* of one port: one for each family, more only with SO_REUSEPORT */

struct sockets {
    uint64_t inodes[SOCKETS];
    uint32_t uid;
    size_t count;
};

static void
close_file(FILE **file)
{
    if (*file)
        (void) fclose(*file);
}

#define CLEANUP_FILE __attribute__((cleanup(close_file)))

/* Would a connection to 127.0.0.1 reach a socket bound to this address?  The kernel prints each
 * 32-bit word in host order. */
static int
takes_loopback(const char *address, size_t length)
{
    static const char any[] = "00000000000000000000000000000000";
    static const char mapped[] = "0000000000000000FFFF0000";

    if (length == 32 && memcmp(address, mapped, 24) == 0) {
        address += 24;
        length = 8;
    }
    if (length != 8 && length != 32)
        return 0;
    return memcmp(address, any, length) == 0 ||
           (length == 8 && memcmp(address, "0100007F", 8) == 0);
}

/* What we want of a line of /proc/net/tcp or tcp6. */
struct table_line {
    char address[33];
    unsigned port, state, uid;
    uint64_t inode;
};

/* 1 or 0: no socket stands in this line. */
static int
parse_line(const char *line, struct table_line *ret_line)
{
    int fields = sscanf(line, TABLE_LINE, ret_line->address, &ret_line->port, &ret_line->state,
                        &ret_line->uid, &ret_line->inode);

    return fields == 5;
}

static int
collect(const char *path, int32_t port, struct sockets *sockets)
{
    CLEANUP_FILE FILE *file = fopen(path, "re");
    char line[512], buffer[16384]; /* stdio's own would take a call for every six sockets */

    if (!file)
        return errno == ENOENT ? 0 : -errno; /* a kernel without IPv6 */
    (void) setvbuf(file, buffer, _IOFBF, sizeof(buffer));
    while (fgets(line, sizeof(line), file)) {
        struct table_line found;

        if (!parse_line(line, &found) || found.state != 0x0A /* TCP_LISTEN */ ||
            found.port != (unsigned) port || !found.inode ||
            !takes_loopback(found.address, strlen(found.address)))
            continue;
        if (sockets->count == SOCKETS)
            return -ENOBUFS;
        sockets->uid = found.uid;
        sockets->inodes[sockets->count++] = found.inode;
    }
    return ferror(file) ? -errno : 0;
}

/* Beside a socket of IPv4, one of IPv6 takes no connection to 127.0.0.1: both can be bound only
 * with IPV6_V6ONLY, and with SO_REUSEPORT the kernel prefers the former. */
static int
collect_all(int32_t port, struct sockets *sockets)
{
    int r = collect("/proc/self/net/tcp", port, sockets);

    if (r == 0 && !sockets->count)
        r = collect("/proc/self/net/tcp6", port, sockets);
    return r;
}

/* The inode in "socket:[<inode>]", or 0. */
static uint64_t
parse_socket_link(const char *target, size_t length)
{
    uint64_t inode;

    if (length < 10 || memcmp(target, "socket:[", 8) != 0 || target[length - 1] != ']' ||
        parse_u64(target + 8, target + length - 1, &inode) < 0)
        return 0;
    return inode;
}

/* The inode that /proc/<pid>/fd/<name> is a socket of, or 0. */
static uint64_t
socket_inode(int32_t pid, const char *name)
{
    char path[64], target[64];
    ssize_t length;

    (void) snprintf(path, sizeof(path), "/proc/%d/fd/%.16s", pid, name);
    length = readlink(path, target, sizeof(target));
    if (length < 0 || (size_t) length == sizeof(target))
        return 0;
    return parse_socket_link(target, (size_t) length);
}

/* Does the process hold one of the sockets?  1 and *ret_listener; 0: no, or it is gone, or not ours
 * to look into.  That we could not look for want of something is no answer:
 *   -EMFILE, -ENFILE, -ENOMEM, and what reading /proc may say else */
static int
holds(int32_t pid, const struct sockets *sockets, struct pp_listener *ret_listener)
{
    CLEANUP_DIRECTORY DIR *directory = NULL;
    char path[32];
    struct dirent *entry;

    (void) snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    directory = opendir(path);
    if (!directory)
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : 0;
    for (;;) {
        uint64_t fd, inode;

        errno = 0;
        entry = readdir(directory);
        if (!entry)
            return errno == ENOENT || errno == ESRCH ? 0 : -errno;
        inode = socket_inode(pid, entry->d_name);
        for (size_t i = 0; inode && i < sockets->count; i++) {
            if (sockets->inodes[i] != inode)
                continue;
            if (parse_u64(entry->d_name, entry->d_name + strlen(entry->d_name), &fd) < 0)
                continue;
            *ret_listener = (struct pp_listener){
                .pid = pid, .fd = (int32_t) fd, .uid = sockets->uid, .inode = inode};
            return 1;
        }
    }
}

int
pp_listener_find(const struct pp_host *host, int32_t port, int32_t session_id,
                 struct pp_listener *ret_listener)
{
    CLEANUP_DIRECTORY DIR *proc = NULL;
    struct pp_listener listener = {.fd = -1};
    struct sockets sockets = {0};
    struct dirent *entry;
    int r, found = 2;

    if (!(host->features & PP_HAS_PROC))
        return -EXDEV;
    r = collect_all(port, &sockets);
    if (r < 0)
        return r;
    if (!sockets.count)
        return 0;
    listener.uid = sockets.uid;
    /* Mostly it is the server itself. */
    r = session_id > 0 ? holds(session_id, &sockets, ret_listener) : 0;
    if (r)
        return r;

    proc = opendir("/proc");
    if (!proc)
        return -errno;
    while (found == 2) {
        struct procfs_stat stat;
        struct pp_listener holder;
        uint64_t pid;

        errno = 0;
        entry = readdir(proc);
        if (!entry && errno)
            return -errno;
        if (!entry)
            break;
        if (parse_u64(entry->d_name, entry->d_name + strlen(entry->d_name), &pid) < 0 ||
            pid == 0 || pid > INT32_MAX)
            continue;
        r = holds((int32_t) pid, &sockets, &holder);
        if (r < 0)
            return r;
        if (r == 0)
            continue;
        listener = holder;
        if (session_id > 0 && procfs_stat((int32_t) pid, &stat) == 0 &&
            stat.session_id == session_id)
            found = 1;
    }
    *ret_listener = listener;
    return found;
}

int
pp_listener_check(const struct pp_host *host, int32_t port, int32_t pid, int32_t fd,
                  uint64_t inode)
{
    struct sockets sockets = {0};
    char name[16];
    int r;

    if (!(host->features & PP_HAS_PROC) || pid <= 0 || fd < 0 || !inode)
        return 0;
    (void) snprintf(name, sizeof(name), "%d", fd);
    if (socket_inode(pid, name) != inode)
        return 0;
    /* It may have been shut down and kept, and its port be another's by now. */
    r = collect_all(port, &sockets);
    if (r < 0)
        return r;
    return sockets.count == 1 && sockets.inodes[0] == inode;
}
