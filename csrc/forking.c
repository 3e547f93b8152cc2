/* SPDX-License-Identifier: MIT
 * Children by number, which while they are not reaped is theirs. */
#include "forking.h"

#include <sys/wait.h>

#include "util.h"

int
forking_has_ended(pid_t pid)
{
    siginfo_t info = {0};
    int r;

    do
        r = nerrno(waitid(P_PID, (id_t) pid, &info, WEXITED | WNOHANG | WNOWAIT));
    while (r == -EINTR);
    return r < 0 ? r : info.si_pid != 0;
}

int
forking_reap_by_number(pid_t pid, int *ret_status)
{
    int status, r;

    do
        r = nerrno(waitpid(pid, &status, WNOHANG));
    while (r == -EINTR);
    if (r <= 0)
        return r;
    *ret_status = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    return 1;
}
