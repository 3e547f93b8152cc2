/* SPDX-License-Identifier: MIT
 * The names in a key's directory, and the one line that a lock file holds. */
#ifndef PP_LOCKFILE_H
#define PP_LOCKFILE_H

#include "pp.h"

#define LOCK_NAME "lock"
#define TURN_NAME "turn"
#define LOCK_LINE_SIZE 512

#pragma GCC visibility push(hidden)

/* Parse the line of a lock file.
 *   -EINVAL           half-written, or not ours
 *   -EPROTONOSUPPORT  a whole line of a later version */
int lockfile_parse(const char *text, size_t size, struct pp_holder *ret_holder);

/* Open what stands at the lock's path, without following or blocking.
 *   -ENOENT  no lock
 *   -ELOOP, -EISDIR, -ENXIO, -EACCES, -EPERM, -EMFILE, -ENFILE, -ENOMEM */
int lockfile_open(int directory_fd);

#pragma GCC visibility pop

#endif
