/* Measures exec to first byte: from posix_spawn to the first byte on a pipe.
 *
 *   first_byte ROUNDS PROGRAM...
 *
 * The programs take turns within a round; a line is printed for each start: the
 * program's number and nanoseconds. Python would add its own time to both sides and
 * so bring the ratio nearer to 1. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long long start(char *program) {
    int ends[2];
    char *argv[] = {program, NULL};
    posix_spawn_file_actions_t actions;
    if (pipe2(ends, O_CLOEXEC) < 0)
        exit(111);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    pid_t pid;
    char byte;
    long long from = now_ns();
    if (posix_spawn(&pid, program, &actions, NULL, argv, environ) != 0)
        exit(111);
    close(ends[1]);
    ssize_t n = read(ends[0], &byte, 1);
    long long took = now_ns() - from;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(ends[0]);
    posix_spawn_file_actions_destroy(&actions);
    if (n != 1) {
        fprintf(stderr, "first_byte: %s ended without a byte\n", program);
        exit(111);
    }
    return took;
}

int main(int argc, char **argv) {
    int rounds = argc > 2 ? atoi(argv[1]) : 0;
    for (int round = -3; round < rounds; round++)
        for (int i = 2; i < argc; i++) {
            long long took = start(argv[i]);
            if (round >= 0) /* The first rounds bring everything into memory. */
                printf("%d %lld\n", i - 2, took);
        }
    return 0;
}
