/* SPDX-License-Identifier: MIT
 * The processes that a test makes up. */
#define _GNU_SOURCE
#include "xnu.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ENTRIES 2048

static struct entry *entries[ENTRIES];
static void (*the_hook)(const char *, int32_t);
static int32_t caller = -1;
int xnu_has_unique = 1, xnu_has_audit = 1;
char xnu_boot_id[40];

void
xnu_set_hook(void (*hook)(const char *call, int32_t pid))
{
    the_hook = hook;
}

/* Before each answer about a process of the table. */
void
xnu_hook(const char *call, int32_t pid)
{
    if (the_hook && xnu_find(pid))
        the_hook(call, pid);
}

struct entry *
xnu_find(int32_t pid)
{
    for (int i = 0; i < ENTRIES && pid > 0; i++)
        if (entries[i] && entries[i]->process.pid == pid)
            return entries[i];
    return NULL;
}

int
xnu_table(int index, int32_t *pid)
{
    if (index < 0 || index >= ENTRIES)
        return 0;
    *pid = entries[index] ? entries[index]->process.pid : 0;
    return 1;
}

static void
set(struct raw *raw, const char *data, size_t size)
{
    free(raw->data);
    raw->data = malloc(size + 1);
    memcpy(raw->data, data, size);
    raw->size = size;
}

struct process *
xnu_add(int32_t pid)
{
    struct entry *entry = xnu_find(pid);

    if (entry)
        return &entry->process;
    for (int i = 0; i < ENTRIES; i++) {
        if (entries[i])
            continue;
        entry = entries[i] = calloc(1, sizeof(*entry));
        entry->process.pid = pid;
        entry->process.exit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        return &entry->process;
    }
    abort();
}

void
xnu_remove(int32_t pid)
{
    for (int i = 0; i < ENTRIES; i++) {
        if (!entries[i] || entries[i]->process.pid != pid)
            continue;
        xnu_exit(pid);
        close(entries[i]->process.exit_fd);
        free(entries[i]->area.data);
        free(entries[i]->kinfo.data);
        free(entries[i]->unique.data);
        free(entries[i]);
        entries[i] = NULL;
    }
}

void
xnu_clear(void)
{
    int32_t pid;

    for (int i = 0; xnu_table(i, &pid); i++)
        if (pid)
            xnu_remove(pid);
    the_hook = NULL;
    caller = -1;
    xnu_has_unique = xnu_has_audit = 1;
    xnu_boot_id[0] = '\0';
}

void
xnu_set_area(int32_t pid, const char *area, size_t size)
{
    set(&xnu_find(pid)->area, area, size);
}

void
xnu_set_path(int32_t pid, const char *path)
{
    strncpy(xnu_find(pid)->path, path, sizeof(xnu_find(pid)->path) - 1);
}

void
xnu_set_raw(int32_t pid, const char *kinfo, size_t kinfo_size, const char *unique,
            size_t unique_size)
{
    set(&xnu_find(pid)->kinfo, kinfo, kinfo_size);
    set(&xnu_find(pid)->unique, unique, unique_size);
}

void
xnu_exit(int32_t pid)
{
    uint64_t one = 1;

    if (write(xnu_find(pid)->process.exit_fd, &one, sizeof(one)) < 0)
        return;
}

void
xnu_set_kernel(int has_unique, int has_audit, int32_t caller_uid)
{
    xnu_has_unique = has_unique;
    xnu_has_audit = has_audit;
    caller = caller_uid;
}

void
xnu_set_boot(const char *boot_id)
{
    strncpy(xnu_boot_id, boot_id, sizeof(xnu_boot_id) - 1);
}

uint32_t
xnu_caller(void)
{
    return caller < 0 ? geteuid() : (uint32_t) caller;
}
