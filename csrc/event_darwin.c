/* SPDX-License-Identifier: MIT
 * A pipe: there is no eventfd. */
#include "event.h"

#include <fcntl.h>

#include "util.h"

int
event_open(int32_t *ret_read, int32_t *ret_write)
{
    CLEANUP_CLOSE int first = -EBADF, second = -EBADF;
    int ends[2];

    if (pipe(ends) < 0)
        return -errno;
    first = ends[0];
    second = ends[1];
    /* A fork and exec of another thread in between inherits them, which keeps nobody waiting: the
     * end that is written is never waited on for its closing. */
    for (int i = 0; i < 2; i++)
        if (fcntl(ends[i], F_SETFD, FD_CLOEXEC) < 0 || fcntl(ends[i], F_SETFL, O_NONBLOCK) < 0)
            return -errno;
    *ret_read = take_fd(&first);
    *ret_write = take_fd(&second);
    return 0;
}

void
event_notify(int fd)
{
    /* Full only if it is readable already. */
    if (write(fd, "", 1) < 0)
        return;
}
