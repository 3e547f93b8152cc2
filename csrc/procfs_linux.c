/* SPDX-License-Identifier: MIT
 * Reading and parsing /proc (proc(5), fs/proc/array.c in the kernel). */
#include "procfs_linux.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

#define PF_FORKNOEXEC 0x40 /* include/linux/sched.h: forked and did not exec */

int
procfs_read(const char *path, char *buffer, size_t size, size_t *ret_size)
{
    return procfs_read_at(AT_FDCWD, path, 0, buffer, size, ret_size);
}

int
procfs_read_at(int directory_fd, const char *path, int short_is_last, char *buffer,
               size_t size, size_t *ret_size)
{
    CLEANUP_CLOSE int fd = nerrno(openat(directory_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY));
    size_t used = 0;

    if (fd < 0)
        return fd;
    for (;;) {
        ssize_t n;

        if (used == size)
            return -ENOBUFS;
        n = read(fd, buffer + used, size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        used += (size_t) n;
        if (n == 0 || (short_is_last && used < size))
            break;
    }
    *ret_size = used;
    return 0;
}

/* The next space-separated token after *cursor. */
static int
next_word(const char **cursor, const char *end, const char **ret_word, const char **ret_end)
{
    const char *word = *cursor;

    while (word < end && (*word == ' ' || *word == '\t' || *word == '\n'))
        word++;
    *ret_word = word;
    while (word < end && *word != ' ' && *word != '\t' && *word != '\n')
        word++;
    *ret_end = *cursor = word;
    return *ret_word == word ? -EPROTO : 0;
}

/* A signed field that we keep in 32 bits: process group -1 and the like come out as -1. */
static int
parse_i32(const char *word, const char *end, int32_t *ret_value)
{
    int negative = word < end && *word == '-';
    uint64_t value;

    if (parse_u64(word + negative, end, &value) < 0 || value > INT32_MAX)
        return -EPROTO;
    *ret_value = negative ? -(int32_t) value : (int32_t) value;
    return 0;
}

int
procfs_parse_stat(const char *text, size_t size, struct procfs_stat *ret_stat)
{
    const char *end = text + size, *cursor = memrchr(text, ')', size);
    struct procfs_stat stat = {0};
    int32_t *small[] = {[4] = &stat.parent_pid,
                        [5] = &stat.group_id,
                        [6] = &stat.session_id,
                        [20] = &stat.threads};

    if (!cursor)
        return -EPROTO;
    cursor++;
    for (int field = 3; field <= 22; field++) {
        const char *word, *word_end;
        uint64_t value;
        int r = next_word(&cursor, end, &word, &word_end);

        if (r < 0)
            return r;
        switch (field) {
        case 3:
            if (word_end - word != 1)
                return -EPROTO;
            stat.state = *word;
            break;
        case 4:
        case 5:
        case 6:
        case 20:
            r = parse_i32(word, word_end, small[field]);
            if (r < 0)
                return r;
            break;
        case 9:
            if (parse_u64(word, word_end, &value) < 0 || value > UINT32_MAX)
                return -EPROTO;
            stat.flags = (uint32_t) value;
            break;
        case 22:
            if (parse_u64(word, word_end, &stat.start_time) < 0)
                return -EPROTO;
            break;
        default:
            break;
        }
    }
    *ret_stat = stat;
    return 0;
}

int
procfs_find_status(const char *text, size_t size, const char *name, const char **ret_value,
                   const char **ret_end)
{
    size_t length = strlen(name);
    const char *end = text + size;

    for (const char *line = text; line < end;) {
        const char *newline = memchr(line, '\n', (size_t) (end - line));
        const char *line_end = newline ? newline : end;

        /* comm cannot forge a line: the kernel escapes its newlines here. */
        if ((size_t) (line_end - line) > length && memcmp(line, name, length) == 0 &&
            line[length] == ':') {
            *ret_value = line + length + 1;
            *ret_end = line_end;
            return 0;
        }
        line = line_end + 1;
    }
    return -EPROTO;
}

/* A process that vanishes shows as ENOENT at open and as ESRCH at read: one meaning, one errno. */
static int
gone_is_esrch(int r)
{
    return r == -ENOENT ? -ESRCH : r;
}

int
procfs_stat(int32_t pid, struct procfs_stat *ret_stat)
{
    char path[32], text[1024];
    size_t size = 0;
    int r;

    (void) snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    r = gone_is_esrch(procfs_read(path, text, sizeof(text), &size));
    if (r < 0)
        return r == -ENOBUFS ? -EPROTO : r;
    return procfs_parse_stat(text, size, ret_stat);
}

/* Real uid and thread group as /proc/<pid>/status tells them. */
static int
parse_owner(const char *text, size_t size, uint32_t *ret_uid, int32_t *ret_thread_group)
{
    const char *value, *end, *word, *word_end;
    int32_t thread_group;
    uint64_t uid;
    int r;

    r = procfs_find_status(text, size, "Tgid", &value, &end);
    if (r < 0)
        return r;
    if (next_word(&value, end, &word, &word_end) < 0 ||
        parse_i32(word, word_end, &thread_group) < 0)
        return -EPROTO;
    r = procfs_find_status(text, size, "Uid", &value, &end);
    if (r < 0)
        return r;
    if (next_word(&value, end, &word, &word_end) < 0 || parse_u64(word, word_end, &uid) < 0 ||
        uid > UINT32_MAX)
        return -EPROTO;
    *ret_uid = (uint32_t) uid;
    *ret_thread_group = thread_group;
    return 0;
}

int
procfs_owner(int32_t pid, uint32_t *ret_uid, int32_t *ret_thread_group)
{
    char path[32];
    size_t capacity = 64 * 1024, size = 0;
    CLEANUP_FREE char *text = malloc(capacity);
    int r;

    if (!text)
        return -ENOMEM;
    (void) snprintf(path, sizeof(path), "/proc/%d/status", pid);
    /* Groups can make it long; 64 Ki hold 6,000 of them, and what we want stands before. */
    r = gone_is_esrch(procfs_read(path, text, capacity, &size));
    if (r == -ENOBUFS)
        size = capacity;
    else if (r < 0)
        return r;
    return parse_owner(text, size, ret_uid, ret_thread_group);
}

int
pp_pid_status(const struct pp_host *host, int32_t pid, struct pp_status *ret_status)
{
    struct procfs_stat stat;
    int r;

    if (!(host->features & PP_HAS_PROC))
        return -EXDEV;
    if (pid <= 0)
        return -ESRCH;
    r = procfs_stat(pid, &stat);
    if (r < 0)
        return r;
    *ret_status = (struct pp_status){
        .parent_pid = stat.parent_pid,
        .group_id = stat.group_id,
        .session_id = stat.session_id,
        .threads = stat.threads,
        .has_execed = !(stat.flags & PF_FORKNOEXEC),
        .state = stat.state,
    };
    return 0;
}
