/* SPDX-License-Identifier: MIT
 * A process that leaves: after a byte of input and a nap, in which the one that waits for it falls
 * asleep, it prints the nanoseconds of CLOCK_MONOTONIC and exits. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int
main(void)
{
    struct timespec nap = {0, 3000000}, t;
    char byte, line[32];
    int length;

    if (read(0, &byte, 1) != 1)
        return 1;
    nanosleep(&nap, NULL);
    clock_gettime(CLOCK_MONOTONIC, &t);
    length = snprintf(line, sizeof(line), "%lld\n", t.tv_sec * 1000000000LL + t.tv_nsec);
    _exit(write(1, line, (size_t) length) != length);
}
