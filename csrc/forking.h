/* SPDX-License-Identifier: MIT
 * What the gate needs of the system around a fork. */
#ifndef PP_FORKING_H
#define PP_FORKING_H

#include "pp.h"

#pragma GCC visibility push(hidden)

/* fork(); in the parent *ret_pid_fd pins the child from its first instruction, or is -1.  In the
 * child neither atfork handlers nor signal handlers of this process have run.
 *   -EAGAIN, -ENOMEM, -EMFILE, -ENFILE
 *   -EPERM, -ENOSYS  a filter forbids clone with a pidfd */
int forking_fork(const struct pp_host *host, int32_t *ret_pid_fd);

/* A descriptor that becomes readable when this process exits, or -1 where the kernel has none.
 *   -EMFILE, -ENFILE, -ENOMEM */
int forking_pin_self(const struct pp_host *host, int *ret_fd);

/* Close every descriptor from `first` on but two (-1: none); async-signal-safe.
 *   -EPERM, -ENOSYS  a filter denies close_range, the listing in /proc and getrlimit(2) alike */
int forking_close_all(int first, int keep, int keep_too);

#pragma GCC visibility pop

#endif
