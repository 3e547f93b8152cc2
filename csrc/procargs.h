/* SPDX-License-Identifier: MIT
 * What sysctl KERN_PROCARGS2 of macOS answers, taken apart.  No header of that system is needed for
 * it, so that it can be tested anywhere. */
#ifndef PP_PROCARGS_H
#define PP_PROCARGS_H

#include <stddef.h>
#include <stdint.h>

/* Pointers into the area. */
struct procargs {
    const char *argv; /* `argc` strings, each with its NUL */
    size_t argv_size;
    const char *environment; /* strings with their NULs, and perhaps empty ones behind them */
    size_t environment_size;
    int is_environment_shown; /* 0: the kernel keeps it back */
};

#pragma GCC visibility push(hidden)

/* int argc | path NUL | NULs up to 8 bytes | argv | environment | NULs up to 8 | strings of the
 * kernel's own.  (bsd/kern/kern_exec.c, exec_extract_strings and exec_add_apple_strings)
 *   -EPROTO  does not parse, or the process has written over it */
int procargs_parse(const char *area, size_t size, struct procargs *ret_procargs);

#pragma GCC visibility pop

#endif
