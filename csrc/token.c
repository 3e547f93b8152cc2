/* SPDX-License-Identifier: MIT
 * The identity as one line of text, for pid files, lock files and shell scripts. */
#include "pp.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

#define PREFIX "pidproof:"
#define VERSION 1

int
pp_token_format(const struct pp_identity *identity, char *ret_token, size_t size)
{
    if (size < PP_TOKEN_SIZE)
        return -ENOBUFS;
    (void) snprintf(ret_token, size,
                    PREFIX "%d:%" PRId32 ":%" PRIu64 ":%s:%" PRIu64 ":%" PRIu64, VERSION,
                    identity->pid, identity->start_time, identity->boot_id,
                    identity->pid_namespace, identity->unique_id);
    return 0;
}

/* In lower case, as the kernel writes it: another spelling would compare as another boot. */
static int
is_boot_id(const char *text, size_t size)
{
    if (size != PP_BOOT_ID_SIZE - 1)
        return 0;
    for (size_t i = 0; i < size; i++) {
        int is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        int is_hex = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');

        if (is_dash ? text[i] != '-' : !is_hex)
            return 0;
    }
    return 1;
}

/* The field from *cursor up to the next colon or the end; moves the cursor behind it. */
static int
next_field(const char **cursor, const char *end, const char **ret_field, const char **ret_end)
{
    const char *field = *cursor;
    const char *colon;

    if (!field)
        return -EINVAL;
    colon = memchr(field, ':', (size_t) (end - field));
    *ret_field = field;
    *ret_end = colon ? colon : end;
    *cursor = colon ? colon + 1 : NULL;
    return 0;
}

static int
next_number(const char **cursor, const char *end, uint64_t *ret_value)
{
    const char *field, *field_end;
    int r;

    r = next_field(cursor, end, &field, &field_end);
    if (r < 0)
        return r;
    return parse_u64(field, field_end, ret_value);
}

int
pp_token_parse(const char *token, size_t size, struct pp_identity *ret_identity)
{
    struct pp_identity identity = {.uid = UINT32_MAX};
    const char *cursor = token, *end = token + size, *field, *field_end;
    uint64_t version, pid;
    int r;

    if (size < strlen(PREFIX) || memcmp(token, PREFIX, strlen(PREFIX)) != 0)
        return -EINVAL;
    cursor += strlen(PREFIX);
    r = next_number(&cursor, end, &version);
    if (r < 0)
        return r;
    if (version != VERSION)
        return version > VERSION ? -EPROTONOSUPPORT : -EINVAL;

    r = next_number(&cursor, end, &pid);
    if (r < 0)
        return r;
    if (pid == 0 || pid > INT32_MAX)
        return -EINVAL;
    identity.pid = (int32_t) pid;
    r = next_number(&cursor, end, &identity.start_time);
    if (r < 0)
        return r;
    r = next_field(&cursor, end, &field, &field_end);
    if (r < 0)
        return r;
    if (!is_boot_id(field, (size_t) (field_end - field)))
        return -EINVAL;
    memcpy(identity.boot_id, field, PP_BOOT_ID_SIZE - 1);
    r = next_number(&cursor, end, &identity.pid_namespace);
    if (r < 0)
        return r;
    r = next_number(&cursor, end, &identity.unique_id);
    if (r < 0)
        return r;
    if (cursor)
        return -EINVAL;

    *ret_identity = identity;
    return 0;
}
