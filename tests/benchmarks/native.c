/* SPDX-License-Identifier: MIT
 * The native functions, called from C as Python calls them, to have their instructions counted.
 *   echo 'compare 100' | valgrind --tool=callgrind ./native PID DIRECTORY
 * Compiled with csrc/.  Without pidfds, of which valgrind before 3.21 knows nothing: so that a count
 * does not depend on its version. */
#include "pp.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct pp_host host;
static struct pp_identity self, other;
static char token[PP_TOKEN_SIZE], text[1 << 16];
static int pid, directory;

static int
compare(void)
{
    int32_t reason;

    return pp_process_compare(&host, &other, &reason) == PP_ALIVE ? 0 : -ESRCH;
}

static int
identify(void)
{
    return pp_process_identify(&host, pid, &other);
}

static int
argv_of(void)
{
    size_t size;

    return pp_process_read(&host, &other, PP_TEXT_ARGV, text, sizeof(text), &size);
}

static int
lock(void)
{
    struct pp_lock lock = {.fd = -1};
    struct pp_holder holder;
    int r =
        pp_lock_try(&host, &self, directory, "bench", 1000000000, 1000000000, &lock, &holder);

    return r < 0 ? r : pp_lock_release(directory, 1000000000, &lock);
}

static int
format(void)
{
    return pp_token_format(&other, token, sizeof(token));
}

static int
parse(void)
{
    struct pp_identity parsed;

    return pp_token_parse(token, strlen(token), &parsed);
}

static int
scan(void)
{
    static const char argument[] = "an argument that nobody has";
    int32_t pids[16];
    size_t count;

    return pp_process_scan(&host, geteuid(), argument, sizeof(argument), "", 0, pids, 16,
                           &count);
}

static const struct {
    const char *name;
    int (*act)(void);
} acts[] = {
    {"compare", compare}, {"identify", identify}, {"argv", argv_of}, {"lock", lock},
    {"format", format},   {"parse", parse},       {"scan", scan},
};

int
main(int argc, char **argv)
{
    char name[64];
    int count, r;

    if (argc != 3)
        return fprintf(stderr, "usage: native PID DIRECTORY\n"), 2;
    pid = atoi(argv[1]);
    directory = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = pp_host_read(PP_HAS_PIDFD | PP_HAS_PIDFS, &host);
    if (r == 0)
        r = pp_process_identify(&host, getpid(), &self);
    if (r == 0)
        r = identify();
    if (r == 0)
        r = format();
    while (r >= 0 && scanf("%63s %d", name, &count) == 2)
        for (size_t n = 0; n < sizeof(acts) / sizeof(acts[0]); n++)
            if (strcmp(name, acts[n].name) == 0)
                for (int i = 0; i < count && r >= 0; i++)
                    r = acts[n].act();
    if (r < 0)
        fprintf(stderr, "native: %s\n", strerror(-r));
    return r < 0;
}
