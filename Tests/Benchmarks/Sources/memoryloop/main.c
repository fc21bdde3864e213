// memoryloop WHAT: a program that uses memory of its own, the same natively and under `cdmfs run`. Prints the seconds of one
// operation.
//
//   ascending, random   a first touch of a page of 4 KiB
//   huge                the same in sequence, of memory that may have huge pages
//   resident            a load of a word at random, of memory that is there
//   mapping             mmap, a touch and munmap of 64 KiB
//   heap                malloc and free of blocks of up to 4 KiB by two threads
//   exec                fork, exec and wait for /bin/true
//   compile             gcc -O2 of a large file

#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { page = 4096, bytes = 128 << 20, pages = bytes / page, blocks = 1024, rounds = 200000, programs = 50, functions = 400 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static volatile char *map(size_t length, int advice) {
    void *mapped = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    madvise(mapped, length, advice);
    return mapped;
}

static double touch(int is_random, int advice) {
    volatile char *memory = map(bytes, advice);
    uint32_t *order = malloc(pages * sizeof *order);
    uint64_t state = 1;
    for (uint32_t i = 0; i < pages; i++) order[i] = i;
    for (uint32_t i = pages - 1; is_random && i > 0; i--) {
        uint32_t other = (uint32_t)(next_random(&state) % (i + 1)), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    double start = now();
    for (uint32_t i = 0; i < pages; i++) memory[(size_t)order[i] * page] = 1;
    return (now() - start) / pages;
}

static double load(void) {
    volatile char *memory = map(bytes, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < bytes; at += page) memory[at] = 1;
    uint64_t state = 1;
    double start = now();
    for (int i = 0; i < 4 << 20; i++) (void)memory[next_random(&state) % bytes];
    return (now() - start) / (4 << 20);
}

static double mapping(void) {
    enum { count = 2000, length = 64 << 10 };
    double start = now();
    for (int i = 0; i < count; i++) {
        volatile char *memory = map(length, MADV_NORMAL);
        memory[0] = 1;
        munmap((void *)memory, length);
    }
    return (now() - start) / count;
}

static void *allocate(void *argument) {
    uint64_t state = (uint64_t)(uintptr_t)argument;
    char *kept[blocks] = {0};
    for (int i = 0; i < rounds; i++) {
        size_t place = next_random(&state) % blocks, length = 1 + next_random(&state) % page;
        free(kept[place]);
        kept[place] = malloc(length);
        memset(kept[place], 1, length);
    }
    for (int i = 0; i < blocks; i++) free(kept[i]);
    return NULL;
}

static double heap(void) {
    pthread_t threads[2];
    double start = now();
    for (uintptr_t i = 0; i < 2; i++) pthread_create(&threads[i], NULL, allocate, (void *)(i + 1));
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    return (now() - start) / rounds;
}

static double start_programs(void) {
    double start = now();
    for (int i = 0; i < programs; i++) {
        pid_t child = fork();
        if (child == 0) {
            execl("/bin/true", "true", (char *)NULL);
            _exit(127);
        }
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
            fprintf(stderr, "/bin/true: not run\n");
            exit(1);
        }
    }
    return (now() - start) / programs;
}

static double compile(void) {
    int ends[2];
    if (pipe(ends)) {
        perror("pipe");
        exit(1);
    }
    double start = now();
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[0], STDIN_FILENO);
        close(ends[0]);
        close(ends[1]);
        execlp("gcc", "gcc", "-O2", "-x", "c", "-c", "-o", "/dev/null", "-", (char *)NULL);
        _exit(127);
    }
    close(ends[0]);
    FILE *text = fdopen(ends[1], "w");
    for (int i = 0; text && i < functions; i++)
        fprintf(text,
                "unsigned f%d(unsigned *p, unsigned n) {\n"
                "    unsigned s = %d;\n"
                "    for (unsigned i = 0; i < n; i++) {\n"
                "        s = s * 31 + (p[i] ^ s >> %d);\n"
                "        if (s & %d) p[i] = s; else s -= p[n - i - 1];\n"
                "    }\n"
                "    return s;\n"
                "}\n",
                i, i, 1 + i % 30, 1 << i % 31);
    if (text) fclose(text);
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "gcc: not run\n");
        exit(1);
    }
    return now() - start;
}

int main(int argc, char **argv) {
    const char *what = argc == 2 ? argv[1] : "";
    double seconds;
    if (!strcmp(what, "ascending")) seconds = touch(0, MADV_NOHUGEPAGE);
    else if (!strcmp(what, "random")) seconds = touch(1, MADV_NOHUGEPAGE);
    else if (!strcmp(what, "huge")) seconds = touch(0, MADV_HUGEPAGE);
    else if (!strcmp(what, "resident")) seconds = load();
    else if (!strcmp(what, "mapping")) seconds = mapping();
    else if (!strcmp(what, "heap")) seconds = heap();
    else if (!strcmp(what, "exec")) seconds = start_programs();
    else if (!strcmp(what, "compile")) seconds = compile();
    else return 64;
    printf("%.12f\n", seconds);
    return 0;
}
