/* SPDX-License-Identifier: MIT
 * Entries of an argv or environment, compared with a second way to find them. */
#include "scan_linux.c"

#include "fuzz.h"

/* Byte by byte: does an entry begin at `at`, equal `wanted`, and end there? */
static int
plainly_has(const char *text, size_t size, const char *wanted, size_t length)
{
    for (size_t at = 0; at < size; at++) {
        size_t n = 0;

        if (at && text[at - 1])
            continue;
        while (n < length && at + n < size && text[at + n] == wanted[n])
            n++;
        if (n == length && (at + n == size || !text[at + n]))
            return 1;
    }
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t length = (size_t) take_number(&data, &size, 1) % 32, count = 0;
    char wanted[33] = {0};
    struct text text;
    int expected = 1;

    length = length < size ? length : size;
    memcpy(wanted, data, length);
    text = (struct text){.data = (char *) (uintptr_t) (data + length), .size = size - length};
    for (size_t at = 0; at < length + 1; at += strlen(wanted + at) + 1, count++)
        expected &= plainly_has(text.data, text.size, wanted + at, strlen(wanted + at));
    CHECK(count > 0 && entries_have_all(text.data, text.size, wanted, length + 1) == expected);
    return 0;
}
