/* SPDX-License-Identifier: MIT
 * Whose socket listens on a port: the descriptors of every process that we may look into are asked
 * for their sockets.  Sockets of other users are not seen, unless we are root. */
#include "pp.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "facts_darwin.h"
#include "pids_darwin.h"
#include "util.h"

_Static_assert(sizeof(struct proc_fdinfo) == 8, "proc_fdinfo");
_Static_assert(sizeof(struct socket_fdinfo) == 792, "socket_fdinfo");
_Static_assert(offsetof(struct socket_fdinfo, psi.soi_kind) == 256, "soi_kind");
_Static_assert(offsetof(struct socket_fdinfo, psi.soi_proto.pri_tcp.tcpsi_ini.insi_lport) ==
                   268,
               "insi_lport");
_Static_assert(offsetof(struct socket_fdinfo, psi.soi_proto.pri_tcp.tcpsi_ini.insi_gencnt) ==
                   272,
               "insi_gencnt");
_Static_assert(offsetof(struct socket_fdinfo, psi.soi_proto.pri_tcp.tcpsi_state) == 344,
               "tcpsi_state");

/* Which of several sockets on one port a connection to 127.0.0.1 reaches: the closest match. */
enum match { NONE = 0, DUAL = 1, ANY = 2, LOOPBACK = 3 };

static enum match
match_address(const struct in_sockinfo *info)
{
    const struct in6_addr *address = &info->insi_laddr.ina_6;
    uint32_t v4 = info->insi_laddr.ina_46.i46a_addr4.s_addr;

    if (info->insi_vflag & INI_IPV6) {
        if (IN6_IS_ADDR_V4MAPPED(address)) {
            memcpy(&v4, &address->s6_addr[12], sizeof(v4));
        } else {
            /* Without INI_IPV4 it is bound to IPv6 only (IPV6_V6ONLY). */
            return IN6_IS_ADDR_UNSPECIFIED(address) && (info->insi_vflag & INI_IPV4) ? DUAL
                                                                                     : NONE;
        }
    }
    return v4 == htonl(INADDR_LOOPBACK) ? LOOPBACK : v4 == htonl(INADDR_ANY) ? ANY : NONE;
}

/* Does that descriptor listen on the port?  *ret_id is a number that no other socket of this boot
 * has or will have; *ret_is_shared: others may be bound to the very same address. */
static enum match
match_socket(int32_t pid, int32_t fd, int32_t port, uint64_t *ret_id, int *ret_is_shared)
{
    struct socket_fdinfo info;
    const struct tcp_sockinfo *tcp = &info.psi.soi_proto.pri_tcp;

    if (proc_pidfdinfo(pid, fd, PROC_PIDFDSOCKETINFO, &info, sizeof(info)) !=
            (int) sizeof(info) ||
        info.psi.soi_kind != SOCKINFO_TCP || tcp->tcpsi_state != TSI_S_LISTEN ||
        ntohs((uint16_t) tcp->tcpsi_ini.insi_lport) != port)
        return NONE;
    *ret_id = tcp->tcpsi_ini.insi_gencnt;
    *ret_is_shared = (info.psi.soi_options & SO_REUSEPORT) != 0;
    return match_address(&tcp->tcpsi_ini);
}

/* The best match among the descriptors of a process.  One that is gone, or not ours to look into,
 * has none.
 *   -ENOMEM */
static int
match_process(int32_t pid, int32_t port, struct pp_listener *ret_listener)
{
    CLEANUP_FREE struct proc_fdinfo *open = NULL;
    size_t capacity = 256;
    int size, best = NONE;

    for (;; capacity *= 4) {
        struct proc_fdinfo *larger = realloc(open, capacity * sizeof(*open));

        if (!larger)
            return -ENOMEM;
        open = larger;
        errno = 0;
        size = proc_pidinfo(pid, PROC_PIDLISTFDS, 0, open, (int) (capacity * sizeof(*open)));
        if (size <= 0)
            return errno == ENOMEM ? -ENOMEM : NONE;
        /* A list that fills the buffer may have been cut. */
        if ((size_t) size < capacity * sizeof(*open) || capacity >= (1U << 20))
            break;
    }
    for (size_t i = 0; i < (size_t) size / sizeof(*open); i++) {
        uint64_t id = 0;
        enum match match;
        int is_shared;

        if (open[i].proc_fdtype != PROX_FDTYPE_SOCKET)
            continue;
        match = match_socket(pid, open[i].proc_fd, port, &id, &is_shared);
        if ((int) match > best) {
            best = (int) match;
            *ret_listener =
                (struct pp_listener){.pid = pid, .fd = open[i].proc_fd, .inode = id};
        }
    }
    return best;
}

/* The best match among all processes, and among equals one of the session; the number of sockets
 * with that match, no more than two. */
static int
match_all(int32_t port, int32_t session_id, int *ret_in_session, int *ret_sockets,
          struct pp_listener *ret_listener)
{
    CLEANUP_FREE int32_t *pids = NULL;
    uint32_t uid = geteuid();
    size_t count;
    int r, best = NONE;

    r = pids_list(uid ? uid : UINT32_MAX, &pids, &count);
    if (r < 0)
        return r;
    *ret_in_session = *ret_sockets = 0;
    for (size_t i = 0; i < count; i++) {
        struct pp_listener found;
        int in_session;

        if (pids[i] <= 0)
            continue;
        r = match_process(pids[i], port, &found);
        if (r < 0)
            return r;
        if (r == NONE || r < best)
            continue;
        in_session = session_id > 0 && getsid(pids[i]) == session_id;
        if (r > best)
            *ret_sockets = 1;
        else if (found.inode != ret_listener->inode)
            *ret_sockets = 2;
        if (r == best && in_session <= *ret_in_session)
            continue;
        best = r;
        *ret_in_session = in_session;
        *ret_listener = found;
    }
    return best;
}

int
pp_listener_find(const struct pp_host *host, int32_t port, int32_t session_id,
                 struct pp_listener *ret_listener)
{
    struct pp_listener found = {.fd = -1};
    struct facts facts;
    int r, in_session, sockets;

    r = match_all(port, session_id, &in_session, &sockets, &found);
    if (r <= NONE)
        return r;
    found.uid = facts_read(host, found.pid, &facts) == 0 ? facts.effective_uid : UINT32_MAX;
    *ret_listener = found;
    return in_session ? 1 : 2;
}

int
pp_listener_check(const struct pp_host *host, int32_t port, int32_t pid, int32_t fd,
                  uint64_t inode)
{
    struct pp_listener best = {.fd = -1};
    uint64_t id = 0;
    int r, in_session, sockets, is_shared = 0;

    (void) host;
    if (pid <= 0 || fd < 0 || !inode)
        return 0;
    r = (int) match_socket(pid, fd, port, &id, &is_shared);
    if (r == NONE || id != inode)
        return 0;
    if (r == LOOPBACK && !is_shared)
        return 1;
    /* Another socket may have been bound closer since, or beside it with SO_REUSEPORT. */
    r = match_all(port, 0, &in_session, &sockets, &best);
    if (r < 0)
        return r;
    return best.inode == inode && sockets == 1;
}
