/* SPDX-License-Identifier: MIT
 * sysctl and proc_info: the answers of the kernel by pid, byte by byte. */
#define _GNU_SOURCE
#include "xnu.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARG_MAX_OF_MACOS (1024 * 1024)

HIDDEN int xnu_proc_pidinfo(int pid, int flavor, uint64_t arg, void *buffer, int size);
HIDDEN int xnu_proc_pidpath(int pid, void *buffer, uint32_t size);
HIDDEN int xnu_proc_listpids(uint32_t type, uint32_t info, void *buffer, int size);
HIDDEN int xnu_sysctl(int *name, unsigned length, void *old, size_t *old_size, void *new,
                      size_t new_size);
HIDDEN int xnu_sysctlbyname(const char *name, void *old, size_t *old_size, void *new,
                            size_t new_size);
HIDDEN int xnu_proc_signal_with_audittoken(uint32_t *token, int number);
HIDDEN void *xnu_dlsym(void *handle, const char *name);
HIDDEN int xnu_kill(pid_t pid, int number);
HIDDEN int xnu_getsid(pid_t pid);
HIDDEN int xnu_list_fds(int32_t pid, char *buffer, int size);

/* proc_find: neither zombies nor what is on the way there. */
static int
is_findable(const struct process *process)
{
    return process->state != X_SZOMB && !(process->flags & X_P_WEXIT);
}

static int
may_look(const struct process *process)
{
    return xnu_caller() == 0 || process->effective_uid == xnu_caller();
}

/* ----------------------------------------------------------------------------- proc_pidinfo */

static int
unique_info(int pid, uint64_t with_zombies, void *buffer, int size)
{
    struct entry *entry = xnu_find(pid);
    struct process process;
    char info[56] = {0};
    int r;

    if (!xnu_has_unique)
        return xnu_fail(X_EINVAL) + 1;
    r = xnu_process(pid, &process);
    if (r || (!is_findable(&process) && with_zombies == 0))
        return xnu_fail(X_ESRCH) + 1;
    if (process.unique_errno)
        return xnu_fail(process.unique_errno) + 1;
    if (size < (int) sizeof(info))
        return xnu_fail(X_ENOMEM) + 1;
    memset(info, 0xEE, 16); /* the uuid of the program */
    put64(info, 16, process.unique_id);
    put64(info, 24, 0x1111111111111111);
    put32(info, 32, (uint32_t) process.version);
    put32(info, 36, 0x22222222);
    if (entry && entry->unique.size) {
        memcpy(buffer, entry->unique.data, entry->unique.size);
        return (int) entry->unique.size;
    }
    memcpy(buffer, info, sizeof(info));
    return sizeof(info);
}

/* struct proc_vnodepathinfo: two of 152 bytes and a path of 1024 each; vst_dev and vst_ino of the
 * second, the root. */
static int
vnode_path_info(int pid, void *buffer, int size)
{
    char path[64], *info = buffer;
    struct stat own, other, own_ns, other_ns;

    if (size < 2352)
        return xnu_fail(X_ENOMEM) + 1;
    memset(info, 0, 2352);
    snprintf(path, sizeof(path), "/proc/%d/root", pid);
    if (stat("/proc/self/root", &own) < 0 || stat(path, &other) < 0)
        return xnu_fail(errno == ENOENT ? X_ESRCH : X_EPERM) + 1;
    snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
    if (stat("/proc/self/ns/mnt", &own_ns) < 0 || stat(path, &other_ns) < 0)
        return xnu_fail(X_EPERM) + 1;
    if (own.st_ino != other.st_ino || own_ns.st_ino != other_ns.st_ino) {
        put32(info, 1176, (uint32_t) other.st_dev);
        put64(info, 1184, other.st_ino ^ other_ns.st_ino);
    }
    return 2352;
}

int
xnu_proc_pidinfo(int pid, int flavor, uint64_t arg, void *buffer, int size)
{
    struct process process;

    xnu_hook("proc_pidinfo", pid);
    if (flavor == 17)
        return unique_info(pid, arg, buffer, size);
    if (xnu_process(pid, &process) || !is_findable(&process))
        return xnu_fail(X_ESRCH) + 1;
    if (!may_look(&process))
        return xnu_fail(X_EPERM) + 1;
    if (flavor == 1)
        return xnu_list_fds(pid, buffer, size);
    if (flavor == 9)
        return vnode_path_info(pid, buffer, size);
    return xnu_fail(X_EINVAL) + 1;
}

