// witness reader FILE BYTES: makes FILE with a pattern, says `ready`, and verifies it by read(2) and through a mapping until
// SIGTERM. Prints rounds=N worst_us=N, of which the latter is the longest round.
// witness controls FOLDER NODEFILE: as root, has controls answer until SIGTERM: reads NODEFILE, sets the policy of FOLDER and
// moves a page of it. Prints rounds=N worst_us=N.
#include "client.h"
#include <signal.h>
#include <time.h>

static volatile sig_atomic_t stopping;

static void stop(int signal) {
    (void)signal;
    stopping = 1;
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static void verify(const uint64_t *words, uint64_t count, const char *how) {
    for (uint64_t i = 0; i < count; i++)
        if (words[i] != mix(i)) fail("%s: word %lu is another", how, (unsigned long)i);
}

static void make(const char *path, uint64_t bytes) {
    int fd = open_file(path, O_RDWR | O_CREAT);
    uint64_t *words = malloc(bytes);
    for (uint64_t i = 0; i < bytes / 8; i++) words[i] = mix(i);
    if (pwrite(fd, words, bytes, 0) != (ssize_t)bytes) fail("write");
    free(words);
    close(fd);
}

static void read_all(const char *path, uint64_t bytes) {
    static uint64_t *copy, *mapping;
    if (!copy) copy = malloc(bytes);
    int fd = open_file(path, O_RDONLY);
    if (pread(fd, copy, bytes, 0) != (ssize_t)bytes) fail("read");
    verify(copy, bytes / 8, "read");
    mapping = map_file(fd, 0, bytes, PROT_READ, MAP_SHARED);
    verify(mapping, bytes / 8, "mapping");
    munmap(mapping, bytes);
    close(fd);
}

static void store(const char *folder, const char *name, const char *text) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open_file(path, O_WRONLY);
    if (write(fd, text, strlen(text)) < 0) fail("%s > %s", text, path);
    close(fd);
}

static void ask(const char *folder, const char *node) {
    static int turn;
    char text[8192];
    int fd = open_file(node, O_RDONLY);
    if (read(fd, text, sizeof text) <= 0) fail("read %s", node);
    close(fd);
    store(folder, "policy", turn++ % 2 ? "default" : "bind:0");
    store(folder, "migrate", "0 4096 0");
}

int main(int argc, char **argv) {
    if (argc != 4) fail("usage: witness reader FILE BYTES | witness controls FOLDER NODEFILE");
    int reads = !strcmp(argv[1], "reader");
    uint64_t bytes = reads ? number(argv[3]) : 0, rounds = 0, worst = 0;
    if (reads) make(argv[2], bytes);
    signal(SIGTERM, stop);
    puts("ready");
    fflush(stdout);
    while (!stopping) {
        uint64_t start = now();
        if (reads)
            read_all(argv[2], bytes);
        else
            ask(argv[2], argv[3]);
        uint64_t took = now() - start;
        if (took > worst) worst = took;
        rounds++;
        usleep(50000);
    }
    printf("rounds=%lu worst_us=%lu\n", (unsigned long)rounds, (unsigned long)worst);
    return 0;
}
