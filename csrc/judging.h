/* SPDX-License-Identifier: MIT
 * What judging an identity has in common on every system. */
#ifndef PP_JUDGING_H
#define PP_JUDGING_H

#include "pp.h"

#include <errno.h>
#include <string.h>

static inline int
answer(int liveness, int reason, int32_t *ret_reason)
{
    *ret_reason = reason;
    return liveness;
}

/* What can be said before anyone looks at the process; 0: nothing. */
static inline int
judge_unseen(const struct pp_host *host, const struct pp_identity *identity,
             int32_t *ret_reason)
{
    if (strncmp(identity->boot_id, host->boot_id, PP_BOOT_ID_SIZE) != 0)
        return answer(PP_GONE, PP_OTHER_BOOT, ret_reason);
    if (identity->pid_namespace != host->pid_namespace)
        return answer(PP_UNKNOWN, PP_OTHER_NAMESPACE, ret_reason);
    if (identity->pid <= 0)
        return answer(PP_UNKNOWN, -EINVAL, ret_reason);
    return 0;
}

/* Why a text of a process that is not proven to run cannot be read. */
static inline int
unreadable(int liveness, int32_t reason)
{
    if (liveness == PP_GONE)
        return -ESRCH;
    return reason < 0 ? reason : -EXDEV;
}

/* Why a process that can be proven neither alive nor gone is not signalled: for want of something,
 * or because it is not to be told. */
static inline int
unproven(int32_t reason)
{
    return reason == -EMFILE || reason == -ENFILE || reason == -ENOMEM || reason == -EAGAIN
               ? reason
               : -EPERM;
}

#endif
