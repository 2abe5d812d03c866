/* The C baseline of scripts/bench: nph-CGI, the last ten lines of $SSE_FILE, then
 * every line that is appended, one event each.
 *
 * It does what nph-tail does as far as a good C programmer would go for this job alone:
 * inotify on the folder and on the file, rotation by name, truncation, one write for
 * all that is ready, a heartbeat, ids that hold the offset and, built with -DANCHOR, a
 * hash of the 128 bytes before it as well. It does not parse settings, resume, check
 * UTF-8, or look out for a reader that is stuck. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024, LINE_MAX_BYTES = 1024 * 1024, BACKLOG = 10, WINDOW = 128 };

/* File bytes from `base` on: the window before the place, and what follows it. */
static char in[WINDOW + LINE_MAX_BYTES + READ_BYTES];
static size_t in_bytes, in_place;
static off_t base;
static char out[4 * READ_BYTES];
static size_t out_bytes;

static void flush(void) {
    size_t sent = 0;
    while (sent < out_bytes) {
        ssize_t n = write(1, out + sent, out_bytes - sent);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            exit(0); /* EPIPE: the reader left. */
        sent += (size_t)n;
    }
    out_bytes = 0;
}

static void put(const char *text, size_t bytes) {
    while (bytes > 0) {
        if (out_bytes == sizeof out)
            flush();
        size_t room = sizeof out - out_bytes;
        size_t n = bytes < room ? bytes : room;
        memcpy(out + out_bytes, text, n);
        out_bytes += n;
        text += n;
        bytes -= n;
    }
}

static char *decimal(char *end, uint64_t number) {
    do
        *--end = (char)('0' + number % 10);
    while (number /= 10);
    return end;
}

#ifdef ANCHOR
/* Eight bytes at a time, multiplied and folded, as wyhash does. */
static uint64_t anchor(const char *bytes, size_t length) {
    uint64_t hash = 0x9E3779B97F4A7C15u ^ length;
    while (length > 0) {
        uint64_t word = 0;
        size_t n = length < 8 ? length : 8;
        memcpy(&word, bytes, n);
        __uint128_t product = (__uint128_t)(hash ^ word) * 0xA0761D6478BD642Fu;
        hash = (uint64_t)product ^ (uint64_t)(product >> 64);
        bytes += n;
        length -= n;
    }
    return hash;
}
#endif

static void put_id(size_t place) {
    char text[64], *end = text + sizeof text, *at = end;
    *--at = '\n';
#ifdef ANCHOR
    size_t window = place < WINDOW ? place : WINDOW;
    uint64_t hash = anchor(in + place - window, window);
    for (int i = 0; i < 16; i++, hash >>= 4)
        *--at = "0123456789abcdef"[hash & 15];
    *--at = '-';
#endif
    at = decimal(at, (uint64_t)base + place);
    put("id: ", 4);
    put(at, (size_t)(end - at));
}

static void put_line(const char *line, size_t bytes, size_t place) {
    put_id(place);
    if (bytes > 0 && line[bytes - 1] == '\r')
        bytes--;
    for (;;) {
        const char *cr = memchr(line, '\r', bytes);
        size_t n = cr ? (size_t)(cr - line) : bytes;
        put("data: ", 6);
        put(line, n);
        put("\n", 1);
        if (!cr)
            break;
        line += n + 1;
        bytes -= n + 1;
    }
    put("\n", 1);
}

static void forget(void) {
    in_bytes = in_place = 0;
    base = 0;
}

/* Reads on to the end of the file; every whole line is an event. */
static void follow(int file) {
    for (;;) {
        size_t keep_from = in_place > WINDOW ? in_place - WINDOW : 0;
        memmove(in, in + keep_from, in_bytes - keep_from);
        in_bytes -= keep_from;
        in_place -= keep_from;
        base += (off_t)keep_from;
        if (sizeof in - in_bytes < READ_BYTES) /* A line without end. */
            in_place = in_bytes - WINDOW;
        ssize_t n = pread(file, in + in_bytes, READ_BYTES, base + (off_t)in_bytes);
        if (n <= 0) {
            struct stat now;
            if (n == 0 && fstat(file, &now) == 0 && now.st_size < base + (off_t)in_bytes) {
                forget();
                continue;
            }
            break;
        }
        size_t scan = in_bytes;
        in_bytes += (size_t)n;
        for (char *newline; (newline = memchr(in + scan, '\n', in_bytes - scan)); in_place = scan) {
            scan = (size_t)(newline - in) + 1;
            put_line(in + in_place, scan - 1 - in_place, scan);
        }
        if (n < READ_BYTES)
            break;
    }
}

/* The place before the last ten lines, which are in the last block that is tried. */
static void seek_backlog(int file) {
    struct stat now;
    fstat(file, &now);
    off_t from = now.st_size;
    size_t at = 0;
    for (off_t block = 8 * 1024; from > 0 && at == 0 && block <= READ_BYTES; block *= 2) {
        from = now.st_size > block ? now.st_size - block : 0;
        ssize_t n = pread(file, in, (size_t)(now.st_size - from), from);
        at = n > 0 ? (size_t)n : 0;
        for (int lines = 0; at > 0; at--)
            if (in[at - 1] == '\n' && ++lines > BACKLOG)
                break;
    }
    base = from + (off_t)at;
    size_t window = base < WINDOW ? (size_t)base : WINDOW;
    base -= (off_t)window;
    ssize_t n = pread(file, in, window, base);
    in_bytes = in_place = n > 0 ? (size_t)n : 0;
}

static void open_stream(void) {
    char date[64], head[512];
    time_t now = time(NULL);
    struct tm utc;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &utc));
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: text/event-stream\r\n"
                     "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
                     "Connection: close\r\n\r\nretry: 3000\n: tail\n",
                     date);
    put(head, (size_t)n);
}

int main(void) {
    const char *path = getenv("SSE_FILE");
    const char *heartbeat = getenv("SSE_HEARTBEAT");
    int silence_ms = (heartbeat ? atoi(heartbeat) : 15) * 1000;
    if (!path)
        return 100;
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");

    int notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    inotify_add_watch(notify, folder, IN_CREATE | IN_MOVED_TO);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    int watch = -1;
    if (file >= 0) {
        watch = inotify_add_watch(notify, path, IN_MODIFY);
        seek_backlog(file);
    }
    open_stream();
    struct pollfd waits[2] = {{.fd = notify, .events = POLLIN}, {.fd = 1, .events = 0}};
    for (;;) {
        if (file >= 0)
            follow(file);
        if (out_bytes > 0)
            flush();
        int ready = poll(waits, 2, notify < 0 ? 500 : silence_ms);
        if (waits[1].revents & (POLLERR | POLLHUP))
            return 0;
        if (ready == 0)
            put(":\n", 2);
        if (!(waits[0].revents & POLLIN))
            continue;
        _Alignas(struct inotify_event) char hints[4096];
        ssize_t n = read(notify, hints, sizeof hints);
        int is_new = 0;
        for (ssize_t at = 0; at < n;) {
            struct inotify_event *hint = (struct inotify_event *)(hints + at);
            if (hint->wd != watch && hint->len > 0 && strcmp(hint->name, name) == 0)
                is_new = 1;
            at += (ssize_t)(sizeof *hint + hint->len);
        }
        if (is_new) {
            if (file >= 0) {
                follow(file);
                close(file);
                inotify_rm_watch(notify, watch);
            }
            forget();
            file = open(path, O_RDONLY | O_CLOEXEC);
            watch = inotify_add_watch(notify, path, IN_MODIFY);
        }
    }
}