int
xnu_proc_pidpath(int pid, void *buffer, uint32_t size)
{
    struct entry *entry = xnu_find(pid);
    struct process process;
    char path[64], target[4096];
    ssize_t n;

    xnu_hook("proc_pidpath", pid);
    if (xnu_process(pid, &process) || !is_findable(&process))
        return xnu_fail(X_ESRCH) + 1;
    if (entry) {
        strncpy(buffer, entry->path, size);
        return (int) strlen(entry->path);
    }
    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    n = readlink(path, target, sizeof(target));
    if (n < 0)
        return xnu_fail(xnu_errno(errno)) + 1;
    if (n > 10 && memcmp(target + n - 10, " (deleted)", 10) == 0)
        return xnu_fail(X_ENOENT) + 1;
    memcpy(buffer, target, (size_t) n);
    return (int) n;
}

int
xnu_proc_listpids(uint32_t type, uint32_t info, void *buffer, int size)
{
    DIR *proc = opendir("/proc");
    struct dirent *item;
    struct process process;
    int32_t *pids = buffer, pid;
    int count = 0, capacity = size / 4;

    for (int i = 0; count < capacity && xnu_table(i, &pid); i++)
        if (pid && xnu_process(pid, &process) == 0 &&
            (type == 1 || process.effective_uid == info))
            pids[count++] = pid;
    while (proc && count < capacity && (item = readdir(proc)) != NULL) {
        struct stat st;

        pid = atoi(item->d_name);
        if (pid <= 0 || fstatat(dirfd(proc), item->d_name, &st, 0) < 0)
            continue;
        if (type == 1 || (type == 4 && st.st_uid == info))
            pids[count++] = pid;
    }
    if (proc)
        closedir(proc);
    return count * 4;
}

/* ----------------------------------------------------------------------------------- sysctl */

/* A pid that nobody has: success, and nothing. */
static int
process_info(int pid, char *old, size_t *old_size)
{
    struct entry *entry = xnu_find(pid);
    struct process process;
    char info[648] = {0};

    if (xnu_process(pid, &process) || process.state == X_SIDL) {
        *old_size = 0;
        return 0;
    }
    if (*old_size < sizeof(info))
        return xnu_fail(X_ENOMEM);
    memset(info, 0xEE, sizeof(info));
    put64(info, 0, (uint64_t) process.start_seconds);
    put32(info, 8, (uint32_t) process.start_microseconds);
    put32(info, 32, (uint32_t) process.flags);
    info[36] = (char) process.state;
    put32(info, 40, (uint32_t) process.pid);
    put32(info, 392, process.real_uid);
    put32(info, 420, process.effective_uid);
    put32(info, 560, (uint32_t) process.parent);
    put32(info, 564, (uint32_t) process.group);
    *old_size = sizeof(info);
    memcpy(old, info, sizeof(info));
    if (entry && entry->kinfo.size) {
        memcpy(old, entry->kinfo.data, entry->kinfo.size);
        *old_size = entry->kinfo.size;
    }
    return 0;
}

static int
process_arguments(int pid, char *old, size_t *old_size)
{
    static __thread char area[STRINGS_MAX];
    struct process process;
    size_t size = 0, given = *old_size - 4;
    int r;

    if (given == 0 || given > ARG_MAX_OF_MACOS)
        return xnu_fail(X_EINVAL);
    if (xnu_process(pid, &process) || !is_findable(&process) || !may_look(&process))
        return xnu_fail(X_EINVAL);
    r = xnu_area(pid, area, sizeof(area), &size);
    if (r)
        return xnu_fail(r);
    memcpy(old, area, 4);
    size -= 4;
    /* Too small a buffer gets the tail, and that is called a success. */
    if (size > given) {
        memcpy(old + 4, area + 4 + size - given, given);
        size = given;
    } else {
        memcpy(old + 4, area + 4, size);
    }
    *old_size = size + 4;
    return 0;
}

