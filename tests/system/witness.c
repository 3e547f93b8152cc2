/* SPDX-License-Identifier: MIT
 * A server that bears witness to itself: witness MARKS PORT [--slow] [--stubborn] [--child]
 *
 * Its first act is to flock MARKS and to append a line to it: `start PID NANOSECONDS`, or `overlap`
 * if another of the same MARKS still has the flock.  The kernel drops the flock when the process is
 * dead, however it dies, and before anybody is told of its death.  So two that overlap by a
 * microsecond are seen, and no look has to fall between.  Its last act on SIGTERM is a line `end`.
 *
 * --slow: listens after a while.  --stubborn: ignores SIGTERM.  --child: has a child in its session,
 * with the same flock.  While MARKS.flaky exists, every eighth fails to start. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 64

static int marks;

static void
mark(const char *what)
{
    struct timespec now;
    char line[80];
    int length;

    clock_gettime(CLOCK_MONOTONIC, &now);
    length = snprintf(line, sizeof(line), "%s %d %lld\n", what, getpid(),
                      (long long) now.tv_sec * 1000000000 + now.tv_nsec);
    if (write(marks, line, (size_t) length) != length)
        abort();
}

static void
end(int number)
{
    (void) number;
    mark("end");
    _exit(0);
}

static int
has(int argc, char **argv, const char *option)
{
    for (int i = 3; i < argc; i++)
        if (strcmp(argv[i], option) == 0)
            return 1;
    return 0;
}

static int
listen_on(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((unsigned short) atoi(port))};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *) &address, sizeof(address)) || listen(fd, 1024))
        exit(3);
    return fd;
}

/* Many at once: one client that was stopped must not keep the others waiting. */
static void
serve(int listener)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    struct pollfd items[CONNECTIONS] = {{.fd = listener, .events = POLLIN}};
    char request[4096];
    nfds_t count = 1, oldest = 0;

    for (;;) {
        poll(items, count, -1);
        for (nfds_t i = count - 1; i > 0; i--) {
            if (!items[i].revents)
                continue;
            if (read(items[i].fd, request, sizeof(request)) > 0)
                (void) !write(items[i].fd, answer, sizeof(answer) - 1);
            close(items[i].fd);
            items[i] = items[--count];
        }
        if (!items[0].revents)
            continue;
        if (count == CONNECTIONS) {
            oldest = oldest % (CONNECTIONS - 1) + 1;
            close(items[oldest].fd);
            items[oldest] = items[--count];
        }
        items[count] = (struct pollfd){.fd = accept(listener, NULL, NULL), .events = POLLIN};
        count++;
    }
}

int
main(int argc, char **argv)
{
    char flaky[4096];
    int is_alone;

    marks = open(argv[1], O_RDWR | O_CREAT | O_APPEND, 0600);
    is_alone = marks >= 0 && flock(marks, LOCK_EX | LOCK_NB) == 0;
    mark(is_alone ? "start" : "overlap");
    signal(SIGTERM, has(argc, argv, "--stubborn") ? SIG_IGN : end);
    signal(SIGPIPE, SIG_IGN);
    snprintf(flaky, sizeof(flaky), "%s.flaky", argv[1]);
    if (getpid() % 8 == 0 && access(flaky, F_OK) == 0)
        return 1;
    if (has(argc, argv, "--child") && fork() == 0) {
        signal(SIGTERM, SIG_DFL);
        for (;;)
            pause();
    }
    if (has(argc, argv, "--slow"))
        usleep((useconds_t) (getpid() % 16) * 20000);
    serve(listen_on(argv[2]));
}
