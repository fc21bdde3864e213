#define _GNU_SOURCE
#include "clients.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { filling = 0x5a };

int clients_fill(const char *path, size_t bytes) {
    enum { chunk = 1 << 20 };
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    void *data = aligned_alloc(page, chunk);
    int error = data ? 0 : ENOMEM;
    if (data)
        memset(data, filling, chunk);
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

int clients_transfer(const char *path, size_t bytes, size_t size, long count, unsigned kind, double *seconds) {
    int writes = (kind & clients_write) != 0;
    int fd = open(path, (writes ? O_WRONLY : O_RDONLY) | (kind & clients_direct ? O_DIRECT : 0) | O_CLOEXEC);
    if (fd < 0)
        return errno;
    unsigned char *data = aligned_alloc(page, size);
    int error = data ? 0 : ENOMEM;
    if (data)
        memset(data, filling, size);
    uint64_t state = seed;
    double start = now();
    for (long i = 0; !error && i < count; i++) {
        off_t at = (off_t)(next_random(&state) % (bytes / size) * size);
        ssize_t got = writes ? pwrite(fd, data, size, at) : pread(fd, data, size, at);
        if (got < 0)
            error = errno;
        else if (got != (ssize_t)size || data[size - 1] != filling)
            error = EIO;
    }
    *seconds = now() - start;
    free(data);
    close(fd);
    return error;
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

int clients_command(const char *path, const char *text, double *seconds) {
    return clients_write_attribute(path, text, 1, seconds);
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
