/* SPDX-License-Identifier: MIT
 *
 * The boundary between C and Python: declarations only.  cffi reads this file verbatim as its
 * cdef, the compiler reads it through pp.h, so the two cannot drift apart.
 *
 * Conventions.  A function that can fail returns 0 or a positive answer, or a negative errno; it
 * leaves nothing in `errno`.  Parameters named ret_* are written on success and only then, except
 * for the structs that a caller owns across calls (pp_guard, pp_lock, pp_waiter, pp_gate): those
 * are filled in place the moment a resource exists, so that an interrupt between two Python
 * instructions can never lose one.  All times are nanoseconds of the clock that stands still while
 * the machine sleeps (Linux: CLOCK_MONOTONIC, macOS: CLOCK_UPTIME_RAW).
 *
 * Where the systems differ, a function says so; everything else holds on both. */

/* ------------------------------------------------------------------ host: what holds for all */

#define PP_BOOT_ID_SIZE 37
#define PP_TOKEN_SIZE 160
#define PP_NONCE_SIZE 33
#define PP_PURPOSE_SIZE 33

enum pp_feature {
    PP_HAS_PIDFD = 1,     /* pidfd_open works here (Linux 5.3, and no filter forbids it) */
    PP_HAS_PIDFS = 2,     /* a pidfd's inode number names one process for ever (Linux 6.9) */
    PP_HAS_PROC = 4,      /* /proc is mounted and shows our own pid namespace */
    PP_CLOCK_INEXACT = 8, /* start times of this time namespace are off by up to one tick */
    PP_HAS_UNIQUE = 16,   /* the kernel numbers processes for ever (macOS: flavor 17) */
    PP_HAS_AUDIT = 32,    /* it takes a signal for exactly one process (macOS 14.2) */
    PP_HAS_KQUEUE =
        64 /* a descriptor of ours can tell of an exit (macOS); no fork inherits it */
};

struct pp_host {
    char boot_id[PP_BOOT_ID_SIZE];
    uint32_t features;        /* enum pp_feature */
    uint64_t pid_namespace;   /* inode of /proc/self/ns/pid; 0 where there are none */
    int64_t monotonic_offset; /* of our time namespace, nanoseconds */
    int64_t boottime_offset;
    int64_t tick; /* length of one unit of start_time, nanoseconds */
};

/* Read the facts that every other call needs.  They change only across fork and unshare, so the
 * caller keeps them and reads them anew in a forked child.  `without` holds features to do
 * without even where the kernel has them: how the fallbacks are tested on a newer kernel.
 *   -ENOENT, -EACCES, -EPERM  /proc or the boot id cannot be read
 *   -EPROTO, -ENOBUFS         the kernel's answer does not parse, or is longer than any known
 *   -EMFILE, -ENFILE, -ENOMEM out of descriptors or memory
 *   -EIO */
int pp_host_read(uint32_t without, struct pp_host *ret_host);

#define PP_MACHINE_ID_SIZE 80

/* A name of this machine that stays the same (machine-id(5), gethostuuid(2)), NUL-terminated.
 *   -ENOENT   it has none, now or later
 *   -ENOBUFS  size is below PP_MACHINE_ID_SIZE
 *   -EMFILE, -ENFILE, -ENOMEM, -EIO, -EAGAIN, -EFAULT  not to be told just now */
int pp_machine_id(char *ret_id, size_t size);

/* Where programs keep state, below the home of their user: a relative path, NUL-terminated.
 *   -ENOBUFS  longer than size */
int pp_state_home(char *ret_path, size_t size);

/* Nanoseconds that the machine has slept since its boot. */
void pp_clock_suspended(int64_t *ret_duration);

/* Who is at the other end of a connected Unix socket, by number: Linux tells who called listen(2),
 * macOS who used that end last; pid 0: in no pid namespace of ours.
 *   -EBADF, -ENOTSOCK, -EINVAL, -ENOTCONN, -ENOPROTOOPT */
