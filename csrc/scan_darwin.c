/* SPDX-License-Identifier: MIT
 * One pass over all pids for the processes whose argv and environment hold given strings. */
#include "pp.h"

#include "arguments_darwin.h"
#include "entries.h"
#include "pids_darwin.h"

int
pp_process_scan(const struct pp_host *host, uint32_t uid, const char *arguments,
                size_t arguments_size, const char *variables, size_t variables_size,
                int32_t *ret_pids, size_t capacity, size_t *ret_count)
{
    CLEANUP_ARGUMENTS struct arguments found = {0};
    CLEANUP_FREE int32_t *pids = NULL;
    size_t pid_count, count = 0;
    int r;

    (void) host;
    if ((arguments_size && arguments[arguments_size - 1]) ||
        (variables_size && variables[variables_size - 1]))
        return -EINVAL;
    r = pids_list(uid, &pids, &pid_count);
    if (r < 0)
        return r;
    for (size_t i = 0; i < pid_count; i++) {
        if (pids[i] <= 0)
            continue;
        if (arguments_size || variables_size) {
            const struct procargs *parsed = &found.parsed;

            r = arguments_read(pids[i], &found);
            if (r == -ENOMEM)
                return r;
            if (r < 0 ||
                !entries_have_all(parsed->argv, parsed->argv_size, arguments,
                                  arguments_size) ||
                !entries_have_all(parsed->environment, parsed->environment_size, variables,
                                  variables_size))
                continue;
        }
        if (count == capacity)
            return -ENOBUFS;
        ret_pids[count++] = pids[i];
    }
    *ret_count = count;
    return 0;
}
