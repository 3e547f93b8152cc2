/* SPDX-License-Identifier: MIT
 * libSystem: files and sockets, with the numbers and structs of macOS. */
#define _GNU_SOURCE
#include "xnu.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Declared by use: nobody but the sources for macOS calls these. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC visibility push(hidden)

/* ------------------------------------------------------------------------------------ files */

static int
open_flags(int theirs)
{
    static const int pairs[][2] = {
        {0x200, O_CREAT},          {0x800, O_EXCL},        {0x1000000, O_CLOEXEC},
        {0x100, O_NOFOLLOW},       {0x4, O_NONBLOCK},      {0x100000, O_DIRECTORY},
        {0x20000, O_NOCTTY}};
    int ours = theirs & 3;

    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        if (theirs & pairs[i][0])
            ours |= pairs[i][1];
        theirs &= ~pairs[i][0];
    }
    if (theirs & ~3)
        abort(); /* a flag that is not known here */
    return ours;
}

int
xnu_open(const char *path, int flags, ...)
{
    return xnu_wrap(open(path, open_flags(flags), 0600));
}

int
xnu_openat(int fd, const char *path, int flags, ...)
{
    return xnu_wrap(openat(fd, path, open_flags(flags), 0600));
}

static int no_sigpipe[65536];

int
xnu_close(int fd)
{
    if (xnu_is_queue(fd))
        xnu_queue_closed(fd);
    if (fd >= 0 && fd < 65536)
        no_sigpipe[fd] = 0;
    return xnu_wrap(close(fd));
}

long
xnu_write(int fd, const void *data, size_t size)
{
    return xnu_wrap(write(fd, data, size));
}

long
xnu_pread(int fd, void *data, size_t size, int64_t offset)
{
    return xnu_wrap(pread(fd, data, size, offset));
}

int
xnu_pipe(int ends[2])
{
    return xnu_wrap(pipe(ends));
}

int
xnu_fcntl(int fd, int command, ...)
{
    va_list rest;
    long argument;

    va_start(rest, command);
    argument = va_arg(rest, long);
    va_end(rest);
    switch (command) {
    case 2: /* F_SETFD */
        return xnu_wrap(fcntl(fd, F_SETFD, (int) argument));
    case 4: /* F_SETFL */
        return xnu_wrap(fcntl(fd, F_SETFL, argument & 4 ? O_NONBLOCK : 0));
    case 67: { /* F_DUPFD_CLOEXEC */
        int moved = xnu_wrap(fcntl(fd, F_DUPFD_CLOEXEC, (int) argument));

        if (moved >= 0 && moved < 65536 && fd < 65536)
            no_sigpipe[moved] = no_sigpipe[fd]; /* it belongs to the socket */
        return moved;
    }
    default:
        abort();
    }
}

static int
put_stat(const struct stat *st, char *ret)
{
    memset(ret, 0xEE, 144);
    put32(ret, 0, (uint32_t) st->st_dev);
    put16(ret, 4, (uint16_t) st->st_mode);
    put16(ret, 6, (uint16_t) st->st_nlink);
    put64(ret, 8, st->st_ino);
    put32(ret, 16, st->st_uid);
    put32(ret, 20, st->st_gid);
    put64(ret, 96, (uint64_t) st->st_size);
    return 0;
}

int
xnu_fstat(int fd, char *ret)
{
    struct stat st;

    return fstat(fd, &st) < 0 ? xnu_wrap(-1) : put_stat(&st, ret);
}

int
xnu_fstatat(int fd, const char *path, char *ret, int flags)
{
    struct stat st;

    if (flags != 0x20) /* AT_SYMLINK_NOFOLLOW */
        abort();
    return fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 ? xnu_wrap(-1) : put_stat(&st, ret);
}

int
xnu_unlinkat(int fd, const char *path, int flags)
{
    return xnu_wrap(unlinkat(fd, path, flags));
}

int
xnu_flock(int fd, int operation)
{
    return xnu_wrap(flock(fd, operation));
}

int
xnu_dup2(int from, int to)
{
    return xnu_wrap(dup2(from, to));
}

int
xnu_chdir(const char *path)
{
    return xnu_wrap(chdir(path));
}

int
xnu_poll(struct pollfd *items, unsigned count, int timeout)
{
    return xnu_wrap(poll(items, count, timeout));
}

/* ---------------------------------------------------------------------------------- sockets */

int
xnu_socketpair(int domain, int type, int protocol, int pair[2])
{
    return xnu_wrap(socketpair(domain, type, protocol, pair));
}

int
xnu_setsockopt(int fd, int level, int option, const void *value, unsigned size)
{
    (void) value, (void) size;
    if (level != 0xffff || option != 0x1022) /* SOL_SOCKET, SO_NOSIGPIPE */
        abort();
    if (fd < 65536)
        no_sigpipe[fd] = 1;
    return 0;
}

int
xnu_getsockopt(int fd, int level, int option, void *value, unsigned *size)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);

    if (level != 0 || option != 2 || *size < 4) /* SOL_LOCAL, LOCAL_PEERPID */
        abort();
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return xnu_wrap(-1);
    put32(value, 0, (uint32_t) peer.pid);
    *size = 4;
    return 0;
}

int
xnu_getpeereid(int fd, uint32_t *uid, uint32_t *gid)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return xnu_wrap(-1);
    *uid = peer.uid;
    *gid = peer.gid;
    return 0;
}

long
xnu_send(int fd, const void *data, size_t size, int flags)
{
    if (flags)
        abort();
    /* Without SO_NOSIGPIPE it may raise the signal. */
    return xnu_wrap(send(fd, data, size, fd >= 0 && no_sigpipe[fd] ? MSG_NOSIGNAL : 0));
}

long
xnu_recv(int fd, void *data, size_t size, int flags)
{
    if (flags != 0x80) /* MSG_DONTWAIT */
        abort();
    return xnu_wrap(recv(fd, data, size, MSG_DONTWAIT));
}
