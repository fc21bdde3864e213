#define _GNU_SOURCE
#include "clients.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct toucher {
    pthread_t thread;
    pthread_barrier_t *gate;
    char *mapped;
    size_t pages, first, step;
    uint64_t state;
};

static void *touch_in_turn(void *argument) {
    struct toucher *toucher = argument;
    size_t *order = malloc(toucher->pages * sizeof *order), count = 0;
    for (size_t i = toucher->first; order && i < toucher->pages; i += toucher->step)
        order[count++] = i;
    for (size_t i = count; i > 1; i--) {
        size_t other = next_random(&toucher->state) % i, moved = order[i - 1];
        order[i - 1] = order[other];
        order[other] = moved;
    }
    pthread_barrier_wait(toucher->gate);
    for (size_t i = 0; i < count; i++)
        *(volatile uint64_t *)(toucher->mapped + order[i] * page) = i + 1;
    free(order);
    return count ? argument : NULL;
}

int clients_touch_by_threads(const char *path, size_t bytes, int files, int threads, double *seconds) {
    struct toucher *touchers = calloc((size_t)threads, sizeof *touchers);
    char **mapped = calloc((size_t)files, sizeof *mapped);
    if (!touchers || !mapped)
        return ENOMEM;
    size_t size = bytes / (size_t)files;
    int error = 0;
    for (int i = 0; i < files; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s%d", path, i);
        void *place;
        double sizing;
        error = clients_map(name, size, &place, &sizing);
        if (error)
            return error;
        mapped[i] = place;
        // Each touch is to be a fault of its own.
        madvise(place, size, MADV_RANDOM);
    }
    pthread_barrier_t gate;
    pthread_barrier_init(&gate, NULL, (unsigned)threads + 1);
    int together = threads / files;
    for (int i = 0; i < threads; i++) {
        touchers[i] = (struct toucher){
            .gate = &gate,
            .mapped = mapped[i / together],
            .pages = size / page,
            .first = (size_t)(i % together),
            .step = (size_t)together,
            .state = seed + (uint64_t)i,
        };
        if (pthread_create(&touchers[i].thread, NULL, touch_in_turn, &touchers[i]) != 0)
            abort();
    }
    pthread_barrier_wait(&gate);
    double start = now();
    for (int i = 0; i < threads; i++) {
        void *result;
        pthread_join(touchers[i].thread, &result);
        if (!result)
            error = ENOMEM;
    }
    *seconds = now() - start;
    pthread_barrier_destroy(&gate);
    for (int i = 0; i < files; i++)
        clients_unmap(mapped[i], size);
    free(mapped);
    free(touchers);
    return error;
}

static _Noreturn void count_in(const char *path, size_t bytes, int ready, int gate) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), byte = 0;
    // All of them have it mapped before the first begins.
    if (mapped == MAP_FAILED || write(ready, &byte, 1) != 1 || read(gate, &byte, 1) != 0)
        _exit(1);
    for (size_t at = 0; at < bytes; at += page)
        __atomic_fetch_add((uint64_t *)(mapped + at), 1, __ATOMIC_RELAXED);
    _exit(0);
}

int clients_touch_by_processes(const char *path, size_t bytes, int count, double *seconds) {
    void *mapped;
    double sizing;
    int error = clients_map(path, bytes, &mapped, &sizing);
    int ready[2], gate[2];
    if (error)
        return error;
    if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(gate, O_CLOEXEC) != 0)
        return errno;
    pid_t *children = calloc((size_t)count, sizeof *children);
    int started = 0;
    for (; children && started < count; started++) {
        pid_t child = fork();
        if (child < 0) {
            error = errno;
            break;
        }
        if (child > 0) {
            children[started] = child;
            continue;
        }
        close(gate[1]);
        close(ready[0]);
        count_in(path, bytes, ready[1], gate[0]);
    }
    close(ready[1]);
    char byte;
    for (int i = 0; i < started; i++)
        if (read(ready[0], &byte, 1) != 1)
            error = EIO;
    double start = now();
    close(gate[1]);
    for (int i = 0; i < started; i++) {
        int status;
        if (waitpid(children[i], &status, 0) < 0 || status != 0)
            error = error ? error : EIO;
    }
    *seconds = now() - start;
    for (size_t at = 0; !error && at < bytes; at += page)
        if (*(volatile uint64_t *)((char *)mapped + at) != (uint64_t)count)
            error = EILSEQ;
    free(children);
    close(gate[0]);
    close(ready[0]);
    clients_unmap(mapped, bytes);
    return error;
}
