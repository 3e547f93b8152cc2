/* SPDX-License-Identifier: MIT */
#include "judging.h"

#include <errno.h>
#include <string.h>

int
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

int
judge_unreadable(int liveness, int32_t reason)
{
    if (liveness == PP_GONE)
        return -ESRCH;
    return reason < 0 ? reason : -EXDEV;
}

int
judge_unproven(int32_t reason)
{
    switch (reason) {
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
    case -EAGAIN:
        return reason;
    default:
        return -EPERM;
    }
}
