/* SPDX-License-Identifier: MIT
 * What the portable files need of the system, and each system calls by another name. */
#ifndef PP_SYSTEM_H
#define PP_SYSTEM_H

#include "pp.h"

#pragma GCC visibility push(hidden)

/* Nanoseconds of a clock that stands still while the machine sleeps: the one that Python's
 * time.monotonic() reads. */
int64_t clock_now(void);

/* Fill a small buffer with random bytes.
 *   -EIO  the kernel has none */
int system_random(void *buffer, size_t size);

/* A pair of connected stream sockets, closed on exec, on which system_send raises no signal.
 *   -EMFILE, -ENFILE, -ENOMEM, -ENOBUFS */
int system_socket_pair(int ret_pair[2]);

/* Send without SIGPIPE; the number of bytes sent.  Async-signal-safe.
 *   -EPIPE, -ECONNRESET  the other end is closed
 *   -EBADF, -EINTR, -EAGAIN, -ENOMEM, -ENOBUFS */
int system_send(int fd, const void *data, size_t size);

#pragma GCC visibility pop

#endif
