/* SPDX-License-Identifier: MIT */
#include "forking.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "pidfd_linux.h"
#include "util.h"

#if !defined(__x86_64__) && !defined(__aarch64__)
#error "The arguments of clone stand in another order here: only x86-64 and aarch64 are known."
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000 /* Linux 5.2 */
#endif
#ifndef P_PIDFD
#define P_PIDFD 3 /* Linux 5.4; an enumerator where libc knows it */
#endif
#ifndef SYS_close_range
#define SYS_close_range 436 /* Linux 5.9 */
#endif

int
forking_fork(const struct pp_host *host, int32_t *ret_pid_fd)
{
    int pid_fd = -1;
    long pid;

    *ret_pid_fd = -1;
    if (!(host->features & PP_HAS_PIDFD))
        return nerrno(fork());
    /* The system call itself: opening a pidfd after fork() would be by number again, and whoever
     * reaps children behind our back could have made that number another's.  Its arguments stand
     * in this order on x86-64 and aarch64 alike: flags, stack, pidfd. */
    pid = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, NULL, &pid_fd, NULL, NULL);
    if (pid > 0)
        *ret_pid_fd = pid_fd;
    /* An emulator (qemu-user) may know pidfds and not this flag: then as before Linux 5.2. */
    if (pid < 0 && errno == EINVAL)
        return nerrno(fork());
    return nerrno((int) pid);
}

int
forking_pin_self(const struct pp_host *host, int *ret_fd)
{
    int fd = -1;

    if (host->features & PP_HAS_PIDFD) {
        fd = pidfd_of(getpid());
        if (fd < 0)
            return fd;
    }
    *ret_fd = fd;
    return 0;
}

int
forking_watch_parent(pid_t parent, int *fd)
{
    (void) parent; /* pinned before the fork, or asked for by getppid */
    (void) fd;
    return 0;
}

int
forking_reap(pid_t pid, int pid_fd, int *ret_status)
{
    siginfo_t info = {0};
    int r;

    if (pid_fd < 0)
        return forking_reap_by_number(pid, ret_status);
    /* Through the pidfd: the number may have become that of another child of this process. */
    do
        r = nerrno(waitid((idtype_t) P_PIDFD, (id_t) pid_fd, &info, WEXITED | WNOHANG));
    while (r == -EINTR);
    if (r == -EINVAL) /* before Linux 5.4 */
        return forking_reap_by_number(pid, ret_status);
    if (r < 0)
        return r;
    if (info.si_pid == 0)
        return 0;
    *ret_status = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    return 1;
}

static int
close_range_(unsigned first, unsigned last)
{
    return first > last ? 0 : nerrno((int) syscall(SYS_close_range, first, last, 0));
}

/* The kernel's own listing, without the allocation that readdir makes. */
struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

static int
close_listed(int first, int keep, int keep_too)
{
    CLEANUP_CLOSE int listing =
        nerrno(open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    char buffer[1024] __attribute__((aligned(8)));

    if (listing < 0)
        return listing;
    for (;;) {
        long size = syscall(SYS_getdents64, listing, buffer, sizeof(buffer));
        int closed = 0;

        if (size < 0)
            return -errno;
        if (size == 0)
            return 0;
        for (long at = 0; at < size;) {
            const struct entry *entry = (const struct entry *) (const void *) (buffer + at);
            uint64_t fd;

            at += entry->length;
            if (parse_u64(entry->name, entry->name + strlen(entry->name), &fd) < 0 ||
                fd < (uint64_t) first || fd == (uint64_t) keep || fd == (uint64_t) keep_too ||
                fd == (uint64_t) listing)
                continue;
            (void) close((int) fd);
            closed = 1;
        }
        if (closed && lseek(listing, 0, SEEK_SET) < 0)
            return -errno;
    }
}

int
forking_close_all(int first, int keep, int keep_too)
{
    int low = keep < keep_too ? keep : keep_too, high = keep < keep_too ? keep_too : keep, r;
    struct rlimit limit;

    if (low < first)
        low = first - 1;
    if (high < first)
        high = first - 1;
    r = low < first ? 0 : close_range_((unsigned) first, (unsigned) low - 1);
    if (r == 0 && high > low)
        r = close_range_((unsigned) low + 1, (unsigned) high - 1);
    if (r == 0)
        r = close_range_((unsigned) high + 1, ~0U);
    if (r == 0)
        return 0;

    r = close_listed(first, keep, keep_too);
    if (r == 0)
        return 0;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    for (int fd = first; fd < INT_MAX && (rlim_t) fd < limit.rlim_max; fd++)
        if (fd != keep && fd != keep_too)
            (void) close(fd);
    return 0;
}
