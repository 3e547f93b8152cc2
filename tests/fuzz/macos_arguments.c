/* SPDX-License-Identifier: MIT
 * What KERN_PROCARGS2 of macOS answers: arguments and environment lie inside, in that order, and
 * there are as many arguments as it says. */
#include "procargs.c"

#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *area = (const char *) data, *end = area + size;
    struct procargs found = {.argv_size = 7};
    int32_t said, count = 0;
    int r = procargs_parse(area, size, &found);

    CHECK(r == 0 || (r == -EPROTO && found.argv_size == 7));
    if (r < 0)
        return 0;
    CHECK(found.argv >= area + 4 && found.argv <= end);
    CHECK(found.argv_size <= (size_t) (end - found.argv));
    memcpy(&said, area, sizeof(said));
    for (size_t i = 0; i < found.argv_size; i++)
        count += found.argv[i] == '\0';
    CHECK(count == said && (count == 0 || !found.argv[found.argv_size - 1]));
    CHECK(found.environment == found.argv + found.argv_size);
    CHECK(found.environment_size <= (size_t) (end - found.environment));
    CHECK(found.is_environment_shown || !found.environment_size);
    return 0;
}