int pp_socket_peer(int32_t fd, int32_t *ret_pid, uint32_t *ret_uid);

/* How many bytes the path of a Unix socket may have, without its NUL. */
void pp_unix_path_limit(int32_t *ret_bytes);

/* ---------------------------------------------------------------- process: which one is that */

struct pp_identity {
    int32_t pid;
    uint32_t uid;        /* real uid when it was read; UINT32_MAX: not known */
    uint64_t start_time; /* Linux: clock ticks since boot, outside any time namespace; macOS:
                            microseconds of the wall clock then; 0: unknown */
    uint64_t pid_namespace; /* inode of the pid namespace in which `pid` counts; macOS: 0 */
    uint64_t unique_id;     /* pidfs inode, p_uniqueid; 0: none */
    char boot_id[PP_BOOT_ID_SIZE];
};

enum pp_liveness {
    PP_ALIVE = 1,  /* this very process runs */
    PP_GONE = 2,   /* proven: it does not, and never will again */
    PP_UNKNOWN = 3 /* neither could be proven */
};

/* Why a comparison came out as it did; a negative reason is the errno that prevented an answer. */
enum pp_reason {
    PP_SAME_PROCESS = 0,
    PP_NO_SUCH_PID = 1,
    PP_OTHER_PROCESS = 2, /* the pid was recycled, or is a thread's by now */
    PP_EXITED = 3,        /* a zombie, or exited while we looked */
    PP_OTHER_BOOT = 4,
    PP_OTHER_NAMESPACE = 5, /* recorded in another pid namespace: its pid means nothing here */
    PP_NOTHING_TO_COMPARE = 6, /* neither unique id nor start time on one of the sides */
    PP_TOO_CLOSE = 7           /* the start times are one tick apart, with PP_CLOCK_INEXACT */
};

/* Read the identity of the process that has `pid` now.  Before Linux 6.9, one that was started
 * within this clock tick is waited with until the tick is over, up to 10 ms: from then on no other
 * process can have both its pid and its start time.
 *   -EINVAL           pid <= 0, or the id of a thread
 *   -ESRCH            no such process, or a zombie
 *   -EACCES, -EPERM   hidden from us (hidepid)
 *   -EXDEV            /proc shows another pid namespace and the kernel has no pidfs
 *   -EAGAIN           the pid changes hands faster than we can look
 *   -EPROTO           the kernel's answer does not parse
 *   -EMFILE, -ENFILE, -ENOMEM, -EIO */
int pp_process_identify(const struct pp_host *host, int32_t pid,
                        struct pp_identity *ret_identity);

/* Is this the process that runs under its pid?  Returns enum pp_liveness, never an error: what
 * prevents an answer is PP_UNKNOWN with the reason.  ret_reason may be NULL, here and below. */
int pp_process_compare(const struct pp_host *host, const struct pp_identity *identity,
                       int32_t *ret_reason);

/* The same, and keep a descriptor of that very process: readable once it has exited.  *ret_fd is -1
 * unless the answer is PP_ALIVE and the kernel has pidfds or kqueues. */
int pp_process_open(const struct pp_host *host, const struct pp_identity *identity,
                    int32_t *ret_fd, int32_t *ret_reason);

/* The same for a process that pp_process_open answered for; fd may be -1. */
int pp_process_poll(const struct pp_host *host, const struct pp_identity *identity, int32_t fd,
                    int32_t *ret_reason);

enum pp_scope {
    PP_SCOPE_PROCESS = 0,
    PP_SCOPE_GROUP = 1 /* the process group that the process leads */
};

