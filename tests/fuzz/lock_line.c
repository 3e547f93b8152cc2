/* SPDX-License-Identifier: MIT
 * The line of a lock file: what is accepted is what would be written, byte for byte. */
#include "lockfile.c"

#include <sys/mman.h>

#include "fuzz.h"

/* What lockfile_write writes for a holder. */
static size_t
written(const struct pp_holder *holder, char line[LOCK_LINE_SIZE])
{
    static int fd = -1;
    size_t size = 0;

    if (fd < 0)
        fd = memfd_create("lock", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0);
    CHECK(lockfile_write(fd, holder) == 0);
    CHECK(lockfile_read(fd, line, &size) == 0);
    return size;
}

static void
check_text(const uint8_t *data, size_t size)
{
    struct pp_holder holder = {.since = -7};
    char again[LOCK_LINE_SIZE];
    int r = lockfile_parse((const char *) data, size, &holder);

    CHECK(r == 0 || r == -EINVAL || r == -EPROTONOSUPPORT);
    if (r < 0) {
        CHECK(holder.since == -7);
        return;
    }
    CHECK(holder.since >= 0 && holder.deadline >= 0 && holder.liveness == 0);
    CHECK(lockfile_is_purpose(holder.purpose, strlen(holder.purpose)));
    CHECK(written(&holder, again) == size && memcmp(again, data, size) == 0);
}

static void
check_struct(const uint8_t *data, size_t size)
{
    static const char digits[] = "0123456789abcdef", letters[] = "abcdefghijklmnopqrstuvwxyz-";
    struct pp_holder holder = {.identity = {.uid = UINT32_MAX}}, again;
    char line[LOCK_LINE_SIZE];
    size_t length;

    holder.identity.pid = (int32_t) (take_number(&data, &size, 4) % INT32_MAX) + 1;
    holder.identity.start_time = take_number(&data, &size, 8);
    holder.identity.pid_namespace = take_number(&data, &size, 8);
    holder.identity.unique_id = take_number(&data, &size, 8);
    memcpy(holder.identity.boot_id, "01234567-89ab-cdef-0123-456789abcdef", PP_BOOT_ID_SIZE);
    holder.since = (int64_t) (take_number(&data, &size, 8) & INT64_MAX);
    holder.deadline = (int64_t) (take_number(&data, &size, 8) & INT64_MAX);
    for (int i = 0; i < PP_NONCE_SIZE - 1; i++)
        holder.nonce[i] = digits[take_number(&data, &size, 1) % 16];
    length = take_number(&data, &size, 1) % (PP_PURPOSE_SIZE - 1) + 1;
    for (size_t i = 0; i < length; i++)
        holder.purpose[i] = letters[take_number(&data, &size, 1) % (sizeof(letters) - 1)];
    length = written(&holder, line);
    CHECK(lockfile_parse(line, length, &again) == 0);
    CHECK(memcmp(&holder, &again, sizeof(holder)) == 0);
    /* No shorter piece of it counts: a reader cannot take a torn write for a whole one. */
    CHECK(lockfile_parse(line, take_number(&data, &size, 2) % length, &again) < 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_text(data, size);
    check_struct(data, size);
    return 0;
}