int
xnu_sysctl(int *name, unsigned length, void *old, size_t *old_size, void *new, size_t new_size)
{
    (void) new, (void) new_size;
    if (length == 4 && name[0] == 1 && name[1] == 14 && name[2] == 1) {
        xnu_hook("KERN_PROC_PID", name[3]);
        return process_info(name[3], old, old_size);
    }
    if (length == 3 && name[0] == 1 && name[1] == 49) {
        xnu_hook("KERN_PROCARGS2", name[2]);
        return process_arguments(name[2], old, old_size);
    }
    return xnu_fail(X_ENOENT);
}

/* As the kernel writes it: in upper case. */
int
xnu_sysctlbyname(const char *name, void *old, size_t *old_size, void *new, size_t new_size)
{
    char text[40] = {0};
    FILE *file;

    (void) new, (void) new_size;
    if (strcmp(name, "kern.bootsessionuuid") != 0)
        return xnu_fail(X_ENOENT);
    strcpy(text, xnu_boot_id);
    if (!text[0]) {
        file = fopen("/proc/sys/kernel/random/boot_id", "re");
        if (!file || fscanf(file, "%36s", text) != 1)
            return xnu_fail(X_EIO);
        fclose(file);
    }
    for (char *c = text; *c; c++)
        if (*c >= 'a' && *c <= 'f')
            *c = (char) (*c - 'a' + 'A');
    if (*old_size < strlen(text) + 1)
        return xnu_fail(X_ENOMEM);
    *old_size = strlen(text) + 1;
    memcpy(old, text, *old_size);
    return 0;
}

/* ---------------------------------------------------------------------------------- signals */

int
xnu_proc_signal_with_audittoken(uint32_t *token, int number)
{
    int32_t pid = (int32_t) token[5];
    struct entry *entry;
    struct process process;
    int fd, r;

    xnu_hook("proc_signal_with_audittoken", pid);
    if (number < 1 || number > 31)
        return X_EINVAL;
    entry = xnu_find(pid);
    fd = entry ? -1 : pidfd_of(pid);
    if (xnu_process(pid, &process) || !is_findable(&process) ||
        process.version != (int32_t) token[7]) {
        if (fd >= 0)
            close(fd);
        return X_ESRCH;
    }
    if (entry) {
        if (!may_look(&process))
            return X_EPERM;
        entry->process.signals++;
        entry->process.last_signal = number;
        return 0;
    }
    r = fd < 0 || syscall(SYS_pidfd_send_signal, fd, xnu_signal(number), NULL, 0) < 0
            ? xnu_errno(errno)
            : 0;
    if (fd >= 0)
        close(fd);
    return r;
}

void *
xnu_dlsym(void *handle, const char *name)
{
    (void) handle;
    if (strcmp(name, "proc_signal_with_audittoken") == 0 && xnu_has_audit)
        return (void *) xnu_proc_signal_with_audittoken;
    return NULL;
}

/* Is there anyone in the group that is no zombie? */
static int
has_living(int32_t group)
{
    static __thread int32_t pids[1 << 16];
    int count = xnu_proc_listpids(1, 0, pids, sizeof(pids)) / 4;

    for (int i = 0; i < count; i++) {
        struct process process;

        if (xnu_process(pids[i], &process) == 0 && process.group == group &&
            process.state != X_SZOMB)
            return 1;
    }
    return 0;
}

int
xnu_kill(pid_t pid, int number)
{
    struct entry *entry = xnu_find(pid < 0 ? -pid : pid);

    xnu_hook("kill", pid < 0 ? -pid : pid);
    if (number < 0 || number > 31)
        return xnu_fail(X_EINVAL);
    entry = xnu_find(pid < 0 ? -pid : pid);
    if (entry) {
        if (pid < 0 && entry->process.group != -pid)
            return xnu_fail(X_ESRCH);
        if (pid < 0 && !has_living(-pid))
            return xnu_fail(X_EPERM);
        if (!may_look(&entry->process))
            return xnu_fail(X_EPERM);
        if (entry->process.state != X_SZOMB && number) {
            entry->process.signals++;
            entry->process.last_signal = number;
        }
        return 0;
    }
    if (xnu_signal(number) < 0)
        return xnu_fail(X_EINVAL);
    if (pid < -1 && kill(pid, 0) == 0 && !has_living(-pid))
        return xnu_fail(X_EPERM);
    return xnu_wrap(kill(pid, xnu_signal(number)));
}

int
xnu_getsid(pid_t pid)
{
    struct process process;

    if (xnu_process(pid, &process) || !is_findable(&process))
        return xnu_fail(X_ESRCH);
    return process.session;
}
