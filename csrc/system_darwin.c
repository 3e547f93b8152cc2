/* SPDX-License-Identifier: MIT */
#include "system.h"

#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <uuid/uuid.h>

#include "util.h"

_Static_assert(sizeof(pid_t) == sizeof(int32_t), "the boundary carries a pid as int32_t");
_Static_assert(PP_MACHINE_ID_SIZE > 2 * sizeof(uuid_t), "a machine is named by a uuid");

int64_t
clock_now(void)
{
    return (int64_t) clock_gettime_nsec_np(CLOCK_UPTIME_RAW);
}

void
pp_clock_suspended(int64_t *ret_duration)
{
    int64_t awake = clock_now();

    *ret_duration = (int64_t) clock_gettime_nsec_np(CLOCK_MONOTONIC_RAW) - awake;
}

int
system_random(void *buffer, size_t size)
{
    return getentropy(buffer, size) < 0 ? -EIO : 0;
}

int
system_socket_pair(int ret_pair[2])
{
    CLEANUP_CLOSE int first = -EBADF, second = -EBADF;
    int pair[2], on = 1;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return -errno;
    first = pair[0];
    second = pair[1];
    for (int i = 0; i < 2; i++)
        if (fcntl(pair[i], F_SETFD, FD_CLOEXEC) < 0 ||
            setsockopt(pair[i], SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on)) < 0)
            return -errno;
    ret_pair[0] = take_fd(&first);
    ret_pair[1] = take_fd(&second);
    return 0;
}

int
system_send(int fd, const void *data, size_t size)
{
    return nerrno((int) send(fd, data, size, 0));
}

int
pp_socket_peer(int32_t fd, int32_t *ret_pid, uint32_t *ret_uid)
{
    pid_t pid = 0;
    socklen_t size = sizeof(pid);
    uid_t uid;
    gid_t gid;

    if (getsockopt(fd, SOL_LOCAL, LOCAL_PEERPID, &pid, &size) < 0 ||
        getpeereid(fd, &uid, &gid) < 0)
        return -errno;
    *ret_pid = pid;
    *ret_uid = uid;
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
    static const char path[] = "Library/Application Support";

    if (size < sizeof(path))
        return -ENOBUFS;
    memcpy(ret_path, path, sizeof(path));
    return 0;
}

int
pp_machine_id(char *ret_id, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    struct timespec limit = {.tv_sec = 1};
    uuid_t uuid;

    if (size < 2 * sizeof(uuid) + 1)
        return -ENOBUFS;
    if (gethostuuid(uuid, &limit) < 0)
        return -errno;
    for (size_t i = 0; i < sizeof(uuid); i++) {
        ret_id[2 * i] = digits[uuid[i] >> 4];
        ret_id[2 * i + 1] = digits[uuid[i] & 15];
    }
    ret_id[2 * sizeof(uuid)] = '\0';
    return 0;
}
