// What the clients share. Each does one thing to a file, prints one line of `name=value` words, and exits 0;
// what goes wrong is one line on stderr and exit status 1.
#ifndef CLIENT_H
#define CLIENT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096UL

static inline __attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...) {
    int error = errno;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    if (error) fprintf(stderr, " (%s)", strerror(error));
    fputc('\n', stderr);
    _exit(1);
}

static inline uint64_t number(const char *text) {
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 0);
    switch (*end) {
    case 'G': value <<= 10; /* fall through */
    case 'M': value <<= 10; /* fall through */
    case 'K': value <<= 10; end++;
    }
    if (errno || *end || end == text) fail("not a number: %s", text);
    return value;
}

static inline int open_file(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC, 0644);
    if (fd < 0) fail("open %s", path);
    return fd;
}

static inline void *map_file(int fd, uint64_t offset, uint64_t length, int protection, int flags) {
    void *address = mmap(NULL, length, protection, flags, fd, (off_t)offset);
    if (address == MAP_FAILED) fail("mmap of %lu at %lu", (unsigned long)length, (unsigned long)offset);
    return address;
}

// splitmix64: the value that word `index` of a pattern has, and the generator of every random choice.
static inline uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

static inline uint64_t next_random(uint64_t *state) { return mix((*state)++); }

#endif