/* Send a signal to a process that pp_process_open answered for.  Through a pidfd, or with
 * PP_HAS_AUDIT, no recycled pid can be hit; else the identity is compared first and a window of
 * microseconds remains.  A group is signalled through the fd on Linux 6.9, elsewhere by number once
 * the leader is proven unreaped.
 *   -ESRCH   gone, or it leads no group
 *   -EPERM   not ours to signal, or not provable
 *   -EINVAL  no such signal
 *   -EAGAIN  too many real-time signals wait for it, or it execs faster than we can look
 *   -ENOSYS  a filter forbids pidfd_send_signal
 *   -EMFILE, -ENFILE, -ENOMEM */
int pp_process_signal(const struct pp_host *host, const struct pp_identity *identity,
                      int32_t fd, int32_t signal_number, int scope);

enum pp_text {
    PP_TEXT_ARGV = 0,    /* as the kernel keeps it: arguments that each end in a NUL */
    PP_TEXT_ENVIRON = 1, /* the same, of the environment it was started with */
    PP_TEXT_EXE = 2      /* path of the executable, no NUL */
};

/* Read a text of exactly this process: verified before and after the read.
 *   -EINVAL           `what` is none of enum pp_text
 *   -ENOBUFS          longer than `size`
 *   -E2BIG            longer than the kernel tells in one answer (macOS: 1 MiB with all)
 *   -ENAMETOOLONG     the path of its executable is longer than the kernel can say
 *   -ESRCH            gone, or went while we read
 *   -EACCES, -EPERM   not ours to read, or kept back (macOS: the environment of a hardened program)
 *   -ENOENT           it has none (exe of a kernel thread; on macOS of one that was unlinked)
 *   -EAGAIN           it execs faster than we can read
 *   -EXDEV            its pid means nothing here (other namespace), or /proc is another one's
 *   -EPROTO           the kernel's answer does not parse
 *   -EMFILE, -ENFILE, -ENOMEM, -EIO, -EFAULT */
int pp_process_read(const struct pp_host *host, const struct pp_identity *identity, int what,
                    char *buffer, size_t size, size_t *ret_size);

struct pp_status {
    int32_t parent_pid;
    int32_t group_id;
    int32_t session_id;
    int32_t threads;    /* macOS: 0, not told */
    int32_t has_execed; /* 0: forked and still in its parent's program */
    char state;         /* as in proc(5): R S D T t Z X I */
};

/* Raw, by number and therefore unproven: for words to people, for the chain of our ancestors, and
 * for a process that the caller holds otherwise.
 *   -ESRCH, -EACCES, -EPERM, -EXDEV, -EPROTO, -EAGAIN, -EMFILE, -ENFILE, -ENOMEM, -EIO */
int pp_pid_status(const struct pp_host *host, int32_t pid, struct pp_status *ret_status);

/* Does a path mean the same to whatever process has the pid as to this one?  1 or 0: it has another
 * root or mount namespace.
 *   -ESRCH, -ENOENT, -EACCES, -EPERM, -ENOMEM  not to be told */
int pp_pid_shares_files(int32_t pid);

/* List the pids whose argv holds every one of `arguments` as a whole argument and whose
 * environment holds every one of `variables` ("NAME=value").  Both are NUL-terminated strings
 * one after the other.  A pid in the answer is a candidate: identify it, read it, match again.
 * Processes that we may not read do not match.  uid UINT32_MAX: of every user.  After an error what
 * `ret_pids` holds is undefined.
 *   -EINVAL    a list that does not end in a NUL
 *   -ENOBUFS   more than `capacity`
 *   -EXDEV     /proc shows another pid namespace
 *   -ENOENT, -EACCES, -EPERM, -EMFILE, -ENFILE, -ENOMEM */
int pp_process_scan(const struct pp_host *host, uint32_t uid, const char *arguments,
                    size_t arguments_size, const char *variables, size_t variables_size,
                    int32_t *ret_pids, size_t capacity, size_t *ret_count);

struct pp_listener {
    int32_t pid;    /* 0: no process that we may look into holds it */
    int32_t fd;     /* the number it has there */
    uint32_t uid;   /* owner of the socket; macOS: of the process */
    uint64_t inode; /* of this socket only, as long as the machine is up */
};

