// What many buffers, a large one and many processes come to.
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static long number(const char *text) { return strtol(text, NULL, 0); }

/// DIRECTORY FIRST COUNT: makes empty files, FIRST, FIRST + 1, ….
static void make(char **arguments) {
    int directory = open(arguments[0], O_RDONLY | O_DIRECTORY);
    if (directory < 0) err(1, "%s", arguments[0]);
    long first = number(arguments[1]);
    for (long i = first; i < first + number(arguments[2]); i++) {
        char name[32];
        snprintf(name, sizeof name, "%ld", i);
        int file = openat(directory, name, O_CREAT | O_EXCL | O_RDWR, 0600);
        if (file < 0) err(1, "%s", name);
        close(file);
    }
}

/// DIRECTORY COUNT: removes 0 … COUNT - 1.
static void removeAll(char **arguments) {
    int directory = open(arguments[0], O_RDONLY | O_DIRECTORY);
    if (directory < 0) err(1, "%s", arguments[0]);
    for (long i = 0; i < number(arguments[1]); i++) {
        char name[32];
        snprintf(name, sizeof name, "%ld", i);
        if (unlinkat(directory, name, 0) != 0) err(1, "%s", name);
    }
}

/// DIRECTORY COUNT: lists 0 … COUNT - 1, each once, while a file comes and goes and every hundredth is given another name and its
/// old one back.
static void list(char **arguments) {
    long count = number(arguments[1]);
    unsigned char *seen = calloc(count, 1);
    DIR *directory = opendir(arguments[0]);
    if (seen == NULL || directory == NULL) err(1, "%s", arguments[0]);
    int place = dirfd(directory);
    long listed = 0, strange = 0, repeated = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        char *end;
        long i = strtol(entry->d_name, &end, 10);
        if (*end != 0 || i < 0 || i >= count) {
            strange++;
            continue;
        }
        if (seen[i]++) repeated++;
        listed++;
        if (listed % 100 != 0) continue;
        int file = openat(place, "new", O_CREAT | O_EXCL | O_RDWR, 0600);
        if (file < 0) err(1, "new");
        close(file);
        if (unlinkat(place, "new", 0) != 0) err(1, "new");
        char name[32];
        snprintf(name, sizeof name, "%ld", (i * 7919 + 13) % count);
        if (renameat(place, name, place, "moved") != 0) err(1, "%s", name);
        if (renameat(place, "moved", place, name) != 0) err(1, "%s", name);
    }
    printf("listed=%ld\nstrange=%ld\nrepeated=%ld\n", listed, strange, repeated);
}

/// FILE BYTES COUNT SEED: stores to pages anywhere in a mapping of all of it, and finds everything again.
static void anywhere(char **arguments) {
    uint64_t size = strtoull(arguments[1], NULL, 0);
    int file = open(arguments[0], O_RDWR);
    if (file < 0) err(1, "%s", arguments[0]);
    unsigned char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
    if (memory == MAP_FAILED) err(1, "mmap");
    long lost = 0;
    for (int round = 0; round < 2; round++) {
        uint64_t random = strtoull(arguments[3], NULL, 0);
        for (long i = 0; i < number(arguments[2]); i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            uint64_t *word = (uint64_t *)(memory + (random >> 8) % (size / 4096) * 4096);
            if (round == 0) *word = (uint64_t)(word - (uint64_t *)memory) + 1;
            else if (*word != (uint64_t)(word - (uint64_t *)memory) + 1) lost++;
        }
    }
    printf("lost=%ld\n", lost);
}

/// Waits for so many children, and says how many failed, and how many pages do not begin with a number.
static void conclude(int file, off_t size, long children, long expected) {
    long failed = 0, wrong = 0;
    for (long i = 0; i < children; i++) {
        int ending;
        if (wait(&ending) < 0 || ending != 0) failed++;
    }
    for (off_t at = 0; at < size; at += 4096) {
        uint32_t value = 0;
        if (pread(file, &value, sizeof value, at) != sizeof value || value != expected) wrong++;
    }
    printf("failed=%ld\nwrong=%ld\n", failed, wrong);
}

/// FILE COUNT: that many processes map it at once, and each counts in every page.
static void processes(char **arguments) {
    long count = number(arguments[1]);
    int file = open(arguments[0], O_RDWR);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0) err(1, "%s", arguments[0]);
    int gate[2];
    if (pipe(gate) != 0) err(1, "pipe");
    for (long i = 0; i < count; i++) {
        pid_t child = fork();
        if (child < 0) err(1, "fork");
        if (child > 0) continue;
        close(gate[1]);
        unsigned char *memory = mmap(NULL, status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (memory == MAP_FAILED) _exit(1);
        char byte;
        // All of them have it mapped before the first begins.
        if (read(gate[0], &byte, 1) != 0) _exit(2);
        for (off_t at = 0; at < status.st_size; at += 4096) {
            atomic_fetch_add_explicit((_Atomic uint32_t *)(memory + at), 1, memory_order_relaxed);
        }
        _exit(0);
    }
    close(gate[1]);
    conclude(file, status.st_size, count, count);
}

/// FILE COUNT: that many processes map it and store to every page; when told to end, each counts once more in every page. Says
/// ready when they have it mapped.
static void hold(char **arguments) {
    long count = number(arguments[1]);
    int file = open(arguments[0], O_RDWR);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0) err(1, "%s", arguments[0]);
    int ready[2], gate[2];
    if (pipe(ready) != 0 || pipe(gate) != 0) err(1, "pipe");
    sigset_t end;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigprocmask(SIG_BLOCK, &end, NULL);
    for (long i = 0; i < count; i++) {
        pid_t child = fork();
        if (child < 0) err(1, "fork");
        if (child > 0) continue;
        close(gate[1]);
        unsigned char *memory = mmap(NULL, status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (memory == MAP_FAILED) _exit(1);
        char byte = 0;
        for (int round = 0; round < 2; round++) {
            for (off_t at = 0; at < status.st_size; at += 4096) {
                atomic_fetch_add_explicit((_Atomic uint32_t *)(memory + at), 1, memory_order_relaxed);
            }
            if (round == 0 && (write(ready[1], &byte, 1) != 1 || read(gate[0], &byte, 1) != 0)) _exit(2);
        }
        _exit(0);
    }
    char byte;
    for (long i = 0; i < count; i++) {
        if (read(ready[0], &byte, 1) != 1) err(1, "ready");
    }
    puts("ready");
    fflush(stdout);
    int signal;
    sigwait(&end, &signal);
    close(gate[1]);
    conclude(file, status.st_size, count, 2 * count);
}

int main(int count, char **arguments) {
    const struct {
        const char *name;
        int arguments;
        void (*run)(char **);
    } commands[] = {
        {"make", 3, make}, {"remove", 2, removeAll}, {"list", 2, list}, {"anywhere", 4, anywhere}, {"processes", 2, processes},
        {"hold", 2, hold},
    };
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (count < 2 || strcmp(arguments[1], commands[i].name) != 0 || count != commands[i].arguments + 2) continue;
        commands[i].run(arguments + 2);
        return 0;
    }
    errx(2, "what?");
}
