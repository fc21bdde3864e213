// pollstorm FILE ROUNDS: processes that open an attribute, read it, poll it and close it as fast as they can.
#include <poll.h>
#include <sys/wait.h>

#include "client.h"

enum { PROCESSES = 16 };

static void storm(const char *path, long rounds)
{
    char text[4096];
    for (long i = 0; i < rounds; i++) {
        int fd = open_file(path, O_RDONLY);
        if (pread(fd, text, sizeof text, 0) < 0) fail("read");
        struct pollfd poll_fd = {.fd = fd, .events = POLLPRI};
        // Every third round really waits, so that the daemon has something to wake.
        if (poll(&poll_fd, 1, i % 3 == 0) < 0) fail("poll");
        close(fd);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) fail("usage: pollstorm FILE ROUNDS");
    for (int i = 0; i < PROCESSES; i++) {
        if (fork() == 0) {
            storm(argv[1], atol(argv[2]));
            _exit(0);
        }
    }
    int status;
    while (wait(&status) > 0)
        if (status) fail("a process failed");
    printf("processes=%d\n", PROCESSES);
    return 0;
}