/* Who listens on a TCP port of 127.0.0.1?  Returns 0: nobody; 1: a process of the session (0: of
 * none); 2: another.  By number, so only of use for a session whose leader is known otherwise.
 * macOS shows the sockets of this user alone, and root those of all.
 *   -EXDEV   /proc shows another pid namespace
 *   -ENOBUFS more sockets on one port than anyone needs
 *   -EMFILE, -ENFILE, -ENOMEM  not every process could be looked into
 *   -ENOENT, -EACCES, -EPERM, -EIO */
int pp_listener_find(const struct pp_host *host, int32_t port, int32_t session_id,
                     struct pp_listener *ret_listener);

/* Does that socket, and no other, still listen on the port, and does the process still hold it
 * under that number?  1 or 0.
 *   -ENOBUFS, -EACCES, -EIO, -EMFILE, -ENFILE, -ENOMEM  as pp_listener_find */
int pp_listener_check(const struct pp_host *host, int32_t port, int32_t pid, int32_t fd,
                      uint64_t inode);

/* The identity as one line without newline: pidproof:1:<pid>:<start>:<boot>:<pidns>:<unique>.
 *   -ENOBUFS  size is below PP_TOKEN_SIZE */
int pp_token_format(const struct pp_identity *identity, char *ret_token, size_t size);

/* Read such a line; its uid comes out as not known.
 *   -EINVAL           not a token
 *   -EPROTONOSUPPORT  a token of a later version */
int pp_token_parse(const char *token, size_t size, struct pp_identity *ret_identity);

/* ----------------------------------------------------- lock: who may decide for a key just now */

/* The guard: an flock on the key's own directory, held for microseconds around a check-and-act. */
struct pp_guard {
    int32_t fd;    /* -1: not held */
    int32_t owner; /* getpid() of who entered: a fork of it is not inside */
};

/* Enter the guard, left first if it is held still; retries with jitter for up to `timeout`.
 *   -ETIMEDOUT  its holder is stopped inside
 *   -EINTR      a signal came: run its handler and call again
 *   -ENOLCK, -ENOSYS, -EOPNOTSUPP  this filesystem has no flock
 *   -EBADF, -ENOTDIR  not the descriptor of a directory
 *   -ENOENT, -EACCES, -EIO, -EMFILE, -ENFILE, -ENOMEM */
int pp_guard_enter(int32_t directory_fd, int64_t timeout, struct pp_guard *guard);

/* Leave it; nothing to do if it is not held.  In a fork only the copy of the descriptor is closed. */
void pp_guard_leave(struct pp_guard *guard);

/* In a forked child: close our copy without touching the parent's lock. */
void pp_guard_forget(struct pp_guard *guard);

/* One acquisition of the lock file. */
struct pp_lock {
    int32_t fd;    /* carries the life flock; -1: not held */
    int32_t owner; /* getpid() of the acquirer: a fork of it is not the holder */
    uint64_t device;
    uint64_t inode;
    char nonce[PP_NONCE_SIZE];
    struct pp_guard guard; /* that pp_lock_try and pp_lock_release are inside of */
};

/* What the lock file says of its holder, and what became of that. */
struct pp_holder {
    struct pp_identity identity;
    int64_t since; /* both outside any time namespace */
    int64_t deadline;
    char nonce[PP_NONCE_SIZE];
    char purpose[PP_PURPOSE_SIZE];
    int32_t liveness; /* enum pp_liveness; 0: the content is not ours to understand */
    int32_t reason;
};

enum pp_found {
    PP_FOUND_FREE = 1,
    PP_FOUND_HALF_WRITTEN = 2, /* its creator died inside the guard */
    PP_FOUND_DEAD = 3,         /* the recorded holder is proven gone */
    PP_FOUND_ABANDONED =
        4,            /* its life flock is free: exec, or death in another pid namespace */
    PP_FOUND_AGED = 5 /* past the deadline that the holder wrote itself; fenced */
};

