// pollpri FILE: reads an attribute, says `ready`, and waits for it to change as sysfs lets one wait: poll(2) with
// POLLPRI. Prints revents=HEX and exits 0 when it did.
#include "client.h"
#include <poll.h>

int main(int argc, char **argv) {
    if (argc != 2) fail("usage: pollpri FILE");
    char text[4096];
    int fd = open_file(argv[1], O_RDONLY);
    if (read(fd, text, sizeof text) < 0) fail("read");
    struct pollfd entry = {fd, POLLPRI, 0};
    if (poll(&entry, 1, 0)) fail("ready before anything changed");
    puts("ready");
    fflush(stdout);
    if (poll(&entry, 1, 20000) != 1) fail("nothing came");
    printf("revents=%#x\n", entry.revents);
    return entry.revents & POLLPRI ? 0 : 1;
}
