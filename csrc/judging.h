/* SPDX-License-Identifier: MIT
 * What judging an identity has in common on every system. */
#ifndef PP_JUDGING_H
#define PP_JUDGING_H

#include "pp.h"

#pragma GCC visibility push(hidden)

static inline int
answer(int liveness, int reason, int32_t *ret_reason)
{
    if (ret_reason)
        *ret_reason = reason;
    return liveness;
}

/* What can be said before anyone looks at the process: enum pp_liveness, or 0: nothing. */
int judge_unseen(const struct pp_host *host, const struct pp_identity *identity,
                 int32_t *ret_reason);

/* Why a text of a process that is not proven to run cannot be read: the reason, if it is an errno.
 *   -ESRCH  it is gone
 *   -EXDEV  its pid means nothing here */
int judge_unreadable(int liveness, int32_t reason);

/* Why a process that is proven neither alive nor gone is not signalled.
 *   -EMFILE, -ENFILE, -ENOMEM, -EAGAIN  for want of that
 *   -EPERM                              it is not to be told */
int judge_unproven(int32_t reason);

#pragma GCC visibility pop

#endif
