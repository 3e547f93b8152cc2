/* SPDX-License-Identifier: MIT
 * The strings that a process was started with, in a buffer that is wiped: they hold its
 * environment, and that holds secrets. */
#ifndef PP_ARGUMENTS_DARWIN_H
#define PP_ARGUMENTS_DARWIN_H

#include "pp.h"

#include "procargs.h"

struct arguments {
    char *area; /* ARG_MAX bytes; NULL: none yet */
    size_t used;
    struct procargs parsed;
};

#pragma GCC visibility push(hidden)

/* Read those of whatever process has the pid; reuses the buffer.
 *   -EINVAL  no process has it, or it exits, or it is another user's: the kernel tells no more
 *   -EIO     its memory is not to be had, as in the middle of an exec
 *   -E2BIG   more than the kernel tells in one answer
 *   -EPROTO  does not parse
 *   -ENOMEM, -EPERM, -EFAULT */
int arguments_read(int32_t pid, struct arguments *arguments);

/* Wipe what was read last. */
void arguments_wipe(struct arguments *arguments);

/* Wipe and free. */
void arguments_free(struct arguments *arguments);

#pragma GCC visibility pop

#define CLEANUP_ARGUMENTS __attribute__((cleanup(arguments_free)))

#endif
