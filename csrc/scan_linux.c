/* SPDX-License-Identifier: MIT
 * One pass over /proc for the processes whose argv and environment hold given strings. */
#include "pp.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "entries.h"
#include "procfs_linux.h"
#include "util.h"

#define TEXT_LIMIT (16U << 20) /* the kernel's own bound on argv and environment is 6 MiB */

struct text {
    char *data;
    size_t size, capacity;
};

static void
free_text(struct text *text)
{
    free(text->data);
}

/* Read <pid>/<name> into a buffer that grows; 0 with size 0 where it may not be read. */
static int
read_text(int proc_fd, int32_t pid, const char *name, struct text *text)
{
    char path[40];

    (void) snprintf(path, sizeof(path), "%d/%s", pid, name);
    for (;;) {
        /* Where these two stop, they cannot go on (fs/proc/base.c get_mm_cmdline, environ_read). */
        int r = procfs_read_at(proc_fd, path, 1, text->data, text->capacity, &text->size);
        char *larger;

        if (r == -EMFILE || r == -ENFILE || r == -ENOMEM)
            return r;
        if (r != -ENOBUFS) {
            if (r < 0)
                text->size = 0;
            return 0;
        }
        if (text->capacity >= TEXT_LIMIT) {
            text->size = 0;
            return 0;
        }
        larger = realloc(text->data, text->capacity * 4);
        if (!larger)
            return -ENOMEM;
        text->data = larger;
        text->capacity *= 4;
    }
}

/* /proc/<pid> belongs to the effective user; what is not dumpable shows root as the owner of the
 * entries below it only (task_dump_owner in fs/proc/base.c). */
static int
is_owned_by(int proc_fd, const char *name, uint32_t uid)
{
    struct stat st;

    return fstatat(proc_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_uid == uid;
}

int
pp_process_scan(const struct pp_host *host, uint32_t uid, const char *arguments,
                size_t arguments_size, const char *variables, size_t variables_size,
                int32_t *ret_pids, size_t capacity, size_t *ret_count)
{
    CLEANUP_DIRECTORY DIR *proc = NULL;
    __attribute__((cleanup(free_text))) struct text text = {0};
    size_t count = 0;
    int r;

    if (!(host->features & PP_HAS_PROC))
        return -EXDEV;
    /* Both lists end in a NUL, so that entries_have_all may walk them with strlen. */
    if ((arguments_size && arguments[arguments_size - 1]) ||
        (variables_size && variables[variables_size - 1]))
        return -EINVAL;
    text.capacity = 16 * 1024;
    text.data = malloc(text.capacity);
    if (!text.data)
        return -ENOMEM;
    proc = opendir("/proc");
    if (!proc)
        return -errno;

    for (;;) {
        struct dirent *entry;
        uint64_t pid;

        errno = 0;
        entry = readdir(proc);
        if (!entry && errno)
            return -errno;
        if (!entry)
            break;
        if (parse_u64(entry->d_name, entry->d_name + strlen(entry->d_name), &pid) < 0 ||
            pid == 0 || pid > INT32_MAX)
            continue;
        if (uid != UINT32_MAX && !is_owned_by(dirfd(proc), entry->d_name, uid))
            continue;
        if (arguments_size) {
            r = read_text(dirfd(proc), (int32_t) pid, "cmdline", &text);
            if (r < 0)
                return r;
            if (!entries_have_all(text.data, text.size, arguments, arguments_size))
                continue;
        }
        if (variables_size) {
            r = read_text(dirfd(proc), (int32_t) pid, "environ", &text);
            if (r < 0)
                return r;
            if (!entries_have_all(text.data, text.size, variables, variables_size))
                continue;
        }
        if (count == capacity)
            return -ENOBUFS;
        ret_pids[count++] = (int32_t) pid;
    }
    *ret_count = count;
    return 0;
}
