/* SPDX-License-Identifier: MIT
 * Facts by pid, from sysctl (KERN_PROC_PID) and from flavor 17 of proc_pidinfo: no right is needed
 * for either, of whatever user the process is. */
#include "facts_darwin.h"

#include <libproc.h>
#include <string.h>
#include <sys/proc.h>
#include <sys/sysctl.h>

#include "judging.h"
#include "util.h"

#define TRIES 8

/* Not in the SDK (bsd/sys/proc_info_private.h), where a comment calls it API and an assertion holds
 * its size; arg 1 asks for zombies too. */
#define FLAVOR_UNIQUE 17
#define WITH_ZOMBIES 1

struct unique_info {
    uint8_t uuid[16];
    uint64_t unique_id, parent_unique_id;
    int32_t version, parent_version;
    uint64_t reserved[2];
};

_Static_assert(sizeof(struct unique_info) == 56, "flavor 17 answers with 56 bytes");
_Static_assert(offsetof(struct unique_info, unique_id) == 16, "p_uniqueid");
_Static_assert(offsetof(struct unique_info, version) == 32, "p_idversion");
_Static_assert(sizeof(struct kinfo_proc) == 648, "kinfo_proc");
_Static_assert(offsetof(struct kinfo_proc, kp_proc.p_starttime) == 0, "p_starttime");
_Static_assert(offsetof(struct kinfo_proc, kp_proc.p_flag) == 32, "p_flag");
_Static_assert(offsetof(struct kinfo_proc, kp_proc.p_stat) == 36, "p_stat");
_Static_assert(offsetof(struct kinfo_proc, kp_proc.p_pid) == 40, "p_pid");
_Static_assert(offsetof(struct kinfo_proc, kp_eproc.e_pcred.p_ruid) == 392, "p_ruid");
_Static_assert(offsetof(struct kinfo_proc, kp_eproc.e_ucred.cr_uid) == 420, "cr_uid");
_Static_assert(offsetof(struct kinfo_proc, kp_eproc.e_ppid) == 560, "e_ppid");
_Static_assert(offsetof(struct kinfo_proc, kp_eproc.e_pgid) == 564, "e_pgid");

int
facts_unique(int32_t pid, uint64_t *ret_unique_id, uint32_t *ret_version)
{
    struct unique_info info = {0};
    int size;

    errno = 0;
    size = proc_pidinfo(pid, FLAVOR_UNIQUE, WITH_ZOMBIES, &info, sizeof(info));
    if (size <= 0)
        return errno ? -errno : -ESRCH;
    if (size != (int) sizeof(info))
        return -ENOTSUP;
    *ret_unique_id = info.unique_id;
    *ret_version = (uint32_t) info.version;
    return 0;
}

static char
state_letter(const struct extern_proc *process)
{
    static const char letters[] = {
        [SIDL] = 'I', [SRUN] = 'R', [SSLEEP] = 'S', [SSTOP] = 'T', [SZOMB] = 'Z'};
    unsigned char state = (unsigned char) process->p_stat;

    if (state == 0 || state >= sizeof(letters))
        return '?';
    if (state != SZOMB && (process->p_flag & P_WEXIT))
        return 'X';
    return letters[state];
}

static int
read_process(int32_t pid, struct facts *facts)
{
    int name[] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, pid};
    struct kinfo_proc info = {0};
    size_t size = sizeof(info);
    const struct timeval *start = &info.kp_proc.p_starttime;

    if (sysctl(name, 4, &info, &size, NULL, 0) < 0)
        return -errno;
    /* For a pid that nobody has it succeeds, with nothing. */
    if (size < sizeof(info) || info.kp_proc.p_pid != pid)
        return -ESRCH;
    facts->start_time = (uint64_t) start->tv_sec * 1000000 + (uint64_t) start->tv_usec;
    facts->uid = info.kp_eproc.e_pcred.p_ruid;
    facts->effective_uid = info.kp_eproc.e_ucred.cr_uid;
    facts->parent_pid = info.kp_eproc.e_ppid;
    facts->group_id = info.kp_eproc.e_pgid;
    /* Between the last instruction and the zombie only the flag tells. */
    facts->is_exiting = info.kp_proc.p_stat == SZOMB || (info.kp_proc.p_flag & P_WEXIT) != 0;
    facts->has_execed = (info.kp_proc.p_flag & P_EXEC) != 0;
    facts->state = state_letter(&info.kp_proc);
    return 0;
}

int
facts_read(const struct pp_host *host, int32_t pid, struct facts *ret_facts)
{
    for (int tries = 0; tries < TRIES; tries++) {
        struct facts facts = {0};
        uint64_t before = 0, after = 0;
        int told = 0, r;

        if (host->features & PP_HAS_UNIQUE) {
            told = facts_unique(pid, &before, &facts.version);
            if (told == -ENOMEM)
                return told;
        }
        r = read_process(pid, &facts);
        if (r < 0)
            return r;
        if (told == -ESRCH)
            continue; /* there is one by now: was it the same? */
        if (!(host->features & PP_HAS_UNIQUE) || told < 0) {
            *ret_facts = facts;
            return 0;
        }
        /* In between the pid may have become another's; or the program another, which is no matter
         * here: the version is that of the first look. */
        r = facts_unique(pid, &after, &(uint32_t){0});
        if (r == 0 && before == after) {
            facts.unique_id = before;
            *ret_facts = facts;
            return 0;
        }
    }
    return -EAGAIN;
}

static int
compare(const struct pp_identity *identity, const struct facts *facts, int32_t *ret_reason)
{
    if (identity->unique_id && facts->unique_id) {
        if (identity->unique_id != facts->unique_id)
            return answer(PP_GONE, PP_OTHER_PROCESS, ret_reason);
    } else if (!identity->start_time || !facts->start_time) {
        return answer(PP_UNKNOWN, PP_NOTHING_TO_COMPARE, ret_reason);
    } else if (identity->start_time != facts->start_time) {
        return answer(PP_GONE, PP_OTHER_PROCESS, ret_reason);
    }
    if (facts->is_exiting)
        return answer(PP_GONE, PP_EXITED, ret_reason);
    return answer(PP_ALIVE, PP_SAME_PROCESS, ret_reason);
}

int
facts_judge(const struct pp_host *host, const struct pp_identity *identity,
            struct facts *ret_facts, int32_t *ret_reason)
{
    int r;

    r = judge_unseen(host, identity, ret_reason);
    if (r)
        return r;
    r = facts_read(host, identity->pid, ret_facts);
    if (r == -ESRCH)
        return answer(PP_GONE, PP_NO_SUCH_PID, ret_reason);
    if (r < 0)
        return answer(PP_UNKNOWN, r, ret_reason);
    return compare(identity, ret_facts, ret_reason);
}

int
pp_pid_status(const struct pp_host *host, int32_t pid, struct pp_status *ret_status)
{
    struct facts facts;
    int r;

    if (pid <= 0)
        return -ESRCH;
    r = facts_read(host, pid, &facts);
    if (r < 0)
        return r;
    r = getsid(pid); /* fails for a zombie, whose session is no matter to anyone */
    *ret_status = (struct pp_status){
        .parent_pid = facts.parent_pid,
        .group_id = facts.group_id,
        .session_id = r < 0 ? 0 : r,
        .has_execed = facts.has_execed,
        .state = facts.state,
    };
    return 0;
}
