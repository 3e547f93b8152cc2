/* SPDX-License-Identifier: MIT
 * Runs a target on the files that are named: the corpus, without libFuzzer. */
#include "fuzz.h"

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        long size = -1;
        uint8_t *data;

        CHECK(file);
        CHECK(fseek(file, 0, SEEK_END) == 0);
        size = ftell(file);
        CHECK(size >= 0);
        rewind(file);
        /* Exactly as large as the input: a byte read beyond it is seen. */
        data = malloc((size_t) size);
        CHECK(data || !size);
        CHECK(fread(data, 1, (size_t) size, file) == (size_t) size);
        (void) fclose(file);
        (void) LLVMFuzzerTestOneInput(data, (size_t) size);
        free(data);
    }
    (void) printf("%d\n", argc - 1);
    return 0;
}
