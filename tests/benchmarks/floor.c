/* SPDX-License-Identifier: MIT
 * The floor: what the kernel alone charges for the acts that pidproof is measured by.
 *   cc -O2 -o floor floor.c && echo 'compare 2000' | ./floor PID DIRECTORY RECORD PORT
 * Reads lines "ACT COUNT" and answers each with the nanoseconds that all of them took.  Runs beside
 * the measured code and takes turns with it: figures of two runs are never compared. */
#define _GNU_SOURCE
#include <errno.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#define SYS_pidfd_send_signal 424
#endif

static char buffer[1 << 16], stat_path[64], status_path[64], cmdline_path[64];
static const char *record_path;
static int pid, directory, held, port;

static long long
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void
must(long result)
{
    if (result < 0) {
        perror("floor");
        exit(1);
    }
}

static void
slurp(int at, const char *path)
{
    int fd = openat(at, path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return; /* it went while we looked */
    while (read(fd, buffer, sizeof(buffer)) > 0)
        continue;
    close(fd);
}

static int
pin(void)
{
    struct stat st;
    int fd = (int) syscall(SYS_pidfd_open, pid, 0);

    must(fd);
    fstat(fd, &st);
    return fd;
}

static void
poll_pin(int fd)
{
    struct pollfd item = {fd, POLLIN, 0};

    poll(&item, 1, 0);
}

static void
pin_and_close(void)
{
    close(pin());
}

static void
compare(void)
{
    int fd = pin();

    poll_pin(fd);
    close(fd);
}

/* Without pidfds. */
static void
by_number(void)
{
    must(kill(pid, 0));
    slurp(AT_FDCWD, stat_path);
}

static void
poll_held(void)
{
    poll_pin(held);
}

static void
signal_held(void)
{
    must(syscall(SYS_pidfd_send_signal, held, SIGCONT, NULL, 0));
}

static void
identify(void)
{
    int fd = pin();

    slurp(AT_FDCWD, status_path);
    slurp(AT_FDCWD, stat_path);
    poll_pin(fd);
    close(fd);
}

static void
argv_of(void)
{
    int fd = pin();

    poll_pin(fd);
    slurp(AT_FDCWD, cmdline_path);
    poll_pin(fd);
    close(fd);
}

static void
stat_and_cmdline(void)
{
    slurp(AT_FDCWD, stat_path);
    slurp(AT_FDCWD, cmdline_path);
}

static int
enter_guard(void)
{
    int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    must(flock(fd, LOCK_EX));
    return fd;
}

static void
leave_guard(int fd)
{
    flock(fd, LOCK_UN);
    close(fd);
}

static void
lock(void)
{
    int guard = enter_guard();
    int fd = openat(directory, "floor", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

    must(write(fd, buffer, 160));
    leave_guard(guard);
    close(fd);
    guard = enter_guard();
    unlinkat(directory, "floor", 0);
    leave_guard(guard);
}

/* Every system call that our lock makes, and nothing between them. */
static void
lock_all(void)
{
    struct stat st;
    int guard = enter_guard(), fd;

    must(syscall(SYS_getrandom, buffer, 16, 0));
    getpid();
    fd = openat(directory, "floor", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    must(flock(fd, LOCK_EX | LOCK_NB));
    fstat(fd, &st);
    must(write(fd, buffer, 160));
    leave_guard(guard);
    getpid();
    guard = enter_guard();
    flock(fd, LOCK_UN);
    getpid();
    fstatat(directory, "floor", &st, AT_SYMLINK_NOFOLLOW);
    must(pread(fd, buffer, 512, 0));
    unlinkat(directory, "floor", 0);
    leave_guard(guard);
    close(fd);
}

static void
record(void)
{
    struct stat st;
    int fd = open(record_path, O_RDONLY | O_CLOEXEC);

    must(fd);
    fstat(fd, &st);
    must(read(fd, buffer, sizeof(buffer)));
    close(fd);
    compare();
}

static void
get(void)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((unsigned short) port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    must(connect(fd, (struct sockaddr *) &address, sizeof(address)));
    must(write(fd, request, sizeof(request) - 1));
    must(read(fd, buffer, sizeof(buffer)));
    close(fd);
}

static void
scan(void)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;

    while (proc && (entry = readdir(proc))) {
        struct stat st;
        char path[280];
        int fd;

        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
            fstatat(dirfd(proc), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        snprintf(path, sizeof(path), "%s/cmdline", entry->d_name);
        fd = openat(dirfd(proc), path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            if (read(fd, buffer, sizeof(buffer)) < 0)
                errno = 0; /* it has exited since */
            close(fd);
        }
    }
    closedir(proc);
}

/* From the last instruction of a process to the return of the poll that waits for it. */
static long long
wake(void)
{
    long long *left =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct timespec nap = {0, 3000000}; /* until the parent is asleep */
    struct pollfd item = {-1, POLLIN, 0};
    long long woken;
    int child = fork();

    if (child == 0) {
        nanosleep(&nap, NULL);
        *left = now();
        _exit(0);
    }
    item.fd = (int) syscall(SYS_pidfd_open, child, 0);
    poll(&item, 1, -1);
    woken = now() - *left;
    close(item.fd);
    waitpid(child, NULL, 0);
    munmap(left, 4096);
    return woken;
}

static const struct {
    const char *name;
    void (*act)(void);
} acts[] = {
    {"pin", pin_and_close},   {"compare", compare},
    {"poll_held", poll_held}, {"signal", signal_held},
    {"identify", identify},   {"argv", argv_of},
    {"by_number", by_number}, {"stat_and_cmdline", stat_and_cmdline},
    {"lock", lock},           {"lock_all", lock_all},
    {"record", record},       {"get", get},
    {"scan", scan},
};

static long long
run(const char *name, int count)
{
    long long began, total = 0;

    if (strcmp(name, "wake") == 0) {
        for (int i = 0; i < count; i++)
            total += wake();
        return total;
    }
    for (size_t n = 0; n < sizeof(acts) / sizeof(acts[0]); n++)
        if (strcmp(name, acts[n].name) == 0) {
            began = now();
            for (int i = 0; i < count; i++)
                acts[n].act();
            return now() - began;
        }
    fprintf(stderr, "floor: no act %s\n", name);
    exit(2);
}

int
main(int argc, char **argv)
{
    char name[64];
    int count;

    if (argc != 5)
        return fprintf(stderr, "usage: floor PID DIRECTORY RECORD PORT\n"), 2;
    pid = atoi(argv[1]);
    directory = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(directory);
    record_path = argv[3];
    port = atoi(argv[4]);
    snprintf(stat_path, sizeof(stat_path), "/proc/%d/stat", pid);
    snprintf(status_path, sizeof(status_path), "/proc/%d/status", pid);
    snprintf(cmdline_path, sizeof(cmdline_path), "/proc/%d/cmdline", pid);
    held = (int) syscall(SYS_pidfd_open, pid, 0); /* -1 under valgrind */
    while (scanf("%63s %d", name, &count) == 2) {
        printf("%lld\n", run(name, count));
        fflush(stdout);
    }
    return 0;
}
