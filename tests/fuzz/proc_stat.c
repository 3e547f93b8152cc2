/* SPDX-License-Identifier: MIT
 * /proc/<pid>/stat: the name of a process, which it chooses itself, forges none of its fields. */
#include "procfs_linux.c"

#include "fuzz.h"

static void
check_text(const uint8_t *data, size_t size)
{
    struct procfs_stat stat = {.threads = -7};
    int r = procfs_parse_stat((const char *) data, size, &stat);

    CHECK(r == 0 || r == -EPROTO);
    CHECK(r == 0 || stat.threads == -7);
}

static void
check_struct(const uint8_t *data, size_t size)
{
    struct procfs_stat stat = {0}, again;
    char text[512];
    int used;

    stat.state = "RSDTtZXI"[take_number(&data, &size, 1) % 8];
    stat.parent_pid = (int32_t) (take_number(&data, &size, 4) & INT32_MAX);
    stat.group_id = (int32_t) (take_number(&data, &size, 4) & INT32_MAX) - 1;
    stat.session_id = (int32_t) (take_number(&data, &size, 4) & INT32_MAX) - 1;
    stat.threads = (int32_t) (take_number(&data, &size, 4) & INT32_MAX);
    stat.flags = (uint32_t) take_number(&data, &size, 4);
    stat.start_time = take_number(&data, &size, 8);
    if (size > 64) /* the kernel shows 15 bytes of a name, 63 of a kernel thread's */
        size = 64;
    used = snprintf(text, 32, "17 (");
    memcpy(text + used, data, size);
    used += (int) size;
    used += snprintf(text + used, sizeof(text) - (size_t) used,
                     ") %c %d %d %d 34816 -1 %u 1 2 3 4 5 6 -7 8 20 0 %d 0 %llu 9 10\n",
                     stat.state, stat.parent_pid, stat.group_id, stat.session_id, stat.flags,
                     stat.threads, (unsigned long long) stat.start_time);
    CHECK(procfs_parse_stat(text, (size_t) used, &again) == 0);
    CHECK(again.state == stat.state && again.parent_pid == stat.parent_pid &&
          again.group_id == stat.group_id && again.session_id == stat.session_id &&
          again.threads == stat.threads && again.flags == stat.flags &&
          again.start_time == stat.start_time);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_text(data, size);
    check_struct(data, size);
    return 0;
}
