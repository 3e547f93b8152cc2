/* SPDX-License-Identifier: MIT
 * Feeds the parser of KERN_PROCARGS2 with mutated answers, each in a block of exactly its size. */
#include "../fuzz/macos_arguments.c"

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

int
main(int argc, char **argv)
{
    unsigned long rounds = strtoul(argv[1], NULL, 10), parsed = 0;

    state = argc > 2 ? strtoull(argv[2], NULL, 10) : 88172645463325252ULL;
    for (unsigned long round = 0; round < rounds; round++) {
        char text[512];
        size_t size = compose(text);
        uint8_t *block;

        for (unsigned n = pick(4); n; n--)
            text[pick((unsigned) size)] = (char) pick(256);
        if (pick(3) == 0)
            size = pick((unsigned) size + 1);
        block = malloc(size ? size : 1);
        memcpy(block, text, size);
        parsed += procargs_parse((const char *) block, size, &(struct procargs){0}) == 0;
        (void) LLVMFuzzerTestOneInput(block, size);
        free(block);
    }
    (void) printf("%lu %lu\n", rounds, parsed);
    return 0;
}
