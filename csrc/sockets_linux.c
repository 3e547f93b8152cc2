/* SPDX-License-Identifier: MIT
 * Asked of the kernel by sock_diag(7), which looks at listening sockets alone; where that is not to
 * be had (no inet_diag, a sandbox without netlink) read from /proc/net/tcp (proc_net(5)), which
 * prints every connection of the machine. */
#include "sockets_linux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

/* local address, port, state, uid, inode */
#define TABLE_LINE                                                                            \
    " %*u: %32[0-9A-F]:%4x %*[0-9A-F]:%*x %2x %*x:%*x %*x:%*x %*x %u %*u %" SCNu64
#define LISTENING 10 /* TCP_LISTEN of include/net/tcp_states.h */

static int
add(struct sockets *sockets, uint64_t inode, uint32_t uid)
{
    if (sockets->count == SOCKETS_MAX)
        return -ENOBUFS;
    sockets->uid = uid;
    sockets->inodes[sockets->count++] = inode;
    return 0;
}

/* ----------------------------------------------------------------------------------- sock_diag */

/* Would a connection to 127.0.0.1 reach a socket bound to this address, of network order? */
static int
is_loopback(uint8_t family, const uint32_t address[4])
{
    const uint32_t *last = family == AF_INET ? address : address + 3;

    if (family == AF_INET6 && (address[0] || address[1]))
        return 0;
    if (family == AF_INET6 && address[2] != htonl(0xFFFF)) /* not an IPv4 address mapped */
        return address[2] == 0 && *last == 0;
    return *last == 0 || *last == htonl(0x7F000001);
}

static int
ask(int fd, uint8_t family, int32_t port)
{
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 body;
    } request = {
        .header = {.nlmsg_len = sizeof(request),
                   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .body = {.sdiag_family = family,
                 .sdiag_protocol = IPPROTO_TCP,
                 .idiag_states = 1U << LISTENING,
                 .id = {.idiag_sport = htons((uint16_t) port)}},
    };

    return send(fd, &request, sizeof(request), 0) < 0 ? -errno : 0;
}

/* Take the sockets out of one answer.  1: it was the last one. */
static int
take(const struct nlmsghdr *message, ssize_t length, int32_t port, struct sockets *sockets)
{
    for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
        const struct inet_diag_msg *found = NLMSG_DATA(message);
        const struct nlmsgerr *error = NLMSG_DATA(message);
        int r;

        if (message->nlmsg_type == NLMSG_DONE)
            return 1;
        if (message->nlmsg_type == NLMSG_ERROR)
            return message->nlmsg_len >= NLMSG_LENGTH(sizeof(*error)) && error->error < 0
                       ? error->error
                       : -EPROTO;
        if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
            message->nlmsg_len < NLMSG_LENGTH(sizeof(*found)))
            return -EPROTO;
        if (found->idiag_state != LISTENING ||
            found->id.idiag_sport != htons((uint16_t) port) || !found->idiag_inode ||
            !is_loopback(found->idiag_family, found->id.idiag_src))
            continue;
        r = add(sockets, found->idiag_inode, found->idiag_uid);
        if (r < 0)
            return r;
    }
    return 0;
}

static int
diagnose(int fd, uint8_t family, int32_t port, struct sockets *sockets)
{
    union {
        struct nlmsghdr align;
        char bytes[8192];
    } buffer;
    int r = ask(fd, family, port);

    while (r == 0) {
        /* The kernel answers within send and recv: there is nothing to wait for. */
        ssize_t length =
            recv(fd, buffer.bytes, sizeof(buffer.bytes), MSG_TRUNC | MSG_DONTWAIT);

        if (length < 0)
            return -errno;
        if (length == 0 || (size_t) length > sizeof(buffer.bytes))
            return -EPROTO;
        r = take(&buffer.align, length, port, sockets);
    }
    return r < 0 ? r : 0;
}

/* -------------------------------------------------------------------------------- /proc/net/tcp */

static void
close_file(FILE **file)
{
    if (*file)
        (void) fclose(*file);
}

#define CLEANUP_FILE __attribute__((cleanup(close_file)))

/* The same of an address as /proc prints it: each 32-bit word in host order. */
static int
is_loopback_text(const char *text)
{
    uint32_t address[4] = {0};
    size_t length = strlen(text), words = length / 8;

    if (length != 8 && length != 32)
        return 0;
    for (size_t i = 0; i < words; i++)
        if (sscanf(text + i * 8, "%8" SCNx32, &address[i]) != 1)
            return 0;
    return is_loopback(words == 1 ? AF_INET : AF_INET6, address);
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
read_table(const char *path, int32_t port, struct sockets *sockets)
{
    CLEANUP_FILE FILE *file = fopen(path, "re");
    char line[512], buffer[16384]; /* stdio's own would take a call for every six sockets */

    if (!file)
        return -errno;
    (void) setvbuf(file, buffer, _IOFBF, sizeof(buffer));
    while (fgets(line, sizeof(line), file)) {
        struct table_line found;
        int r;

        if (!parse_line(line, &found) || found.state != LISTENING ||
            found.port != (unsigned) port || !found.inode || !is_loopback_text(found.address))
            continue;
        r = add(sockets, found.inode, found.uid);
        if (r < 0)
            return r;
    }
    return ferror(file) ? -EIO : 0;
}

/* Beside a socket of IPv4, one of IPv6 takes no connection to 127.0.0.1: both can be bound only
 * with IPV6_V6ONLY, and with SO_REUSEPORT the kernel prefers the former. */

static int
by_diag(int32_t port, struct sockets *sockets)
{
    CLEANUP_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    int r;

    if (fd < 0)
        return -errno;
    r = diagnose(fd, AF_INET, port, sockets);
    if (r == 0 && !sockets->count)
        r = diagnose(fd, AF_INET6, port, sockets);
    return r;
}

static int
by_proc(int32_t port, struct sockets *sockets)
{
    int r = read_table("/proc/self/net/tcp", port, sockets);

    if (r == 0 && !sockets->count) {
        r = read_table("/proc/self/net/tcp6", port, sockets);
        if (r == -ENOENT)
            r = 0; /* a kernel without IPv6 */
    }
    return r;
}

int
sockets_on_port(int32_t port, struct sockets *ret_sockets)
{
    struct sockets sockets = {0};
    int r = by_diag(port, &sockets);

    if (r < 0 && r != -ENOBUFS) {
        sockets.count = 0;
        r = by_proc(port, &sockets);
    }
    if (r == 0)
        *ret_sockets = sockets;
    return r;
}
