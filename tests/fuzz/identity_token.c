/* SPDX-License-Identifier: MIT
 * The token of an identity: what is accepted is what would be printed, byte for byte. */
#include "token.c"

#include "fuzz.h"

static void
check_text(const uint8_t *data, size_t size)
{
    struct pp_identity identity = {.pid = -7};
    char again[PP_TOKEN_SIZE];
    int r = pp_token_parse((const char *) data, size, &identity);

    CHECK(r == 0 || r == -EINVAL || r == -EPROTONOSUPPORT);
    if (r < 0) {
        CHECK(identity.pid == -7);
        return;
    }
    CHECK(identity.pid > 0 && identity.uid == UINT32_MAX);
    CHECK(pp_token_format(&identity, again, sizeof(again)) == 0);
    CHECK(strlen(again) == size && memcmp(again, data, size) == 0);
}

static void
check_struct(const uint8_t *data, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    struct pp_identity identity = {.uid = UINT32_MAX}, again;
    char token[PP_TOKEN_SIZE];

    identity.pid = (int32_t) (take_number(&data, &size, 4) % INT32_MAX) + 1;
    identity.start_time = take_number(&data, &size, 8);
    identity.pid_namespace = take_number(&data, &size, 8);
    identity.unique_id = take_number(&data, &size, 8);
    for (int i = 0; i < PP_BOOT_ID_SIZE - 1; i++)
        identity.boot_id[i] = i == 8 || i == 13 || i == 18 || i == 23
                                  ? '-'
                                  : digits[take_number(&data, &size, 1) % 16];
    CHECK(pp_token_format(&identity, token, sizeof(token)) == 0);
    CHECK(pp_token_parse(token, strlen(token), &again) == 0);
    CHECK(memcmp(&identity, &again, sizeof(identity)) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_text(data, size);
    check_struct(data, size);
    return 0;
}
