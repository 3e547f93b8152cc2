/* SPDX-License-Identifier: MIT
 * argv, environment and executable of exactly the process that is meant: it is looked at before
 * and after, and the version tells whether it has execed in between. */
#include "pp.h"

#include <libproc.h>
#include <string.h>
#include <unistd.h>

#include "arguments_darwin.h"
#include "facts_darwin.h"
#include "judging.h"
#include "util.h"

/* How long an exec may keep its strings from us: with EIO it is under way and will end; with EINVAL,
 * which we know as -EAGAIN, it may as well be a process that never shows any. */
#define EXEC_TIME 500000000LL
#define DOUBT_TIME 20000000LL

static int
copy_out(const char *text, size_t length, char *buffer, size_t size, size_t *ret_size)
{
    if (length > size)
        return -ENOBUFS;
    memcpy(buffer, text, length);
    *ret_size = length;
    return 0;
}

static int
read_exe(int32_t pid, char *buffer, size_t size, size_t *ret_size)
{
    char path[PROC_PIDPATHINFO_MAXSIZE];
    int length;

    errno = 0;
    length = proc_pidpath(pid, path, sizeof(path));
    if (length <= 0)
        return errno ? -errno : -ESRCH;
    return copy_out(path, (size_t) length, buffer, size, ret_size);
}

/* Without the empty strings that fill up to a whole word. */
static int
copy_environment(const struct procargs *parsed, char *buffer, size_t size, size_t *ret_size)
{
    size_t length = parsed->environment_size;

    if (!parsed->is_environment_shown)
        return -EACCES;
    while (length > 1 && parsed->environment[length - 1] == '\0' &&
           parsed->environment[length - 2] == '\0')
        length--;
    if (length == 1)
        length = 0;
    return copy_out(parsed->environment, length, buffer, size, ret_size);
}

static int
read_text(int32_t pid, int what, char *buffer, size_t size, size_t *ret_size)
{
    CLEANUP_ARGUMENTS struct arguments arguments = {0};
    int r;

    if (what == PP_TEXT_EXE)
        return read_exe(pid, buffer, size, ret_size);
    if (what != PP_TEXT_ARGV && what != PP_TEXT_ENVIRON)
        return -EINVAL;
    r = arguments_read(pid, &arguments);
    if (r < 0)
        return r == -EINVAL ? -EAGAIN : r;
    if (what == PP_TEXT_ENVIRON)
        return copy_environment(&arguments.parsed, buffer, size, ret_size);
    return copy_out(arguments.parsed.argv, arguments.parsed.argv_size, buffer, size, ret_size);
}

int
pp_process_read(const struct pp_host *host, const struct pp_identity *identity, int what,
                char *buffer, size_t size, size_t *ret_size)
{
    for (int64_t began = clock_now();;) {
        struct timespec nap = as_timespec(200000);
        struct facts before, after;
        int32_t reason;
        size_t length = 0;
        int r, read_result;

        r = facts_judge(host, identity, &before, &reason);
        if (r != PP_ALIVE)
            return judge_unreadable(r, reason);
        read_result = read_text(identity->pid, what, buffer, size, &length);
        r = facts_judge(host, identity, &after, &reason);
        if (r != PP_ALIVE)
            return judge_unreadable(r, reason);
        if (read_result == 0 && before.version == after.version) {
            *ret_size = length;
            return 0;
        }
        /* The same words for what another user's process is and for one in the middle of an exec. */
        if (read_result == -EAGAIN && geteuid() != 0 && after.effective_uid != geteuid())
            return -EACCES;
        if (read_result < 0 && read_result != -EAGAIN && read_result != -EIO &&
            before.version == after.version)
            return read_result;
        if (clock_now() - began >= (read_result == -EIO ? EXEC_TIME : DOUBT_TIME))
            return read_result == -EIO ? -EIO : -EAGAIN;
        (void) nanosleep(&nap, NULL);
    }
}

int
pp_pid_shares_files(int32_t pid)
{
    struct proc_vnodepathinfo mine = {0}, other = {0};

    errno = 0;
    if (proc_pidinfo(getpid(), PROC_PIDVNODEPATHINFO, 0, &mine, sizeof(mine)) !=
            (int) sizeof(mine) ||
        proc_pidinfo(pid, PROC_PIDVNODEPATHINFO, 0, &other, sizeof(other)) !=
            (int) sizeof(other))
        return errno ? -errno : -ESRCH;
    /* There are no mount namespaces; a root of its own is shown, all zeros without one. */
    return mine.pvi_rdir.vip_vi.vi_stat.vst_dev == other.pvi_rdir.vip_vi.vi_stat.vst_dev &&
           mine.pvi_rdir.vip_vi.vi_stat.vst_ino == other.pvi_rdir.vip_vi.vi_stat.vst_ino;
}
