/* SPDX-License-Identifier: MIT
 * Waits for the lock, begun and ended from many threads at once, for ThreadSanitizer to watch.
 *
 *     race DIRECTORY SECONDS
 *
 * Each thread has a waiter of its own, as each SpawnLock has; some hold and release the lock that
 * the others wait for.  A wait is ended asleep, awake, and in between. */
#include "pp.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>

#include "util.h"

#define THREADS 8

static struct pp_host host;
static struct pp_identity self;
static const char *path;
static int64_t until;
static int failures, waits, woken, acquired;

static void
count(int *what)
{
    (void) __atomic_fetch_add(what, 1, __ATOMIC_RELAXED);
}

static int
open_directory(void)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Take the lock and give it up, over and over. */
static void *
hold(void *argument)
{
    struct pp_lock lock = {.fd = -1};
    struct pp_holder holder;
    int directory = open_directory();
    unsigned random = (unsigned) (size_t) argument;

    while (clock_now() < until) {
        struct timespec nap = as_timespec(rand_r(&random) % 2000000);
        int r = pp_lock_try(&host, &self, directory, "test", 10 * NSEC_PER_SEC, NSEC_PER_SEC,
                            &lock, &holder);

        if (r > 0) {
            count(&acquired);
            (void) nanosleep(&nap, NULL);
            if (pp_lock_release(directory, NSEC_PER_SEC, &lock) < 0)
                count(&failures);
        } else if (r < 0 && r != -ETIMEDOUT) {
            count(&failures);
        }
        (void) nanosleep(&nap, NULL);
    }
    (void) close(directory);
    return NULL;
}

/* Wait for it for a moment, over and over; the moment is sometimes none at all. */
static void *
wait_often(void *argument)
{
    struct pp_waiter waiter = {
        .directory_fd = -1, .event_fd = -1, .notify_fd = -1, .turn_fd = -1, .life_fd = -1};
    int directory = open_directory();
    unsigned random = (unsigned) (size_t) argument;

    while (clock_now() < until) {
        struct pollfd item = {.events = POLLIN};
        int r = pp_waiter_start(directory, &waiter);

        if (r < 0) {
            count(&failures);
            break;
        }
        count(&waits);
        item.fd = waiter.event_fd;
        if (poll(&item, 1, (int) (rand_r(&random) % 4)) > 0)
            count(&woken);
        pp_waiter_stop(&waiter, (int) (rand_r(&random) & 1));
    }
    pp_waiter_stop(&waiter, 0);
    (void) close(directory);
    return NULL;
}

int
main(int argc, char **argv)
{
    pthread_t threads[THREADS];

    if (argc != 3 || pp_host_read(0, &host) < 0 ||
        pp_process_identify(&host, getpid(), &self) < 0)
        return 2;
    path = argv[1];
    until = clock_after(atoi(argv[2]) * NSEC_PER_SEC);
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, i < 2 ? hold : wait_often, (void *) (i + 1)))
            return 2;
    for (size_t i = 0; i < THREADS; i++)
        (void) pthread_join(threads[i], NULL);
    (void) printf("%d acquired, %d waits, %d woken, %d failures\n", acquired, waits, woken,
                  failures);
    return failures || !acquired || !waits || !woken;
}