/* Try to take the lock once, inside a guard of its own.  Returns 0: held by another (*holder is
 * filled); > 0: ours, as enum pp_found says (*lock is filled, and *holder with the one it was
 * taken from, unless it was free or half-written).  The holder may work for `hold` before
 * others may depose it.
 *   -EINVAL  hold is negative, or the purpose is not 1 to 32 of a-z and "-"
 *   -EAGAIN  whoever waits took the life flock of each file that was made, a hundred times
 *   -ETIMEDOUT, -EINTR, -EBADF, -ENOTDIR  as pp_guard_enter
 *   -ENOLCK, -ENOSYS, -EOPNOTSUPP  this filesystem has no flock
 *   -ENOENT  the directory was removed
 *   -ELOOP, -EISDIR, -ENXIO, -EEXIST, -EACCES, -EPERM  something else stands in its place
 *   -ENOSPC, -EDQUOT, -EROFS, -EIO, -EMFILE, -ENFILE, -ENOMEM  nothing was left behind */
int pp_lock_try(const struct pp_host *host, const struct pp_identity *self,
                int32_t directory_fd, const char *purpose, int64_t hold, int64_t guard_timeout,
                struct pp_lock *lock, struct pp_holder *holder);

/* Does anybody stand in line for the lock?  1 or 0.  *lock is not held; it has the descriptor that
 * this takes.
 *   -ELOOP, -EISDIR, -ENXIO, -EACCES, -EPERM  something else stands in the place of the queue
 *   -ENOLCK, -ENOSYS, -EOPNOTSUPP  this filesystem has no flock
 *   -EBADF, -ENOTDIR, -ENODEV, -EROFS, -EIO, -EMFILE, -ENFILE, -ENOMEM */
int pp_lock_has_line(int32_t directory_fd, struct pp_lock *lock);

/* Read the lock file without guard, for showing.  Returns 1: *ret_holder is filled; 0: no lock.
 *   as pp_lock_try */
int pp_lock_look(const struct pp_host *host, int32_t directory_fd,
                 struct pp_holder *ret_holder);

/* Inside the guard: does the lock file at the path still carry this acquisition?  1 or 0.  Opens
 * nothing.
 *   -EPERM  it was given away, or has another name besides
 *   -EBADF, -ENOTDIR, -EACCES, -EIO, -ENOMEM */
int pp_lock_mine(int32_t directory_fd, const struct pp_lock *lock);

/* Give the lock up: guard, drop the life flock, compare nonce and inode, unlink.  In a fork of
 * the holder only the copy of the descriptor is closed.  Returns 1: released; 0: it was no longer
 * ours, or not held.  After an error other than -EINTR the life flock is dropped all the same,
 * which lets the next one in.
 *   as pp_guard_enter and pp_lock_mine */
int pp_lock_release(int32_t directory_fd, int64_t guard_timeout, struct pp_lock *lock);

/* Drop the life flock, which lets the next one in, and leave the guard: for an acquisition whose
 * owner was lost to an interrupt.  In a fork of the holder only the copies are closed. */
void pp_lock_drop(struct pp_lock *lock);

/* In a forked child: close our copies, of whatever a thread of the parent was doing. */
void pp_lock_forget(struct pp_lock *lock);

/* One wait in line: a helper thread sleeps in flock, the caller on event_fd. */
struct pp_waiter {
    uint64_t thread;
    int32_t running;      /* the thread has to be joined */
    int32_t stage;        /* of the thread; atomic */
    int32_t directory_fd; /* borrowed from the caller */
    int32_t event_fd;     /* readable once the lock was released or its holder died */
    int32_t notify_fd;    /* the end that the thread writes */
    int32_t turn_fd;      /* the queue: its flock is the head of the line */
    int32_t life_fd;      /* the current lock file */
    int32_t stop_fd;      /* ends the sleep of the thread; Linux: -1 */
    int32_t has_turn;
};

