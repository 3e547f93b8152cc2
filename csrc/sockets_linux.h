/* SPDX-License-Identifier: MIT
 * Which sockets listen on a TCP port, whoever holds them. */
#ifndef PP_SOCKETS_LINUX_H
#define PP_SOCKETS_LINUX_H

#include "pp.h"

#pragma GCC visibility push(hidden)

#define SOCKETS_MAX 256 /* of one port: one for each family, more only with SO_REUSEPORT */

struct sockets {
    uint64_t inodes[SOCKETS_MAX];
    uint32_t uid; /* owner of the last one */
    size_t count;
};

/* The sockets that a connection to 127.0.0.1:port would reach; *ret_sockets is all zero before.
 *   -ENOBUFS  more than SOCKETS_MAX
 *   -ENOENT   neither the kernel nor /proc tells
 *   -EACCES, -EPERM, -EIO, -EMFILE, -ENFILE, -ENOMEM */
int sockets_on_port(int32_t port, struct sockets *ret_sockets);

#pragma GCC visibility pop

#endif
