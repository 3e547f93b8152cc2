/* SPDX-License-Identifier: MIT */
#include "procargs.h"

#include <errno.h>
#include <string.h>

#define WORD 8 /* both alignments are to the size of a pointer, and no 32-bit program runs */

/* The end of the string at `text`, behind its NUL; NULL: it has none before `end`. */
static const char *
behind(const char *text, const char *end)
{
    const char *nul = text < end ? memchr(text, '\0', (size_t) (end - text)) : NULL;

    return nul ? nul + 1 : NULL;
}

static size_t
padding(const char *base, const char *at)
{
    return (WORD - (size_t) (at - base) % WORD) % WORD;
}

/* Where the kernel's own strings begin: nothing but the first of them tells.  They stand behind
 * all variables, so of several that look like it the last one counts. */
static const char *
find_kernel_strings(const char *base, const char *text, const char *end)
{
    static const char *const firsts[] = {"pfz=", "stack_guard="};
    const char *found[] = {NULL, NULL};

    for (const char *next; (next = behind(text, end)) != NULL; text = next) {
        if (padding(base, text) != 0)
            continue;
        for (int i = 0; i < 2; i++) {
            size_t length = strlen(firsts[i]);

            if ((size_t) (next - text) > length && memcmp(text, firsts[i], length) == 0)
                found[i] = text;
        }
    }
    return found[0] ? found[0] : found[1];
}

int
procargs_parse(const char *area, size_t size, struct procargs *ret_procargs)
{
    struct procargs procargs = {0};
    const char *base = area + sizeof(int32_t), *end = area + size, *text;
    int32_t argc;

    if (size < sizeof(argc))
        return -EPROTO;
    memcpy(&argc, area, sizeof(argc));
    if ((size_t) argc > size) /* a negative one too */
        return -EPROTO;

    text = behind(base, end);
    if (!text || padding(base, text) > (size_t) (end - text))
        return -EPROTO;
    /* Exactly the padding is skipped: what comes behind it may be an empty argument. */
    for (size_t left = padding(base, text); left > 0; left--)
        if (*text++ != '\0')
            return -EPROTO;

    procargs.argv = text;
    for (int32_t i = 0; i < argc; i++) {
        text = behind(text, end);
        if (!text)
            return -EPROTO;
    }
    procargs.argv_size = (size_t) (text - procargs.argv);

    procargs.environment = text;
    text = find_kernel_strings(base, text, end);
    if (text) {
        procargs.environment_size = (size_t) (text - procargs.environment);
        procargs.is_environment_shown = 1;
    }
    *ret_procargs = procargs;
    return 0;
}
