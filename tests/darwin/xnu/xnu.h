/* SPDX-License-Identifier: MIT
 * A stand-in for libSystem and XNU on Linux.  The sources for macOS, compiled with its headers, are
 * linked against it: every call of theirs arrives here as xnu_<name>, with the numbers and layouts
 * of macOS, and is answered from a table that a test fills, or from the processes of this machine.
 * Layouts are written here by byte offset, of our own reading of the kernel: a field that one side
 * has elsewhere is read wrong. */
#ifndef XNU_H
#define XNU_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HIDDEN __attribute__((visibility("hidden")))
#define CONTROL __attribute__((visibility("default")))

/* ------------------------------------------------------------------------------- processes */

#define STRINGS_MAX (2 << 20)

enum { X_SIDL = 1, X_SRUN = 2, X_SSLEEP = 3, X_SSTOP = 4, X_SZOMB = 5 };
enum { X_P_LP64 = 0x4, X_P_WEXIT = 0x2000, X_P_EXEC = 0x4000 };

struct process {
    int32_t pid, parent, group, session;
    uint32_t real_uid, effective_uid;
    uint64_t unique_id;
    int32_t version;
    int64_t start_seconds;
    int32_t start_microseconds;
    int32_t state, flags;
    int32_t unique_errno; /* what flavor 17 fails with; 0: it does not */
    int32_t area_errno;   /* what KERN_PROCARGS2 fails with */
    int32_t signals;      /* how many it got */
    int32_t last_signal;
    int32_t exit_fd; /* eventfd; readable once it has exited */
};

/* The table; a pid in it hides a real one.  Python calls these through cffi. */
CONTROL struct process *xnu_add(int32_t pid);
CONTROL void xnu_remove(int32_t pid);
CONTROL void xnu_clear(void);
CONTROL void xnu_set_area(int32_t pid, const char *area, size_t size);
CONTROL void xnu_set_path(int32_t pid, const char *path);
/* Raw answers, of a recording: served as they are. */
CONTROL void xnu_set_raw(int32_t pid, const char *kinfo, size_t kinfo_size, const char *unique,
                         size_t unique_size);
CONTROL void xnu_exit(int32_t pid); /* the event of its exit */
CONTROL void xnu_set_hook(void (*hook)(const char *call, int32_t pid));
CONTROL void xnu_set_kernel(int has_unique, int has_audit, int32_t caller_uid);
CONTROL void xnu_set_boot(const char *boot_id);
/* How many blocks were freed with this text in them. */
CONTROL void xnu_set_secret(const char *text);
CONTROL int xnu_secrets_freed(void);
CONTROL void xnu_add_socket(int32_t pid, int32_t fd, int32_t port, int32_t state, int32_t flags,
                            int32_t options, uint64_t id, const char *address);
CONTROL void xnu_clear_sockets(void);

struct raw {
    char *data;
    size_t size;
};
struct entry {
    struct process process;
    struct raw area, kinfo, unique;
    char path[256];
};

HIDDEN void xnu_hook(const char *call, int32_t pid);
HIDDEN struct entry *xnu_find(int32_t pid);
HIDDEN int xnu_table(int index, int32_t *pid); /* the pids in it, one by one */
/* Of the table or of this machine: 0, or the errno of macOS. */
HIDDEN int xnu_process(int32_t pid, struct process *ret);
HIDDEN int xnu_area(int32_t pid, char *buffer, size_t capacity, size_t *ret_size);
HIDDEN uint32_t xnu_caller(void);
extern HIDDEN int xnu_has_unique, xnu_has_audit;
extern HIDDEN char xnu_boot_id[40];

/* --------------------------------------------------------------------------------- numbers */

enum {
    X_EPERM = 1, X_ENOENT = 2, X_ESRCH = 3, X_EIO = 5, X_EBADF = 9, X_ENOMEM = 12, X_EACCES = 13,
    X_EINVAL = 22, X_ENOTSUP = 45
};

HIDDEN int *xnu___error(void);
HIDDEN int xnu_errno(int linux_errno); /* the number that macOS has for it */
HIDDEN int xnu_fail(int number);       /* set it; -1 */
HIDDEN int xnu_wrap(long result);      /* of a call of Linux: sets our errno from its */
HIDDEN int xnu_signal(int number);     /* of macOS, as one of Linux; -1: there is none */
HIDDEN int linux_result(int result);   /* -errno of macOS as one of Linux */
HIDDEN int linux_errno(int number);
HIDDEN int darwin_signal(int number); /* the other way round, for what comes in */

/* ---------------------------------------------------------------------------------- events */

HIDDEN int xnu_is_queue(int fd);
HIDDEN void xnu_queue_closed(int fd);
HIDDEN void xnu_queues_forked(void);

HIDDEN int pidfd_of(int32_t pid);
HIDDEN int pidfd_exited(int fd);

/* --------------------------------------------------------------------------------- layouts */

static inline void
put16(char *at, size_t offset, uint16_t value)
{
    __builtin_memcpy(at + offset, &value, 2);
}
static inline void
put32(char *at, size_t offset, uint32_t value)
{
    __builtin_memcpy(at + offset, &value, 4);
}
static inline void
put64(char *at, size_t offset, uint64_t value)
{
    __builtin_memcpy(at + offset, &value, 8);
}
static inline uint32_t
get32(const char *at, size_t offset)
{
    uint32_t value;
    __builtin_memcpy(&value, at + offset, 4);
    return value;
}

#endif
