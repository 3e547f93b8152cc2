/* SPDX-License-Identifier: MIT
 * An answer of sock_diag(7): whatever lies in it, nothing is read beyond it, and of the sockets in
 * it those count that listen on the port where a connection to 127.0.0.1 would come. */
#include "sockets_linux.c"

#include "fuzz.h"

#define PORT 4711

static void
check_text(const uint8_t *data, size_t size)
{
    struct sockets sockets = {0};
    struct nlmsghdr *copy = malloc(size); /* aligned, as the buffer that the kernel fills */
    int r;

    CHECK(copy || !size);
    if (size)
        memcpy(copy, data, size);
    r = take(copy, (ssize_t) size, PORT, &sockets);
    CHECK(r <= 1 && sockets.count <= SOCKETS_MAX);
    for (size_t i = 0; i < sockets.count; i++)
        CHECK(sockets.inodes[i]);
    free(copy);
}

static int
is_wanted(const struct inet_diag_msg *body)
{
    const uint32_t *address = body->id.idiag_src;
    int mapped = !address[0] && !address[1] && address[2] == htonl(0xFFFF);
    uint32_t last = ntohl(body->idiag_family == AF_INET ? address[0] : address[3]);

    if (body->idiag_state != LISTENING || ntohs(body->id.idiag_sport) != PORT ||
        !body->idiag_inode)
        return 0;
    if (body->idiag_family == AF_INET || mapped)
        return last == 0 || last == 0x7F000001;
    return !address[0] && !address[1] && !address[2] && !address[3];
}

/* Messages as the kernel makes them, each with some of what follows the body there. */
static void
check_struct(const uint8_t *data, size_t size)
{
    static const uint32_t parts[] = {0, 0x0000FFFF, 0x7F000001, 1};
    struct sockets sockets = {0};
    union {
        struct nlmsghdr align;
        char bytes[2048];
    } buffer = {0};
    size_t used = 0, wanted = 0;

    while (size && used < sizeof(buffer) - 256) {
        struct nlmsghdr *header = (struct nlmsghdr *) (buffer.bytes + used);
        struct inet_diag_msg *body = NLMSG_DATA(header);
        uint64_t bits = take_number(&data, &size, 3);

        header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
        header->nlmsg_len = (uint32_t) NLMSG_LENGTH(sizeof(*body) + (bits & 31));
        bits >>= 5;
        body->idiag_family = bits & 1 ? AF_INET6 : AF_INET;
        body->idiag_state = bits & 6 ? LISTENING : 1;
        body->id.idiag_sport = htons(bits & 24 ? PORT : PORT + 1);
        body->idiag_inode = bits & 96 ? (uint32_t) used + 1 : 0;
        for (int i = 0; i < (body->idiag_family == AF_INET ? 1 : 4); i++)
            body->id.idiag_src[i] = htonl(parts[bits >> (7 + 2 * i) & 3]);
        wanted += (size_t) is_wanted(body);
        used += NLMSG_ALIGN(header->nlmsg_len);
    }
    CHECK(take(&buffer.align, (ssize_t) used, PORT, &sockets) == 0);
    CHECK(sockets.count == wanted);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_text(data, size);
    check_struct(data, size);
    return 0;
}
