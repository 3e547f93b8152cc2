/* SPDX-License-Identifier: MIT
 * /proc/<pid>/status: a value lies inside the text, and the name of a process forges no line. */
#include "procfs_linux.c"

#include "fuzz.h"

static void
check_text(const char *text, size_t size)
{
    const char *value = NULL, *end = NULL;
    uint32_t uid = 7;
    int32_t group = -7;
    int r = procfs_find_status(text, size, "Uid", &value, &end);

    CHECK(r == 0 || r == -EPROTO);
    if (r == 0) {
        CHECK(text + 4 <= value && value <= end && end <= text + size);
        CHECK(memcmp(value - 4, "Uid:", 4) == 0 &&
              !memchr(value, '\n', (size_t) (end - value)));
    }
    r = parse_owner(text, size, &uid, &group);
    CHECK(r == 0 || (r == -EPROTO && uid == 7 && group == -7));
}

static void
check_struct(const uint8_t *data, size_t size)
{
    int32_t group = (int32_t) (take_number(&data, &size, 4) & INT32_MAX), again_group;
    uint32_t uid = (uint32_t) take_number(&data, &size, 4), again;
    char text[512];
    int used = snprintf(text, 32, "Name:\t");

    for (size_t i = 0; i < size && i < 64; i++) {
        if (data[i] == '\n' || data[i] == '\\') { /* as the kernel does */
            text[used++] = '\\';
            text[used++] = data[i] == '\n' ? 'n' : '\\';
        } else {
            text[used++] = (char) data[i];
        }
    }
    used +=
        snprintf(text + used, sizeof(text) - (size_t) used,
                 "\nState:\tS (sleeping)\nTgid:\t%d\nPid:\t9\nUid:\t%u\t1\t2\t3\nGid:\t4\n",
                 group, uid);
    CHECK(parse_owner(text, (size_t) used, &again, &again_group) == 0);
    CHECK(again == uid && again_group == group);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_text((const char *) data, size);
    check_struct(data, size);
    return 0;
}
