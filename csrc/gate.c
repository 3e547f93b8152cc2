/* SPDX-License-Identifier: MIT
 * The fork behind a gate: a child that exists, has its final pid and start time, and cannot run a
 * single instruction of the server before its record is written.
 *
 * The gate is one end of a socket pair.  A byte opens it, end of file closes it for ever.  A failed
 * exec answers on it, a successful one closes it.  Between fork and exec only async-signal-safe
 * calls are made. */
#include "pp.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "forking.h"
#include "util.h"

#define OWN_PID "PIDPROOF_PID="
#define LISTEN_PID "LISTEN_PID="
#define PID_VARIABLE_SIZE 32

struct report {
    int32_t stage, error;
};

/* Everything the child needs, gathered before the fork. */
struct plan {
    const char *path, *directory;
    char **arguments, **environment;
    int gate, peer, parent_fd, output_fd, listen_fd;
    pid_t parent;
};

/* ------------------------------------------------------------------------------- in the child */

static _Noreturn void
fail(int gate, int32_t stage, int error)
{
    struct report report = {.stage = stage, .error = error};

    (void) system_send(gate, &report, sizeof(report));
    _exit(127);
}

/* Out of the way of the descriptors that the program will find below `floor`.  Only where it is in
 * the way: a caller with few descriptors to spare has none for a needless copy. */
static int
move_up(int *fd, int floor)
{
    int moved;

    if (*fd < 0 || *fd >= floor)
        return 0;
    moved = nerrno(fcntl(*fd, F_DUPFD_CLOEXEC, floor));
    if (moved < 0)
        return moved;
    close_fd(fd);
    *fd = moved;
    return 0;
}

static void
reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        (void) sigaction(number, &action, NULL); /* fails for SIGKILL and for libc's own */
    (void) sigemptyset(&none);
    (void) sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Standard streams and the listening socket in place, all else closed but what the gate needs.
 * A caller without standard streams of its own has these descriptors among 0 to 2. */
static int
arrange_descriptors(struct plan *plan)
{
    int *const kept[] = {&plan->gate, &plan->parent_fd, &plan->output_fd, &plan->listen_fd};
    int null, r, floor = plan->listen_fd >= 0 ? 4 : 3;

    close_fd(&plan->peer); /* room for one more */
    for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++) {
        r = move_up(kept[i], floor);
        if (r < 0)
            return r;
    }
    null = open("/dev/null", O_RDWR | O_NOCTTY);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(plan->output_fd, STDOUT_FILENO) < 0 ||
        dup2(plan->output_fd, STDERR_FILENO) < 0)
        return -errno;
    if (plan->listen_fd >= 0 && dup2(plan->listen_fd, 3) < 0)
        return -errno;
    if (null >= floor)
        (void) close(null); /* room again: listing what is open takes one */
    return forking_close_all(floor, plan->gate, plan->parent_fd);
}

/* Blocks until the gate opens; does not return if it closes. */
static void
wait_at_gate(const struct plan *plan)
{
    char byte;
    ssize_t n;

    for (;;) {
        struct pollfd items[] = {{.fd = plan->gate, .events = POLLIN},
                                 {.fd = plan->parent_fd, .events = POLLIN}};
        /* A fork of our parent may hold its end of the gate open past its death, so that is
         * watched for itself: by an event, or where there is none by asking who our parent is. */
        int r;

        if (getppid() != plan->parent)
            _exit(127);
        r = poll(items, 2, plan->parent_fd >= 0 ? -1 : 200);
        if (r < 0 && errno != EINTR)
            _exit(127);
        n = recv(plan->gate, &byte, 1, MSG_DONTWAIT);
        if (n == 1)
            return;
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            _exit(127);
        if (items[1].revents)
            _exit(127);
    }
}

/* "NAME=" and a pid, without stdio: another thread may have held its locks when we were forked. */
static void
write_pid(char *text, const char *name, pid_t pid)
{
    char digits[16];
    size_t count = 0;

    while (*name)
        *text++ = *name++;
    do
        digits[count++] = (char) ('0' + pid % 10);
    while ((pid /= 10) > 0);
    while (count > 0)
        *text++ = digits[--count];
    *text = '\0';
}

