#define _GNU_SOURCE
#include "clients.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { page = 4096 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// A new file, mapped; whoever made it calls discard().
static int make(const char *path, size_t bytes, volatile uint64_t **words) {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    int error = ftruncate(fd, (off_t)bytes) == 0 ? 0 : errno;
    void *address = error ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (!error && address == MAP_FAILED)
        error = errno;
    close(fd);
    if (error)
        unlink(path);
    *words = address;
    return error;
}

static int discard(const char *path, volatile uint64_t *words, size_t bytes) {
    munmap((void *)words, bytes);
    return unlink(path) == 0 ? 0 : errno;
}

int clients_touch(const char *path, size_t bytes, double *seconds) {
    volatile uint64_t *words;
    int error = make(path, bytes, &words);
    if (error)
        return error;
    double start = now();
    for (size_t at = 0; at < bytes; at += page)
        words[at / sizeof *words] = at + 1;
    *seconds = now() - start;
    return discard(path, words, bytes);
}

static void fill(uint64_t *words, size_t count, uint64_t value) {
    for (size_t i = 0; i < count; i++)
        words[i] = value + i;
    // The stores happen, all of them, before the next pass.
    __asm__ volatile("" : : "r"(words) : "memory");
}

int clients_store(const char *path, size_t bytes, long passes, double *seconds) {
    volatile uint64_t *mapped;
    int error = make(path, bytes, &mapped);
    if (error)
        return error;
    uint64_t *words = (uint64_t *)mapped;
    fill(words, bytes / sizeof *words, 1);
    double start = now();
    for (long pass = 0; pass < passes; pass++)
        fill(words, bytes / sizeof *words, (uint64_t)pass);
    *seconds = now() - start;
    return discard(path, mapped, bytes);
}

int clients_fill(const char *path, size_t bytes) {
    enum { chunk = 1 << 20 };
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    void *data = aligned_alloc(page, chunk);
    int error = data ? 0 : ENOMEM;
    if (data)
        memset(data, 0x5a, chunk);
    for (size_t at = 0; !error && at < bytes;) {
        size_t left = bytes - at < chunk ? bytes - at : chunk;
        ssize_t written = pwrite(fd, data, left, (off_t)at);
        if (written <= 0)
            error = written < 0 ? errno : ENOSPC;
        else
            at += (size_t)written;
    }
    free(data);
    close(fd);
    return error;
}

int clients_read_direct(const char *path, size_t bytes, long count, double *seconds) {
    int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        return errno;
    unsigned char *data = aligned_alloc(page, page);
    int error = data ? 0 : ENOMEM;
    uint64_t random = 0x9e3779b97f4a7c15;
    double start = now();
    for (long i = 0; !error && i < count; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        ssize_t got = pread(fd, data, page, (off_t)(random % (bytes / page) * page));
        if (got < 0)
            error = errno;
        // What clients_fill() and the peer have there.
        else if (got != page || data[page - 1] != 0x5a)
            error = EIO;
    }
    *seconds = now() - start;
    free(data);
    close(fd);
    return error;
}

int clients_read_attribute(const char *path, long count, double *seconds) {
    char text[page];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int error = 0;
    double start = now();
    for (long i = 0; !error && i < count; i++) {
        ssize_t got = pread(fd, text, sizeof text, 0);
        if (got <= 0)
            error = got < 0 ? errno : EIO;
    }
    *seconds = now() - start;
    close(fd);
    return error;
}

int clients_write_attribute(const char *path, const char *text, long count, double *seconds) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    size_t length = strlen(text);
    int error = 0;
    double start = now();
    for (long i = 0; !error && i < count; i++) {
        ssize_t put = pwrite(fd, text, length, 0);
        if (put != (ssize_t)length)
            error = put < 0 ? errno : EIO;
    }
    *seconds = now() - start;
    close(fd);
    return error;
}

int clients_pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu >= 0)
        CPU_SET(cpu, &set);
    else
        for (int i = 0; i < CPU_SETSIZE; i++)
            CPU_SET(i, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : errno;
}

int clients_map(const char *path, size_t bytes, void **mapped) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    struct stat status;
    int error = fstat(fd, &status) == 0 ? 0 : errno;
    if (!error && (size_t)status.st_size < bytes && ftruncate(fd, (off_t)bytes) != 0)
        error = errno;
    *mapped = error ? NULL : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (*mapped == MAP_FAILED)
        error = errno;
    close(fd);
    return error;
}

void clients_dirty(void *mapped, size_t bytes) { fill(mapped, bytes / sizeof(uint64_t), 1); }

void clients_unmap(void *mapped, size_t bytes) { munmap(mapped, bytes); }

int clients_command(const char *path, const char *text, double *seconds) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    size_t length = strlen(text);
    double start = now();
    ssize_t put = pwrite(fd, text, length, 0);
    int error = put == (ssize_t)length ? 0 : put < 0 ? errno : EIO;
    *seconds = now() - start;
    close(fd);
    return error;
}

int clients_copy(size_t bytes, double *seconds) {
    static void *memory[2];
    static size_t size;
    static int target;
    if (size != bytes) {
        for (int i = 0; i < 2; i++) {
            int fd = memfd_create("copy", MFD_CLOEXEC);
            if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
                return errno;
            memory[i] = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (memory[i] == MAP_FAILED)
                return errno;
            target = fd;
        }
        fill(memory[0], bytes / sizeof(uint64_t), 1);
        size = bytes;
    }
    if (fallocate(target, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) != 0)
        return errno;
    double start = now();
    memcpy(memory[1], memory[0], bytes);
    __asm__ volatile("" : : "r"(memory[1]) : "memory");
    *seconds = now() - start;
    return 0;
}

static int by_value(const void *first, const void *second) {
    double difference = *(const double *)first - *(const double *)second;
    return (difference > 0) - (difference < 0);
}

int clients_read_percentile(const char *path, size_t bytes, long count, int percent, double *seconds) {
    int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        return errno;
    unsigned char *data = aligned_alloc(page, page);
    double *times = calloc((size_t)count, sizeof *times);
    int error = data && times ? 0 : ENOMEM;
    for (long i = 0; !error && i < count; i++) {
        double start = now();
        if (pread(fd, data, page, (off_t)((size_t)i * 7919 % (bytes / page) * page)) != page)
            error = EIO;
        times[i] = now() - start;
    }
    if (!error) {
        qsort(times, (size_t)count, sizeof *times, by_value);
        *seconds = times[count * percent / 100];
    }
    free(times);
    free(data);
    close(fd);
    return error;
}
