#define _GNU_SOURCE
#include "clients.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

static void *touched(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    memset(memory, 5, bytes);
    return memory;
}

int clients_checksum(size_t bytes, double *seconds) {
    void *memory = touched(bytes);
    if (!memory)
        return ENOMEM;
    double start = now();
    volatile uLong checksum = crc32_z(0, memory, bytes);
    (void)checksum;
    *seconds = now() - start;
    munmap(memory, bytes);
    return 0;
}

int clients_copy_resident(size_t bytes, double *seconds) {
    void *from = touched(bytes), *to = touched(bytes);
    int error = from && to ? 0 : ENOMEM;
    if (!error) {
        double start = now();
        memcpy(to, from, bytes);
        *seconds = now() - start;
    }
    if (from)
        munmap(from, bytes);
    if (to)
        munmap(to, bytes);
    return error;
}

/// Reads the results and returns the last line; NULL where there is none, or it cannot be read.
static char *last_result(int results, char text[8192]) {
    ssize_t length = pread(results, text, 8191, 0);
    if (length <= 0)
        return NULL;
    text[length] = 0;
    text[length - 1] = 0;
    char *line = strrchr(text, '\n');
    return line ? line + 1 : text;
}

static int open_queue(const char *queue, const char *file, int flags) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", queue, file);
    return open(path, flags | O_CLOEXEC);
}

int clients_execute(const char *queue, const char *command, double *seconds) {
    char text[8192], *line;
    int submit = open_queue(queue, "submit", O_WRONLY), results = open_queue(queue, "results", O_RDONLY);
    int error = submit < 0 || results < 0 ? errno : 0;
    if (!error) {
        line = last_result(results, text);
        unsigned long before = line ? strtoul(line, NULL, 10) : 0;
        double start = now();
        if (write(submit, command, strlen(command)) < 0)
            error = errno;
        while (!error) {
            line = last_result(results, text);
            if (line && strtoul(line, NULL, 10) > before) {
                error = strstr(line, " ok ") ? 0 : EIO;
                break;
            }
            struct pollfd entry = {results, POLLPRI, 0};
            if (poll(&entry, 1, 10000) == 0)
                error = ETIMEDOUT;
        }
        *seconds = now() - start;
    }
    if (submit >= 0)
        close(submit);
    if (results >= 0)
        close(results);
    return error;
}

static int by_value(const void *first, const void *second) {
    double difference = *(const double *)first - *(const double *)second;
    return (difference > 0) - (difference < 0);
}

int clients_touch_percentile(const char *path, long count, int percent, double *seconds) {
    enum { apart = 32 * page };
    size_t bytes = (size_t)count * apart;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    volatile char *mapped = MAP_FAILED;
    double *times = calloc((size_t)count, sizeof *times);
    int error = !times ? ENOMEM : ftruncate(fd, (off_t)bytes) ? errno : 0;
    if (!error) {
        mapped = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
        error = mapped == MAP_FAILED || madvise((void *)mapped, bytes, MADV_RANDOM) ? errno : 0;
    }
    for (long i = 0; !error && i < count; i++) {
        double start = now();
        (void)mapped[(size_t)i * apart];
        times[i] = now() - start;
    }
    if (!error) {
        qsort(times, (size_t)count, sizeof *times, by_value);
        *seconds = times[count * percent / 100];
    }
    if (mapped != MAP_FAILED)
        munmap((void *)mapped, bytes);
    free(times);
    close(fd);
    unlink(path);
    return error;
}

enum { most_recalls = 4096, recall_pause = 20000 };

struct clients_recall {
    pthread_t thread;
    atomic_bool is_over;
    int error;
    long count;
    double times[most_recalls];
    char queue[4096], path[4096], command[256];
};

static void *recall(void *argument) {
    struct clients_recall *recall = argument;
    int fd = open(recall->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        recall->error = errno;
    while (!recall->error && !atomic_load(&recall->is_over)) {
        double ignored;
        char byte;
        recall->error = clients_execute(recall->queue, recall->command, &ignored);
        double start = now();
        if (!recall->error && pread(fd, &byte, 1, 0) != 1)
            recall->error = EIO;
        if (recall->count < most_recalls)
            recall->times[recall->count++] = now() - start;
        usleep(recall_pause);
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

int clients_begin_recall(const char *queue, const char *path, const char *command, struct clients_recall **begun) {
    struct clients_recall *made = calloc(1, sizeof *made);
    if (!made)
        return ENOMEM;
    snprintf(made->queue, sizeof made->queue, "%s", queue);
    snprintf(made->path, sizeof made->path, "%s", path);
    snprintf(made->command, sizeof made->command, "%s", command);
    int error = pthread_create(&made->thread, NULL, recall, made);
    if (error) {
        free(made);
        return error;
    }
    *begun = made;
    return 0;
}

int clients_end_recall(struct clients_recall *recall, double *seconds) {
    atomic_store(&recall->is_over, 1);
    pthread_join(recall->thread, NULL);
    int error = recall->error ? recall->error : recall->count ? 0 : EAGAIN;
    if (!error) {
        qsort(recall->times, (size_t)recall->count, sizeof *recall->times, by_value);
        *seconds = recall->times[recall->count / 2];
    }
    free(recall);
    return error;
}
