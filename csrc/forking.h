/* SPDX-License-Identifier: MIT
 * What the gate needs of the system around a fork. */
#ifndef PP_FORKING_H
#define PP_FORKING_H

#include "pp.h"

#pragma GCC visibility push(hidden)

/* fork(); in the parent *ret_pid_fd becomes readable when the child has exited, and on Linux pins it
 * from its first instruction; or it is -1.  No signal handler of this process has run in the child,
 * and where there are pidfds no atfork handler.
 *   -EAGAIN, -ENOMEM, -EMFILE, -ENFILE
 *   -EPERM, -ENOSYS  a filter forbids clone with a pidfd */
int forking_fork(const struct pp_host *host, int32_t *ret_pid_fd);

/* A descriptor that becomes readable when this process exits, or -1 where the kernel has none.
 *   -EMFILE, -ENFILE, -ENOMEM */
int forking_pin_self(const struct pp_host *host, int *ret_fd);

/* In the child: make *fd readable at the death of its parent, where forking_pin_self could not; it
 * stays as it is where that takes nothing more.  Async-signal-safe.
 *   -ESRCH  the parent is dead */
int forking_watch_parent(pid_t parent, int *fd);

/* Has a child of this process ended?  1 or 0; it is not collected.
 *   -ECHILD  another has collected it, or SIGCHLD is ignored */
int forking_has_ended(pid_t pid);

/* Collect a child of this process, if it has ended: 1, and *ret_status is its exit status or minus
 * the number of the signal; 0: it has not.  pid_fd may be -1.
 *   -ECHILD  another has collected it, or SIGCHLD is ignored */
int forking_reap(pid_t pid, int pid_fd, int *ret_status);

/* The same by number, which a child that is not reaped keeps.
 *   as forking_reap */
int forking_reap_by_number(pid_t pid, int *ret_status);

/* Close every descriptor from `first` on but two (-1: none); async-signal-safe.
 *   -EPERM, -ENOSYS  a filter denies all that could tell which there are */
int forking_close_all(int first, int keep, int keep_too);

#pragma GCC visibility pop

#endif