/* The child's pid is known only here; it replaces the value that the parent left empty. */
static void
fill_in_pid(char **environment, char own[PID_VARIABLE_SIZE], char listen[PID_VARIABLE_SIZE])
{
    for (; *environment; environment++) {
        if (strncmp(*environment, OWN_PID, sizeof(OWN_PID) - 1) == 0) {
            write_pid(own, OWN_PID, getpid());
            *environment = own;
        } else if (strncmp(*environment, LISTEN_PID, sizeof(LISTEN_PID) - 1) == 0) {
            write_pid(listen, LISTEN_PID, getpid());
            *environment = listen;
        }
    }
}

static _Noreturn void
child(struct plan *plan)
{
    char own[PID_VARIABLE_SIZE], listen[PID_VARIABLE_SIZE];
    int r;

    if (setsid() < 0)
        fail(plan->gate, PP_STAGE_SESSION, errno);
    r = arrange_descriptors(plan);
    if (r < 0)
        fail(plan->gate, PP_STAGE_STDIO, -r);
    if (forking_watch_parent(plan->parent, &plan->parent_fd) < 0)
        _exit(127);
    if (plan->directory && chdir(plan->directory) < 0)
        fail(plan->gate, PP_STAGE_DIRECTORY, errno);
    fill_in_pid(plan->environment, own, listen);
    wait_at_gate(plan);
    close_fd(&plan->parent_fd);
    reset_signals();
    (void) execve(plan->path, plan->arguments, plan->environment);
    fail(plan->gate, PP_STAGE_EXEC, errno);
}

/* ------------------------------------------------------------------------------ in the parent */

int
pp_gate_fork(const struct pp_host *host, const char *path, char **arguments,
             char **environment, const char *directory, int32_t output_fd, int32_t listen_fd,
             struct pp_gate *gate)
{
    CLEANUP_CLOSE int near = -EBADF, far = -EBADF, parent_fd = -EBADF;
    sigset_t all, before;
    int pair[2], r;

    r = system_socket_pair(pair);
    if (r < 0)
        return r;
    near = pair[0];
    far = pair[1];
    r = forking_pin_self(host, &parent_fd);
    if (r < 0)
        return r;
    struct plan plan = {.path = path,
                        .directory = directory,
                        .arguments = arguments,
                        .environment = environment,
                        .gate = far,
                        .peer = near,
                        .parent_fd = parent_fd,
                        .output_fd = output_fd,
                        .listen_fd = listen_fd,
                        .parent = getpid()};

    /* No handler of ours may run in the child, and the struct must be whole before one runs here. */
    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &before);
    r = forking_fork(host, &gate->pid_fd);
    if (r == 0)
        child(&plan);
    if (r > 0) {
        gate->pid = r;
        gate->fd = take_fd(&near);
    }
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r < 0 ? r : 0;
}

int
pp_gate_open(struct pp_gate *gate)
{
    int r;

    do
        r = system_send(gate->fd, "", 1);
    while (r == -EINTR);
    if (r < 0)
        return r == -ECONNRESET ? -EPIPE : r;
    return 0;
}

int
pp_gate_result(struct pp_gate *gate, int64_t timeout, int32_t *ret_stage, int32_t *ret_error)
{
    struct pollfd items[] = {{.fd = gate->fd, .events = POLLIN},
                             {.fd = gate->pid_fd, .events = POLLIN}};
    struct report report;
    ssize_t n;
    int r;

    r = nerrno(poll(items, 2, as_milliseconds(timeout)));
    if (r < 0)
        return r;
    if (r == 0)
        return -ETIMEDOUT;
    n = recv(gate->fd, &report, sizeof(report), MSG_DONTWAIT);
    if (n == (ssize_t) sizeof(report)) {
        *ret_stage = report.stage;
        *ret_error = report.error;
        return 0;
    }
    return 1;
}

int
pp_gate_has_ended(struct pp_gate *gate)
{
    return gate->pid > 0 ? forking_has_ended(gate->pid) : -ECHILD;
}

int
pp_gate_reap(struct pp_gate *gate, int32_t *ret_status)
{
    int r, status;

    if (gate->pid <= 0)
        return -ECHILD;
    r = forking_reap(gate->pid, gate->pid_fd, &status);
    if (r > 0)
        *ret_status = status;
    return r;
}

void
pp_gate_close(struct pp_gate *gate)
{
    close_fd(&gate->fd);
}
