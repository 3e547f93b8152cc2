/* SPDX-License-Identifier: MIT */
#include "event.h"

#include <sys/eventfd.h>

#include "util.h"

int
event_open(int32_t *ret_read, int32_t *ret_write)
{
    int fd = nerrno(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));

    if (fd < 0)
        return fd;
    *ret_read = *ret_write = fd;
    return 0;
}

void
event_notify(int fd)
{
    uint64_t one = 1;

    /* Full only if it is readable already. */
    if (write(fd, &one, sizeof(one)) < 0)
        return;
}
