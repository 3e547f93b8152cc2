/* SPDX-License-Identifier: MIT
 * A line of /proc/net/tcp and the link of a socket's descriptor. */
#include "sockets_linux.c"
#include "listener_linux.c"

#include "fuzz.h"

static void
check_text(const uint8_t *data, size_t size)
{
    char *line = malloc(size + 1);
    struct table_line found;
    uint64_t inode;

    CHECK(line);
    if (size)
        memcpy(line, data, size);
    line[size] = '\0';
    if (parse_line(line, &found)) {
        size_t length = strlen(found.address);

        CHECK(0 < length && length <= 32);
        CHECK(!is_loopback_text(found.address) || length == 8 || length == 32);
    }
    free(line);

    inode = parse_socket_link((const char *) data, size);
    if (inode) {
        char again[32];
        int length = snprintf(again, sizeof(again), "socket:[%" PRIu64 "]", inode);

        CHECK((size_t) length == size && memcmp(again, data, size) == 0);
    }
}

/* As tcp4_seq_show and tcp6_seq_show of the kernel print it. */
static void
check_struct(const uint8_t *data, size_t size)
{
    unsigned port = (unsigned) take_number(&data, &size, 2);
    unsigned state = (unsigned) take_number(&data, &size, 1);
    unsigned uid = (unsigned) take_number(&data, &size, 4);
    uint64_t inode = take_number(&data, &size, 8);
    unsigned words[4] = {0};
    int count = take_number(&data, &size, 1) % 2 ? 4 : 1, used, loopback;
    char address[33], line[256];
    struct table_line found;

    for (int i = 0; i < count; i++) {
        words[i] = (unsigned) take_number(&data, &size, 4);
        (void) snprintf(address + 8 * i, 9, "%08X", words[i]);
    }
    used = snprintf(line, sizeof(line),
                    "%4d: %s:%04X %s:%04X %02X %08X:%08X %02X:%08zX %08X %5u %8d %" PRIu64
                    " 1 %p 100 0 0 10 0\n",
                    3, address, port, address, 77U, state, 1U, 2U, 3U, (size_t) 4, 5U, uid, 6,
                    inode, (void *) line);
    CHECK(0 < used && (size_t) used < sizeof(line));
    CHECK(parse_line(line, &found));
    CHECK(strcmp(found.address, address) == 0 && found.port == port && found.state == state &&
          found.uid == uid && found.inode == inode);
    loopback =
        count == 1
            ? words[0] == 0 || words[0] == 0x0100007F
            : !words[0] && !words[1] &&
                  ((!words[2] && !words[3]) ||
                   (words[2] == 0xFFFF0000 && (words[3] == 0 || words[3] == 0x0100007F)));
    CHECK(is_loopback_text(found.address) == loopback);
    CHECK(is_loopback(count == 1 ? AF_INET : AF_INET6, words) == loopback);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_text(data, size);
    check_struct(data, size);
    return 0;
}
