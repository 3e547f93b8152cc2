/* SPDX-License-Identifier: MIT
 * What /proc/self says of our namespaces. */
#include "host_linux.c"

#include "fuzz.h"

static void
check_text(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    int64_t offset = -7;
    int r;

    CHECK(text);
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    r = parse_offset(text, size, "monotonic", &offset);
    CHECK(r == 0 || (r == -EPROTO && offset == -7));
    r = count_namespaces(text, size);
    CHECK(r == -EPROTO || (0 <= r && (size_t) r <= size));
    free(text);
}

static void
check_struct(const uint8_t *data, size_t size)
{
    int64_t seconds = (int32_t) take_number(&data, &size, 4), offset;
    long nanoseconds = (long) (take_number(&data, &size, 4) % NSEC_PER_SEC);
    int count = (int) (take_number(&data, &size, 1) % 32) + 1, used;
    char text[512];

    used = snprintf(text, sizeof(text), "monotonic  %10lld %9ld\nboottime   %10d %9d\n",
                    (long long) seconds, nanoseconds, 5, 6);
    CHECK(parse_offset(text, (size_t) used, "monotonic", &offset) == 0);
    CHECK(offset == seconds * NSEC_PER_SEC + nanoseconds);
    CHECK(parse_offset(text, (size_t) used, "boottime", &offset) == 0);
    CHECK(offset == 5 * NSEC_PER_SEC + 6);

    used = snprintf(text, sizeof(text), "Name:\tx\nNStgid:\t9\nNSpid:");
    for (int i = 0; i < count; i++)
        used += snprintf(text + used, sizeof(text) - (size_t) used, "\t%d", i);
    used += snprintf(text + used, sizeof(text) - (size_t) used, "\nNSpgid:\t1\t2\n");
    CHECK(count_namespaces(text, (size_t) used) == count);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_text(data, size);
    check_struct(data, size);
    return 0;
}
