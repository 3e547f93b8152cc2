/* SPDX-License-Identifier: MIT
 * The pids of a user. */
#ifndef PP_PIDS_DARWIN_H
#define PP_PIDS_DARWIN_H

#include "pp.h"

#include <libproc.h>

#include "util.h"

/* Every pid of an effective uid (UINT32_MAX: of all), zombies last; *ret_pids is to be freed.
 *   -ENOMEM, -EPERM */
static inline int
pids_list(uint32_t uid, int32_t **ret_pids, size_t *ret_count)
{
    uint32_t kind = uid == UINT32_MAX ? PROC_ALL_PIDS : PROC_UID_ONLY;

    for (size_t capacity = 1024;; capacity *= 2) {
        CLEANUP_FREE int32_t *pids = malloc(capacity * sizeof(*pids));
        int size, wanted = (int) (capacity * sizeof(*pids));

        if (!pids)
            return -ENOMEM;
        errno = 0;
        size = proc_listpids(kind, uid == UINT32_MAX ? 0 : uid, pids, wanted);
        if (size <= 0 && errno)
            return -errno;
        /* A list that fills the buffer may have been cut. */
        if (size == wanted && capacity < (1U << 20))
            continue;
        *ret_count = (size_t) size / sizeof(*pids);
        *ret_pids = pids;
        pids = NULL;
        return 0;
    }
}

#endif
