/* SPDX-License-Identifier: MIT
 * Many processes that begin one command at the same moment.
 *   burst REPORT COUNT COMMAND...
 * Each is forked and waits at a door; when all stand there it opens.  Writes a line for each to
 * REPORT as it ends: wait status, microseconds since the door opened, microseconds of processor
 * time, KiB of peak memory.  All of that is the kernel's own account (wait4(2)). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static long long
us(struct timeval t)
{
    return t.tv_sec * 1000000LL + t.tv_usec;
}

int
main(int argc, char **argv)
{
    int count = argc > 3 ? atoi(argv[2]) : 0, door[2], ready[2], status;
    struct rusage usage;
    long long opened;
    FILE *report;
    char byte;

    if (count <= 0 || pipe2(door, O_CLOEXEC) || pipe2(ready, O_CLOEXEC))
        return fprintf(stderr, "usage: burst REPORT COUNT COMMAND...\n"), 2;
    report = fopen(argv[1], "we");
    if (!report)
        return perror(argv[1]), 1;
    for (int i = 0; i < count; i++) {
        pid_t child = fork();

        if (child < 0)
            return perror("fork"), 1; /* the others read the end of the door and exit */
        if (child == 0) {
            close(door[1]);
            if (write(ready[1], "r", 1) != 1 || read(door[0], &byte, 1) != 1)
                _exit(1);
            execvp(argv[3], argv + 3);
            _exit(127);
        }
    }
    for (int i = 0; i < count; i++)
        if (read(ready[0], &byte, 1) != 1)
            return 1;
    opened = now();
    for (int i = 0; i < count; i++)
        if (write(door[1], "o", 1) != 1)
            return 1;
    while (wait4(-1, &status, 0, &usage) > 0)
        fprintf(report, "%d %lld %lld %ld\n", status, now() - opened,
                us(usage.ru_utime) + us(usage.ru_stime), usage.ru_maxrss);
    return fclose(report) ? 1 : 0;
}
