/* SPDX-License-Identifier: MIT
 * What the fuzz targets share.  Each includes the C file whose parser it calls, so that static
 * functions are reached as they are. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that must hold for every input. */
#define CHECK(condition)                                                                      \
    do {                                                                                      \
        if (!(condition)) {                                                                   \
            (void) fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
            abort();                                                                          \
        }                                                                                     \
    } while (0)

/* The next `size` bytes of the input as a number; zeros once it is used up. */
static inline uint64_t
take_number(const uint8_t **data, size_t *left, size_t size)
{
    uint64_t value = 0;
    size_t n = *left < size ? *left : size;

    if (n)
        memcpy(&value, *data, n);
    *data += n;
    *left -= n;
    return value;
}

#endif
