/* SPDX-License-Identifier: MIT */
#define __STDC_WANT_LIB_EXT1__ 1 /* memset_s, which no compiler leaves out */
#include "arguments_darwin.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysctl.h>

#include "util.h"

void
arguments_wipe(struct arguments *arguments)
{
    if (arguments->area)
        (void) memset_s(arguments->area, ARG_MAX, 0, arguments->used);
    arguments->used = 0;
    arguments->parsed = (struct procargs){0};
}

void
arguments_free(struct arguments *arguments)
{
    arguments_wipe(arguments);
    free(arguments->area);
    arguments->area = NULL;
}

int
arguments_read(int32_t pid, struct arguments *arguments)
{
    int name[] = {CTL_KERN, KERN_PROCARGS2, pid}, r;
    size_t size = ARG_MAX;

    arguments_wipe(arguments);
    if (!arguments->area) {
        arguments->area = malloc(ARG_MAX);
        if (!arguments->area)
            return -ENOMEM;
    }
    if (sysctl(name, 3, arguments->area, &size, NULL, 0) < 0) {
        r = -errno;
        /* Only a fault comes in the middle of the copy. */
        arguments->used = r == -EFAULT ? ARG_MAX : 0;
        arguments_wipe(arguments);
        return r;
    }
    arguments->used = size;
    /* Of what is longer than the buffer the kernel gives the tail, and calls it a success. */
    r = size >= ARG_MAX ? -E2BIG : procargs_parse(arguments->area, size, &arguments->parsed);
    if (r < 0)
        arguments_wipe(arguments);
    return r;
}
