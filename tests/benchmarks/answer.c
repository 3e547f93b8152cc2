/* SPDX-License-Identifier: MIT
 * The quickest HTTP server: answers 200 to whatever comes to 127.0.0.1, port argv[1]. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((unsigned short) atoi(argv[argc - 1]))};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

    signal(SIGPIPE, SIG_IGN);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *) &address, sizeof(address)) || listen(fd, 4096))
        return 3;
    for (;;) {
        char request[4096];
        int peer = accept(fd, NULL, NULL);

        if (peer >= 0 && read(peer, request, sizeof(request)) > 0 &&
            write(peer, answer, sizeof(answer) - 1) < 0)
            continue;
        close(peer);
    }
}
