/* SPDX-License-Identifier: MIT */
#include "system.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "procfs_linux.h"
#include "util.h"

int64_t
clock_now(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

void
pp_clock_suspended(int64_t *ret_duration)
{
    int64_t awake = clock_now();

    *ret_duration = clock_read(CLOCK_BOOTTIME) - awake;
}

int
system_random(void *buffer, size_t size)
{
    /* A few bytes never come short, and never block once the kernel's pool is ready.  The C
     * library has a name for it since glibc 2.25 only. */
    return syscall(SYS_getrandom, buffer, size, 0) == (long) size ? 0 : -EIO;
}

int
system_socket_pair(int ret_pair[2])
{
    return nerrno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_pair));
}

int
system_send(int fd, const void *data, size_t size)
{
    return nerrno((int) send(fd, data, size, MSG_NOSIGNAL));
}

int
pp_socket_peer(int32_t fd, int32_t *ret_pid, uint32_t *ret_uid)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return -errno;
    *ret_pid = peer.pid;
    *ret_uid = peer.uid;
    return 0;
}

void
pp_unix_path_limit(int32_t *ret_bytes)
{
    *ret_bytes = sizeof(((struct sockaddr_un *) NULL)->sun_path) - 1;
}

int
pp_state_home(char *ret_path, size_t size)
{
    static const char path[] = ".local/state";

    if (size < sizeof(path))
        return -ENOBUFS;
    memcpy(ret_path, path, sizeof(path));
    return 0;
}

/* Is that the answer of a file that is not there for us, and will not be the next time? */
static int
is_absent(int r)
{
    return r == -ENOENT || r == -ENOTDIR || r == -EACCES || r == -EPERM || r == -ELOOP ||
           r == -EISDIR || r == -ENOBUFS;
}

int
pp_machine_id(char *ret_id, size_t size)
{
    static const char *const paths[] = {"/etc/machine-id", "/var/lib/dbus/machine-id"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
        char text[PP_MACHINE_ID_SIZE];
        size_t length = 0;
        int r = procfs_read(paths[i], text, sizeof(text) - 1, &length);

        if (is_absent(r))
            continue;
        if (r < 0)
            return r;
        while (length && (text[length - 1] == '\n' || text[length - 1] == ' '))
            length--;
        text[length] = '\0';
        if (!length || strcmp(text, "uninitialized") == 0)
            continue;
        if (length >= size)
            return -ENOBUFS;
        memcpy(ret_id, text, length + 1);
        return 0;
    }
    return -ENOENT;
}
