/* SPDX-License-Identifier: MIT
 * The C alone, linked statically against another C library than that of any CPython here: identify,
 * print and parse a token, take and release the lock, start a child behind the gate, signal it.
 *
 *     core DIRECTORY */
#include "pp.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int passed;

static int
check(int is_right, const char *what)
{
    if (is_right)
        passed++;
    else
        (void) printf("failed: %s (errno %d)\n", what, errno);
    return is_right;
}

#define CHECK(condition)                                                                      \
    do                                                                                        \
        if (!check(condition, #condition))                                                    \
            return 1;                                                                         \
    while (0)

static int
try_identity(const struct pp_host *host, struct pp_identity *self)
{
    char token[PP_TOKEN_SIZE], argv[4096];
    struct pp_identity parsed;
    int32_t reason;
    size_t size;

    CHECK(pp_process_identify(host, getpid(), self) == 0);
    CHECK(self->pid == getpid() && self->start_time > 0);
    CHECK(pp_token_format(self, token, sizeof(token)) == 0);
    CHECK(pp_token_parse(token, strlen(token), &parsed) == 0);
    CHECK(parsed.pid == self->pid && parsed.start_time == self->start_time);
    CHECK(parsed.unique_id == self->unique_id && !strcmp(parsed.boot_id, self->boot_id));
    CHECK(pp_process_compare(host, &parsed, &reason) == PP_ALIVE && reason == PP_SAME_PROCESS);
    parsed.start_time++;
    parsed.unique_id += parsed.unique_id ? 1 : 0;
    CHECK(pp_process_compare(host, &parsed, &reason) == PP_GONE && reason == PP_OTHER_PROCESS);
    CHECK(pp_token_parse("pidproof:2:x", 12, &parsed) == -EPROTONOSUPPORT);
    CHECK(pp_process_read(host, self, PP_TEXT_ARGV, argv, sizeof(argv), &size) == 0 &&
          size > 2);
    return 0;
}

static int
try_lock(const struct pp_host *host, const struct pp_identity *self, int directory)
{
    struct pp_lock lock = {.fd = -1, .guard = {.fd = -1}}, other = lock;
    struct pp_guard guard = {.fd = -1};
    struct pp_holder holder;

    CHECK(pp_lock_try(host, self, directory, "test", 1000000000, 1000000000, &lock, &holder) ==
          PP_FOUND_FREE);
    CHECK(pp_lock_try(host, self, directory, "test", 1, 1000000000, &other, &holder) == 0);
    CHECK(holder.liveness == PP_ALIVE && !strcmp(holder.nonce, lock.nonce));
    CHECK(pp_guard_enter(directory, 1000000000, &guard) == 0);
    CHECK(pp_lock_mine(directory, &lock) == 1);
    pp_guard_leave(&guard);
    CHECK(pp_lock_release(directory, 1000000000, &lock) == 1);
    CHECK(pp_lock_look(host, directory, &holder) == 0);
    return 0;
}

static int
try_gate(const struct pp_host *host, int directory)
{
    char *arguments[] = {(char *) "sleep", (char *) "1000", NULL}, *environment[] = {NULL};
    struct pp_gate gate = {.pid_fd = -1, .fd = -1};
    int output = openat(directory, "output", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct pp_identity child;
    int32_t stage, error, status, fd, reason;
    struct pp_status seen;

    CHECK(output >= 0);
    CHECK(pp_gate_fork(host, "/bin/sleep", arguments, environment, "/", output, -1, &gate) ==
          0);
    CHECK(pp_process_identify(host, gate.pid, &child) == 0);
    CHECK(pp_gate_open(&gate) == 0);
    CHECK(pp_gate_result(&gate, 10000000000, &stage, &error) == 1);
    CHECK(pp_process_open(host, &child, &fd, &reason) == PP_ALIVE);
    CHECK(pp_pid_status(host, gate.pid, &seen) == 0 && seen.session_id == gate.pid);
    CHECK(pp_gate_has_ended(&gate) == 0);
    CHECK(pp_process_signal(host, &child, fd, SIGTERM, PP_SCOPE_PROCESS) == 0);
    if (fd >= 0) {
        struct pollfd event = {.fd = fd, .events = POLLIN};

        CHECK(poll(&event, 1, 10000) == 1);
        (void) close(fd);
    }
    while ((error = pp_gate_reap(&gate, &status)) == 0)
        (void) poll(NULL, 0, 1); /* without pidfds there is no event */
    CHECK(error == 1 && status == -SIGTERM);
    CHECK(pp_process_compare(host, &child, &reason) == PP_GONE);
    pp_gate_close(&gate);
    (void) close(output);
    return 0;
}

int
main(int argc, char **argv)
{
    int directory = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    struct pp_identity self;
    struct pp_host host;

    if (directory < 0)
        return 2;
    CHECK(pp_host_read(0, &host) == 0);
    if (try_identity(&host, &self) || try_lock(&host, &self, directory) ||
        try_gate(&host, directory))
        return 1;
    (void) printf("%d checks of the C\n", passed);
    return 0;
}
