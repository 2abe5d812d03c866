/* The least that a server of one file's lines can do over HTTP: one epoll loop, each event
 * framed once, one send() for each subscriber. It is the baseline of `scripts/bench http`.
 *
 *     fan_out PORT FILE
 *
 * Its ids have the length of ours, but no anchor; there are no heartbeats, no limits and no
 * resuming, and it keeps everything that it has read in memory. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PEERS_MAX = 65536, READ_BYTES = 1 << 20 };

static const char HEAD[] =
    "HTTP/1.1 200 OK\r\n"
    "Content-Type: text/event-stream; charset=utf-8\r\n"
    "Cache-Control: no-cache, no-transform\r\n"
    "Connection: close\r\n\r\n"
    "retry: 3000\n: fan_out\n";

/* By descriptor: how far a subscriber has been sent; -1 without one. */
static long position[PEERS_MAX];
static int is_blocked[PEERS_MAX];
static int subscribers[PEERS_MAX];
static int subscriber_count;

/* All events, and where the last one begins. */
static char *events;
static long event_bytes, event_room, last_event;

static int poller, file;
static long long file_bytes;
static char input[READ_BYTES * 2];
static long input_bytes;

static void fail(const char *what) {
    perror(what);
    exit(111);
}

static void watch(int descriptor, unsigned interest, int operation) {
    struct epoll_event event = {.events = interest, .data.fd = descriptor};
    if (epoll_ctl(poller, operation, descriptor, &event) < 0)
        fail("epoll_ctl");
}

static void drop(int peer) {
    for (int i = 0; i < subscriber_count; i++)
        if (subscribers[i] == peer)
            subscribers[i] = subscribers[--subscriber_count];
    position[peer] = -1;
    close(peer);
}

static void serve(int peer) {
    while (position[peer] < event_bytes) {
        long left = event_bytes - position[peer];
        ssize_t sent = send(peer, events + position[peer], left, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN && !is_blocked[peer]) {
                is_blocked[peer] = 1;
                watch(peer, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
            }
            return;
        }
        position[peer] += sent;
    }
    if (is_blocked[peer]) {
        is_blocked[peer] = 0;
        watch(peer, EPOLLIN, EPOLL_CTL_MOD);
    }
}

static void append(const char *line, long length) {
    if (event_bytes + length + 64 > event_room) {
        event_room = 2 * (event_room + length + 64);
        events = realloc(events, event_room);
        if (!events)
            fail("realloc");
    }
    last_event = event_bytes;
    event_bytes += sprintf(events + event_bytes, "id: %lld-0123456789abcdef\ndata: ", file_bytes);
    memcpy(events + event_bytes, line, length);
    event_bytes += length;
    memcpy(events + event_bytes, "\n\n", 2);
    event_bytes += 2;
}

static void follow(void) {
    ssize_t count;
    while ((count = read(file, input + input_bytes, READ_BYTES)) > 0) {
        char *from = input, *end;
        input_bytes += count;
        while ((end = memchr(from, '\n', input + input_bytes - from))) {
            file_bytes += end + 1 - from;
            append(from, end - from);
            from = end + 1;
        }
        input_bytes -= from - input;
        memmove(input, from, input_bytes);
        /* As it is read, so that memory stays near the caches. */
        for (int i = 0; i < subscriber_count; i++)
            if (!is_blocked[subscribers[i]])
                serve(subscribers[i]);
    }
}

static void greet(int peer) {
    char request[4096];
    ssize_t count = recv(peer, request, sizeof request, MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0) {
        drop(peer);
        return;
    }
    if (position[peer] >= 0)
        return;
    /* A client of the benchmark sends its request at once. */
    send(peer, HEAD, sizeof HEAD - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    position[peer] = last_event;
    subscribers[subscriber_count++] = peer;
    serve(peer);
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: fan_out PORT FILE\n");
        return 100;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < PEERS_MAX ? limit.rlim_max : PEERS_MAX;
    setrlimit(RLIMIT_NOFILE, &limit);
    memset(position, -1, sizeof position);
    poller = epoll_create1(EPOLL_CLOEXEC);
    file = open(arguments[2], O_RDONLY | O_CREAT | O_CLOEXEC, 0644);
    int changes = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(atoi(arguments[1])),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    if (file < 0 || inotify_add_watch(changes, arguments[2], IN_MODIFY) < 0)
        fail(arguments[2]);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0)
        fail("listen");
    watch(listener, EPOLLIN, EPOLL_CTL_ADD);
    watch(changes, EPOLLIN, EPOLL_CTL_ADD);
    follow();
    for (;;) {
        struct epoll_event ready[512];
        int many = epoll_wait(poller, ready, 512, -1);
        for (int i = 0; i < many; i++) {
            int which = ready[i].data.fd;
            if (which == listener) {
                int peer;
                while ((peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
                    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                    is_blocked[peer] = 0;
                    watch(peer, EPOLLIN, EPOLL_CTL_ADD);
                    greet(peer);
                }
            } else if (which == changes) {
                char notices[4096];
                while (read(changes, notices, sizeof notices) > 0)
                    ;
                follow();
            } else if (ready[i].events & EPOLLOUT) {
                serve(which);
            } else {
                greet(which);
            }
        }
    }
}
