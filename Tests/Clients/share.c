// share FILE LENGTH: two processes, each with its own descriptor and mapping, store in turn into every page and
// must see each other's stores at once. Prints pages=N.
#include "client.h"
#include <sys/wait.h>

static void await(int fd) {
    char token;
    if (read(fd, &token, 1) != 1) fail("the other process went away");
}

static void signal_other(int fd) {
    if (write(fd, "", 1) != 1) fail("the other process went away");
}

int main(int argc, char **argv) {
    if (argc != 3) fail("usage: share FILE LENGTH");
    uint64_t length = number(argv[2]), pages = length / PAGE;
    int down[2], up[2];
    if (pipe(down) || pipe(up)) fail("pipe");
    pid_t child = fork();
    if (child < 0) fail("fork");
    close(child ? down[0] : down[1]);
    close(child ? up[1] : up[0]);

    int fd = open_file(argv[1], O_RDWR);
    volatile uint64_t *words = map_file(fd, 0, length, PROT_READ | PROT_WRITE, MAP_SHARED);
    for (uint64_t page = 0; page < pages; page++) {
        volatile uint64_t *word = words + page * PAGE / 8;
        if (child) {
            *word = mix(page);
            signal_other(down[1]);
            await(up[0]);
            if (word[1] != mix(~page)) fail("page %lu: the answer did not arrive", (unsigned long)page);
        } else {
            await(down[0]);
            if (*word != mix(page)) fail("page %lu: the store did not arrive", (unsigned long)page);
            word[1] = mix(~page);
            signal_other(up[1]);
        }
    }
    if (!child) return 0;
    int status;
    if (waitpid(child, &status, 0) < 0 || status) fail("the second process failed");
    printf("pages=%lu\n", (unsigned long)pages);
    return 0;
}
