/* SPDX-License-Identifier: MIT
 * Feeds the parser of KERN_PROCARGS2 with mutated answers, each in a block of exactly its size. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "procargs.h"

static unsigned long long state;

static unsigned
pick(unsigned limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return limit ? (unsigned) (state % limit) : 0;
}

static size_t
compose(char *text)
{
    static const char *const words[] = {"", "a", "program", "A=1", "pfz=0x1", "stack_guard=1"};
    int argc = (int) pick(6);
    size_t at = 4;

    memcpy(text, &argc, 4);
    for (unsigned n = 1 + pick(20); n; n--)
        text[at++] = '/';
    text[at++] = '\0';
    while ((at - 4) % 8)
        text[at++] = '\0';
    for (unsigned n = (unsigned) argc + pick(6); n; n--) {
        const char *word = words[pick(6)];
        memcpy(text + at, word, strlen(word) + 1);
        at += strlen(word) + 1;
    }
    if (pick(2))
        while ((at - 4) % 8)
            text[at++] = '\0';
    if (pick(3)) {
        memcpy(text + at, "pfz=0x7ff", 10);
        at += 10;
    }
    return at;
}

static void
require(int condition, const char *what)
{
    if (!condition) {
        (void) fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

int
main(int argc, char **argv)
{
    unsigned long rounds = strtoul(argv[1], NULL, 10), parsed = 0;

    state = argc > 2 ? strtoull(argv[2], NULL, 10) : 88172645463325252ULL;
    for (unsigned long round = 0; round < rounds; round++) {
        char text[512];
        size_t size = compose(text);
        struct procargs found;
        char *block;
        int count = 0, said;

        for (unsigned n = pick(4); n; n--)
            text[pick((unsigned) size)] = (char) pick(256);
        if (pick(3) == 0)
            size = pick((unsigned) size + 1);
        block = malloc(size ? size : 1);
        memcpy(block, text, size);
        if (procargs_parse(block, size, &found) == 0) {
            const char *end = block + size;

            parsed++;
            memcpy(&said, block, 4);
            require(found.argv >= block + 4 && found.argv <= end, "argv begins inside");
            require(found.argv_size <= (size_t) (end - found.argv), "argv ends inside");
            for (size_t i = 0; i < found.argv_size; i++)
                count += found.argv[i] == '\0';
            require(count == said, "as many arguments as said");
            require(found.environment == found.argv + found.argv_size, "then the environment");
            require(found.environment_size <= (size_t) (end - found.environment), "inside too");
            require(found.is_environment_shown || !found.environment_size, "or none");
        }
        free(block);
    }
    (void) printf("%lu %lu\n", rounds, parsed);
    return 0;
}
