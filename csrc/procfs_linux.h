/* SPDX-License-Identifier: MIT
 * Reading and parsing /proc by number.  Nothing here proves whose answer it was. */
#ifndef PP_PROCFS_LINUX_H
#define PP_PROCFS_LINUX_H

#include "pp.h"

#include <dirent.h>

struct procfs_stat {
    char state;
    int32_t parent_pid, group_id, session_id, threads;
    uint32_t flags;
    uint64_t start_time;
};

static inline void
close_directory(DIR **directory)
{
    if (*directory)
        (void) closedir(*directory);
}

#define CLEANUP_DIRECTORY __attribute__((cleanup(close_directory)))

#pragma GCC visibility push(hidden)

/* Read a whole small file.
 *   -ENOBUFS          longer than `size`
 *   -ENOENT, -ESRCH   not there, or what it tells of is gone
 *   -EACCES, -EPERM   not ours to read
 *   -EIO, -EMFILE, -ENFILE, -ENOMEM */
int procfs_read(const char *path, char *buffer, size_t size, size_t *ret_size);

/* The same of a path that starts at a directory.  short_is_last: of a file that a read which is not
 * filled has come to the end of; not to be told so once more is a tenth of a scan.
 *   as procfs_read */
int procfs_read_at(int directory_fd, const char *path, int short_is_last, char *buffer,
                   size_t size, size_t *ret_size);

/* Parse /proc/<pid>/stat (proc_pid_stat(5)).  comm may hold spaces, newlines and ") (".
 *   -EPROTO  does not parse */
int procfs_parse_stat(const char *text, size_t size, struct procfs_stat *ret_stat);

/* Find "Name:" in /proc/<pid>/status; *ret_value points behind its tab, up to *ret_end.
 *   -EPROTO  not there */
int procfs_find_status(const char *text, size_t size, const char *name, const char **ret_value,
                       const char **ret_end);

/* Read /proc/<pid>/stat.
 *   -ESRCH   nothing is shown under the pid
 *   -EPROTO  does not parse
 *   -EACCES, -EPERM, -EIO, -EMFILE, -ENFILE, -ENOMEM */
int procfs_stat(int32_t pid, struct procfs_stat *ret_stat);

/* Real uid and thread group of a process or thread.
 *   as procfs_stat */
int procfs_owner(int32_t pid, uint32_t *ret_uid, int32_t *ret_thread_group);

#pragma GCC visibility pop

#endif
