/* SPDX-License-Identifier: MIT
 * The smallest server: listens on 127.0.0.1, port argv[1], and accepts.  Starts in a millisecond. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((unsigned short) atoi(argv[argc - 1]))};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *) &address, sizeof(address)) || listen(fd, 16))
        return 3;
    for (;;)
        close(accept(fd, NULL, NULL));
}
