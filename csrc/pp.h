/* SPDX-License-Identifier: MIT
 * What every C file of ours includes: the boundary, and nothing exported from the module. */
#ifndef PP_H
#define PP_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#pragma GCC visibility push(hidden)
#include "pp_decls.h"
#pragma GCC visibility pop

#endif
