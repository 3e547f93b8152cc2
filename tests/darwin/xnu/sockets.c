/* SPDX-License-Identifier: MIT
 * The descriptors of a process, and what its sockets are. */
#define _GNU_SOURCE
#include "xnu.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

HIDDEN int xnu_list_fds(int32_t pid, char *buffer, int size);
HIDDEN int xnu_proc_pidfdinfo(int pid, int fd, int flavor, void *buffer, int size);

#define SOCKETS 1024

/* What a test gave to a process of the table. */
static struct made_up {
    int32_t pid, fd, port, state, flags, options;
    uint64_t id;
    unsigned char address[16];
} made_up[SOCKETS];
static int made_up_count;

void
xnu_add_socket(int32_t pid, int32_t fd, int32_t port, int32_t state, int32_t flags,
               int32_t options, uint64_t id, const char *address)
{
    struct made_up *socket = &made_up[made_up_count++];

    *socket = (struct made_up){pid, fd, port, state, flags, options, id, {0}};
    memcpy(socket->address, address, 16);
}

void
xnu_clear_sockets(void)
{
    made_up_count = 0;
}

static uint64_t
socket_inode(int32_t pid, const char *name)
{
    char path[64], target[64];
    unsigned long long inode;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/fd/%.16s", pid, name);
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return 0;
    target[n] = '\0';
    return sscanf(target, "socket:[%llu]", &inode) == 1 ? inode : 0;
}

/* struct proc_fdinfo: fd, type.  The list is cut where the buffer ends. */
int
xnu_list_fds(int32_t pid, char *buffer, int size)
{
    char path[64];
    DIR *directory;
    struct dirent *item;
    int used = 0;

    for (int i = 0; i < made_up_count && used + 8 <= size; i++) {
        if (made_up[i].pid != pid)
            continue;
        put32(buffer, (size_t) used, (uint32_t) made_up[i].fd);
        put32(buffer, (size_t) used + 4, 2);
        used += 8;
    }
    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    directory = opendir(path);
    if (!directory)
        return xnu_find(pid) ? used : xnu_fail(X_EPERM) + 1;
    while (used + 8 <= size && (item = readdir(directory)) != NULL) {
        if (item->d_name[0] == '.' || (pid == getpid() && atoi(item->d_name) == dirfd(directory)))
            continue;
        put32(buffer, (size_t) used, (uint32_t) atoi(item->d_name));
        put32(buffer, (size_t) used + 4, socket_inode(pid, item->d_name) ? 2 : 1);
        used += 8;
    }
    closedir(directory);
    return used;
}

static void
put_socket(char *info, const struct made_up *socket)
{
    memset(info, 0xEE, 792);
    put16(info, 188, (uint16_t) socket->options); /* soi_options */
    put32(info, 256, 2);                          /* soi_kind: TCP */
    put32(info, 268, htons((uint16_t) socket->port)); /* insi_lport */
    put64(info, 272, socket->id);                 /* insi_gencnt */
    info[288] = (char) socket->flags;             /* insi_vflag */
    memcpy(info + 312, socket->address, 16);      /* insi_laddr */
    put32(info, 344, (uint32_t) socket->state);   /* tcpsi_state */
}

/* Find the TCP socket in the lists of Linux. */
static int
look_up(const char *path, uint64_t wanted, struct made_up *ret)
{
    FILE *file = fopen(path, "re");
    char line[512], address[40];
    int found = 0;

    while (file && !found && fgets(line, sizeof(line), file)) {
        unsigned port, state;
        unsigned long long inode;

        if (sscanf(line, " %*u: %32[0-9A-F]:%x %*[0-9A-F]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %llu",
                   address, &port, &state, &inode) != 4 ||
            inode != wanted)
            continue;
        found = 1;
        *ret = (struct made_up){.port = (int) port, .state = state == 0x0A ? 1 : 4, .id = inode};
        for (size_t i = 0; i < strlen(address) / 8; i++) {
            char word[9] = {0};
            uint32_t value;

            memcpy(word, address + 8 * i, 8);
            value = (uint32_t) strtoul(word, NULL, 16);
            /* in4in6_addr: four bytes of IPv4 stand at the end. */
            memcpy(ret->address + (strlen(address) == 8 ? 12 : 4 * i), &value, 4);
        }
        ret->flags = strlen(address) == 8 ? 1 : 3;
    }
    if (file)
        fclose(file);
    return found;
}

int
xnu_proc_pidfdinfo(int pid, int fd, int flavor, void *buffer, int size)
{
    struct made_up socket = {0};
    struct process process;
    char name[16];
    uint64_t inode;

    xnu_hook("proc_pidfdinfo", pid);
    if (flavor != 3 || size < 792)
        return xnu_fail(X_EINVAL) + 1;
    if (xnu_process(pid, &process))
        return xnu_fail(X_ESRCH) + 1;
    if (xnu_caller() && process.effective_uid != xnu_caller())
        return xnu_fail(X_EPERM) + 1;
    for (int i = 0; i < made_up_count; i++) {
        if (made_up[i].pid == pid && made_up[i].fd == fd) {
            put_socket(buffer, &made_up[i]);
            return 792;
        }
    }
    snprintf(name, sizeof(name), "%d", fd);
    inode = socket_inode(pid, name);
    if (!inode)
        return xnu_fail(X_EBADF) + 1;
    if (!look_up("/proc/self/net/tcp", inode, &socket) &&
        !look_up("/proc/self/net/tcp6", inode, &socket)) {
        memset(buffer, 0, 792);
        return 792;
    }
    put_socket(buffer, &socket);
    return 792;
}
