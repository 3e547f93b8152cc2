/* SPDX-License-Identifier: MIT
 * Signals to a process that was proven to be the one that is meant. */
#include "pp.h"

#include <signal.h>

#include "audit_darwin.h"
#include "exit_darwin.h"
#include "facts_darwin.h"
#include "judging.h"

#define TRIES 8 /* a process that execs all the time gets it in the end, or -EAGAIN */

/* -ESRCH: gone; else 0 and *ret_facts, or why nothing is proven. */
static int
prove(const struct pp_host *host, const struct pp_identity *identity, struct facts *ret_facts)
{
    int32_t reason;

    switch (facts_judge(host, identity, ret_facts, &reason)) {
    case PP_ALIVE:
        return 0;
    case PP_GONE:
        return -ESRCH;
    default:
        return judge_unproven(reason);
    }
}

/* The kernel itself compares pid and version: no other process can be hit, nor the same one in
 * another program, for which we look again. */
static int
signal_by_token(const struct pp_host *host, const struct pp_identity *identity,
                int signal_number)
{
    audit_signal_fn *call = audit_signal_call();

    for (int tries = 0; call && tries < TRIES; tries++) {
        audit_token_t token = {0};
        struct facts facts, later;
        int r;

        r = prove(host, identity, &facts);
        if (r < 0)
            return r;
        if (!facts.version)
            return -ENOSYS; /* not told of this process: by number then */
        token.val[5] = (unsigned) identity->pid;
        token.val[7] = facts.version;
        r = call(&token, signal_number);
        if (r != ESRCH)
            return -r;
        r = prove(host, identity, &later);
        if (r < 0)
            return r;
        if (!later.version)
            return -ENOSYS;
        if (later.version == facts.version)
            return -ESRCH; /* it exits just now */
    }
    return call ? -EAGAIN : -ENOSYS;
}

static int
signal_by_number(const struct pp_host *host, const struct pp_identity *identity,
                 int signal_number)
{
    struct facts facts;
    int r;

    r = prove(host, identity, &facts);
    if (r < 0)
        return r;
    return nerrno(kill(identity->pid, signal_number));
}

/* While the leader is not reaped, or a member lives, its number is given to nobody else. */
static int
signal_group(const struct pp_host *host, const struct pp_identity *identity, int signal_number)
{
    struct facts facts;
    int32_t reason;
    int r;

    r = facts_judge(host, identity, &facts, &reason);
    if (r == PP_UNKNOWN)
        return judge_unproven(reason);
    if ((r == PP_GONE && reason != PP_EXITED) || facts.group_id != identity->pid)
        return -ESRCH;
    r = nerrno(kill(-identity->pid, signal_number));
    /* EPERM is said too of a group in which nobody but zombies is left. */
    if (r == -EPERM && pp_process_compare(host, identity, &reason) == PP_GONE)
        return -ESRCH;
    return r;
}

int
pp_process_signal(const struct pp_host *host, const struct pp_identity *identity, int32_t fd,
                  int32_t signal_number, int scope)
{
    int r;

    if (identity->pid <= 1)
        return -EPERM;
    if (scope == PP_SCOPE_GROUP)
        return signal_group(host, identity, signal_number);
    if (fd >= 0 && exit_has_come(fd) > 0)
        return -ESRCH;
    if (!(host->features & PP_HAS_AUDIT) || !identity->unique_id || signal_number == 0)
        return signal_by_number(host, identity, signal_number);
    r = signal_by_token(host, identity, signal_number);
    return r == -ENOSYS ? signal_by_number(host, identity, signal_number) : r;
}
