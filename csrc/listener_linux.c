/* SPDX-License-Identifier: MIT
 * Whose socket listens on a port: its inode is that of a descriptor that /proc shows of the process
 * that holds it. */
#include "pp.h"

#include <stdio.h>
#include <string.h>

#include "procfs_linux.h"
#include "sockets_linux.h"
#include "util.h"

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
    r = sockets_on_port(port, &sockets);
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
        r = session_id > 0 ? procfs_stat((int32_t) pid, &stat) : -ESRCH;
        if (r == -EMFILE || r == -ENFILE || r == -ENOMEM)
            return r;
        if (r == 0 && stat.session_id == session_id)
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
    r = sockets_on_port(port, &sockets);
    if (r < 0)
        return r;
    return sockets.count == 1 && sockets.inodes[0] == inode;
}
