/* SPDX-License-Identifier: MIT
 * What the kernel tells of whatever process has a pid. */
#ifndef PP_FACTS_DARWIN_H
#define PP_FACTS_DARWIN_H

#include "pp.h"

struct facts {
    uint64_t unique_id; /* p_uniqueid: of one process for ever; 0: not told */
    uint32_t version; /* p_idversion: of one program in it, exec gives another; 0: not told */
    uint64_t start_time; /* microseconds of the wall clock when it was forked */
    uint32_t uid, effective_uid;
    int32_t parent_pid, group_id;
    int is_exiting; /* a zombie, or on the way there: it runs no instruction of its program */
    int has_execed;
    char state; /* as in proc(5) */
};

#pragma GCC visibility push(hidden)

/* Unique id and version alone.
 *   -ESRCH                     no process has the pid, or it is being forked
 *   -EPERM, -EINVAL, -ENOTSUP  not told here
 *   -ENOMEM */
int facts_unique(int32_t pid, uint64_t *ret_unique_id, uint32_t *ret_version);

/* All of them, of one and the same process.
 *   -ESRCH   no process has the pid
 *   -EAGAIN  the pid changes hands faster than we can look
 *   -EPERM, -ENOMEM */
int facts_read(const struct pp_host *host, int32_t pid, struct facts *ret_facts);

/* Is the process that was identified the one that has its pid now?  Returns enum pp_liveness;
 * *ret_facts are those of that process if it is PP_ALIVE, or PP_GONE for PP_EXITED. */
int facts_judge(const struct pp_host *host, const struct pp_identity *identity,
                struct facts *ret_facts, int32_t *ret_reason);

#pragma GCC visibility pop

#endif
