/* SPDX-License-Identifier: MIT
 * Lists of strings one after the other, each with its NUL. */
#ifndef PP_ENTRIES_H
#define PP_ENTRIES_H

#include <stddef.h>
#include <string.h>

/* Is `wanted` one of the entries?  The last one may lack its NUL. */
static inline int
entries_have(const char *entries, size_t size, const char *wanted)
{
    const char *end = entries + size;
    size_t length = strlen(wanted);

    for (const char *entry = entries; entry < end;) {
        const char *nul = memchr(entry, '\0', (size_t) (end - entry));
        const char *entry_end = nul ? nul : end;

        if ((size_t) (entry_end - entry) == length && memcmp(entry, wanted, length) == 0)
            return 1;
        entry = entry_end + 1;
    }
    return 0;
}

/* The same of each string in a list that ends in a NUL, or is empty. */
static inline int
entries_have_all(const char *entries, size_t size, const char *wanted, size_t wanted_size)
{
    for (const char *end = wanted + wanted_size; wanted < end; wanted += strlen(wanted) + 1)
        if (!entries_have(entries, size, wanted))
            return 0;
    return 1;
}

#endif
