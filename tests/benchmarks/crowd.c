/* SPDX-License-Identifier: MIT
 * Many processes that do nothing, for a scan to look through.
 *   crowd COUNT ----------------
 * Each writes its number over the last argument, so that no two have the same argv.  Prints how many
 * there are once they sleep, and ends them all at the end of its input. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
    int count = argc == 3 ? atoi(argv[1]) : 0, started = 0;
    pid_t *children = calloc((size_t) count + 1, sizeof(*children));
    char byte;

    if (count <= 0 || !children)
        return fprintf(stderr, "usage: crowd COUNT ----------------\n"), 2;
    for (; started < count; started++) {
        children[started] = fork();
        if (children[started] < 0)
            break;
        if (children[started] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() == 1)
                _exit(1);
            snprintf(argv[2], strlen(argv[2]) + 1, "member-%09d", started);
            for (;;)
                pause();
        }
    }
    printf("%d\n", started);
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        continue;
    for (int i = 0; i < started; i++)
        kill(children[i], SIGKILL);
    while (wait(NULL) > 0)
        continue;
    return 0;
}
