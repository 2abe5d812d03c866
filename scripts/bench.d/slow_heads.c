/* Clients that send the head of a request byte by byte.
 *
 *     slow_heads PORT COUNT
 *
 * Each sends a byte a second, and comes again when it is disconnected. Prints a line when all
 * are connected. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { COUNT_MAX = 60000, PARTS = 20 };

static int peers[COUNT_MAX], sent[COUNT_MAX];
static struct sockaddr_in address;

static const char HEAD[] = "GET /events/lines.txt HTTP/1.1\r\nHost: localhost\r\nX: ";

static void come(int index) {
    int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct linger at_once = {.l_onoff = 1};
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    if (peer < 0 || connect(peer, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("connect");
        exit(111);
    }
    peers[index] = peer;
    sent[index] = 0;
}

int main(int count, char **arguments) {
    if (count != 3 || atoi(arguments[2]) > COUNT_MAX) {
        fprintf(stderr, "usage: slow_heads PORT COUNT\n");
        return 100;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    address.sin_family = AF_INET;
    address.sin_port = htons(atoi(arguments[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int all = atoi(arguments[2]);
    for (int index = 0; index < all; index++)
        come(index);
    puts("connected");
    fflush(stdout);
    for (int part = 0;; part = (part + 1) % PARTS) {
        for (int index = part; index < all; index += PARTS) {
            char byte = sent[index] < (int)sizeof HEAD - 1 ? HEAD[sent[index]] : 'x';
            sent[index]++;
            if (send(peers[index], &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN) {
                close(peers[index]);
                come(index);
            }
        }
        usleep(1000000 / PARTS);
    }
}
