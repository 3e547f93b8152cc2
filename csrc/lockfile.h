/* SPDX-License-Identifier: MIT
 * The names in a key's directory, how they are opened, and the one line that a lock file holds. */
#ifndef PP_LOCKFILE_H
#define PP_LOCKFILE_H

#include "pp.h"

#include <sys/stat.h>

#define LOCK_NAME "lock"
#define TURN_NAME "turn"
#define LOCK_LINE_SIZE 512

#pragma GCC visibility push(hidden)

/* Parse the line of a lock file.
 *   -EINVAL           half-written, or not ours
 *   -EPROTONOSUPPORT  a whole line of a later version */
int lockfile_parse(const char *text, size_t size, struct pp_holder *ret_holder);

/* Read what `fd` holds into `text`; more than a line of ours can have is cut off.
 *   -EIO, -EISDIR, -ENOMEM */
int lockfile_read(int fd, char text[LOCK_LINE_SIZE], size_t *ret_size);

/* Write the line of a holder into an empty file.
 *   -ENOBUFS  longer than a line may be
 *   -ENOSPC, -EDQUOT, -EIO, -ENOMEM */
int lockfile_write(int fd, const struct pp_holder *holder);

/* Is this a purpose that may stand in the line?  1 or 0. */
int lockfile_is_purpose(const char *text, size_t size);

/* Is it a plain file of this user with one name, or none any more?  1 or 0. */
int is_own(const struct stat *st);

/* Open a file of ours in a key's directory for reading and writing, without following or blocking.
 * `flags` may hold O_CREAT.
 *   -ENOENT  it is not there
 *   -EPERM   it is no plain file with one name, or another user's
 *   -ELOOP, -EISDIR, -ENXIO, -EACCES, -EROFS, -ENOSPC, -EDQUOT, -EIO, -EMFILE, -ENFILE, -ENOMEM */
int open_own(int directory_fd, const char *name, int flags);

#pragma GCC visibility pop

#endif
