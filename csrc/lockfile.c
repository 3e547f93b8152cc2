/* SPDX-License-Identifier: MIT
 * The files in a key's directory that are ours, and the one line that a lock file holds. */
#include "lockfile.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "util.h"

#define PREFIX "pidproof-lock "
#define VERSION 1

/* -------------------------------------------------------------------------------------- line */

static int
is_nonce(const char *text, size_t size)
{
    if (size != PP_NONCE_SIZE - 1)
        return 0;
    for (size_t i = 0; i < size; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
            return 0;
    return 1;
}

int
lockfile_is_purpose(const char *text, size_t size)
{
    if (size == 0 || size > PP_PURPOSE_SIZE - 1)
        return 0;
    for (size_t i = 0; i < size; i++)
        if (!((text[i] >= 'a' && text[i] <= 'z') || text[i] == '-'))
            return 0;
    return 1;
}

static const char *
word_end(const char *word, const char *end)
{
    const char *space = memchr(word, ' ', (size_t) (end - word));

    return space ? space : end;
}

int
lockfile_parse(const char *text, size_t size, struct pp_holder *ret_holder)
{
    struct pp_holder holder = {0};
    const char *word, *stop, *end;
    uint64_t version, since, deadline;
    int r;

    /* The line is written in one piece: without its newline it was never finished. */
    if (size <= strlen(PREFIX) || size >= LOCK_LINE_SIZE || text[size - 1] != '\n' ||
        memcmp(text, PREFIX, strlen(PREFIX)) != 0)
        return -EINVAL;
    word = text + strlen(PREFIX);
    end = text + size - 1;
    stop = word_end(word, end);
    if (parse_u64(word, stop, &version) < 0)
        return -EINVAL;
    if (version != VERSION)
        return -EPROTONOSUPPORT;

    if (stop == end)
        return -EINVAL;
    word = stop + 1;
    stop = word_end(word, end);
    if (!is_nonce(word, (size_t) (stop - word)) || stop == end)
        return -EINVAL;
    memcpy(holder.nonce, word, PP_NONCE_SIZE - 1);

    word = stop + 1;
    stop = word_end(word, end);
    r = pp_token_parse(word, (size_t) (stop - word), &holder.identity);
    if (r < 0)
        return r;

    if (stop == end)
        return -EINVAL;
    word = stop + 1;
    stop = word_end(word, end);
    if (parse_u64(word, stop, &since) < 0 || since > INT64_MAX || stop == end)
        return -EINVAL;
    word = stop + 1;
    stop = word_end(word, end);
    if (parse_u64(word, stop, &deadline) < 0 || deadline > INT64_MAX || stop == end)
        return -EINVAL;
    holder.since = (int64_t) since;
    holder.deadline = (int64_t) deadline;

    word = stop + 1;
    if (!lockfile_is_purpose(word, (size_t) (end - word)))
        return -EINVAL;
    memcpy(holder.purpose, word, (size_t) (end - word));
    *ret_holder = holder;
    return 0;
}

/* -------------------------------------------------------------------------------------- file */

int
is_own(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() && st->st_nlink <= 1;
}

int
open_own(int directory_fd, const char *name, int flags)
{
    CLEANUP_CLOSE int fd =
        nerrno(openat(directory_fd, name,
                      flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600));
    struct stat st;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    return is_own(&st) ? take_fd(&fd) : -EPERM;
}

int
lockfile_read(int fd, char text[LOCK_LINE_SIZE], size_t *ret_size)
{
    ssize_t size;

    do
        size = pread(fd, text, LOCK_LINE_SIZE, 0);
    while (size < 0 && errno == EINTR);
    if (size < 0)
        return -errno;
    *ret_size = (size_t) size;
    return 0;
}

int
lockfile_write(int fd, const struct pp_holder *holder)
{
    char token[PP_TOKEN_SIZE], line[LOCK_LINE_SIZE];
    int length, r;
    ssize_t written;

    r = pp_token_format(&holder->identity, token, sizeof(token));
    if (r < 0)
        return r;
    length =
        snprintf(line, sizeof(line), PREFIX "%d %s %s %" PRId64 " %" PRId64 " %s\n", VERSION,
                 holder->nonce, token, holder->since, holder->deadline, holder->purpose);
    if (length < 0 || (size_t) length >= sizeof(line))
        return -ENOBUFS;
    /* One write: whoever reads sees none of it or all of it, and a short one is a full disk. */
    do
        written = write(fd, line, (size_t) length);
    while (written < 0 && errno == EINTR);
    if (written < 0)
        return -errno;
    return written == length ? 0 : -ENOSPC;
}