/* Begin to wait; *waiter is zeroed with all descriptors -1 before its first use.
 *   -EBUSY   it runs already
 *   -EAGAIN  no thread to be had; -EINVAL: none with so small a stack
 *   -ELIBACC libgcc_s, which ending the wait takes, cannot be loaded
 *   -ENOENT  the directory was removed
 *   -ELOOP, -EISDIR, -ENXIO, -EACCES, -EPERM  something else stands in the place of the queue
 *   -EBADF, -ENOTDIR, -ENODEV, -EROFS, -ENOSPC, -EDQUOT, -EIO, -EMFILE, -ENFILE, -ENOMEM */
int pp_waiter_start(int32_t directory_fd, struct pp_waiter *waiter);

/* End the wait, whether or not it was over.  keep_turn: stay at the head of the line if we are. */
void pp_waiter_stop(struct pp_waiter *waiter, int keep_turn);

/* In a forked child: close our copies; the thread is not here. */
void pp_waiter_forget(struct pp_waiter *waiter);

/* --------------------------------------- gate: a child that cannot run before it is recorded */

/* A child that is forked, in a session of its own, and blocked until the gate opens. */
struct pp_gate {
    int32_t pid;    /* 0: no child */
    int32_t pid_fd; /* readable once it has exited; -1: none */
    int32_t fd;     /* our end of the gate; -1: open already, or none */
};

enum pp_stage {
    PP_STAGE_SESSION = 1,
    PP_STAGE_STDIO = 2,
    PP_STAGE_DIRECTORY = 3,
    PP_STAGE_EXEC = 4
};

/* Fork the child: new session, standard input from /dev/null, output and errors to output_fd,
 * listen_fd (or -1) as descriptor 3, every other descriptor closed, signal handlers and mask
 * reset.  It waits for the gate and ends by itself when this process dies before.  A variable
 * PIDPROOF_PID or LISTEN_PID in `environment` gets the child's pid as its value.
 *   -EAGAIN, -ENOMEM, -ENOBUFS, -EMFILE, -ENFILE
 *   -EPERM, -EACCES, -ENOSYS  a filter forbids it */
int pp_gate_fork(const struct pp_host *host, const char *path, char **arguments,
                 char **environment, const char *directory, int32_t output_fd,
                 int32_t listen_fd, struct pp_gate *gate);

/* Let the child exec.  After this it runs or it fails; pp_gate_result tells.
 *   -EPIPE  the child is dead
 *   -EBADF  there is none, or the gate was closed
 *   -ENOMEM, -ENOBUFS */
int pp_gate_open(struct pp_gate *gate);

/* Wait up to `timeout` for the exec.  Returns 1: the child's own program runs (or the child is
 * dead); 0: it failed, *ret_stage and *ret_error (a positive errno) say where and why.
 *   -ETIMEDOUT, -EINTR, -ENOMEM */
int pp_gate_result(struct pp_gate *gate, int64_t timeout, int32_t *ret_stage,
                   int32_t *ret_error);

/* Has the child ended?  1 or 0; asked as its parent, and it is not collected.
 *   -ECHILD  there is none, or another has collected it, or SIGCHLD is ignored
 *   -EINVAL */
int pp_gate_has_ended(struct pp_gate *gate);

/* Collect the child if it has ended.  Returns 1: *ret_status is its exit status, or minus the number
 * of its signal; 0: it has not ended.
 *   -ECHILD  there is none, or another has collected it, or SIGCHLD is ignored
 *   -EINVAL, -EBADF */
int pp_gate_reap(struct pp_gate *gate, int32_t *ret_status);

/* Close our end.  A child that still waits at the gate exits without exec. */
void pp_gate_close(struct pp_gate *gate);
