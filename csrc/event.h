/* SPDX-License-Identifier: MIT
 * A descriptor that one thread makes readable for another. */
#ifndef PP_EVENT_H
#define PP_EVENT_H

#include "pp.h"

#pragma GCC visibility push(hidden)

/* *ret_read and *ret_write may be the same descriptor.
 *   -EMFILE, -ENFILE, -ENOMEM, -ENODEV */
int event_open(int32_t *ret_read, int32_t *ret_write);

/* Make it readable; async-signal-safe. */
void event_notify(int fd);

#pragma GCC visibility pop

#endif
