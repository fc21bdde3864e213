#define _GNU_SOURCE
#include "clients.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

struct incrementer {
    pthread_t thread;
    struct clients_increments *all;
    uint64_t state, done;
};

struct clients_increments {
    _Atomic uint64_t *words;
    size_t bytes;
    uint64_t before;
    double start;
    atomic_int is_over;
    int count;
    struct incrementer threads[];
};

static void *increment(void *argument) {
    struct incrementer *own = argument;
    struct clients_increments *all = own->all;
    size_t pages = all->bytes / page;
    while (!atomic_load_explicit(&all->is_over, memory_order_relaxed)) {
        // Looking at the flag takes no part of the time worth mentioning.
        for (int i = 0; i < 256; i++) {
            size_t number = next_random(&own->state) % pages;
            atomic_fetch_add_explicit(&all->words[number * (page / sizeof *all->words)], 1, memory_order_relaxed);
        }
        own->done += 256;
    }
    return NULL;
}

static uint64_t sum_of(struct clients_increments *all) {
    uint64_t sum = 0;
    for (size_t at = 0; at < all->bytes; at += page)
        sum += all->words[at / sizeof *all->words];
    return sum;
}

int clients_begin_increments(void *mapped, size_t bytes, int threads, struct clients_increments **begun) {
    struct clients_increments *all = calloc(1, sizeof *all + (size_t)threads * sizeof all->threads[0]);
    if (!all)
        return ENOMEM;
    all->words = mapped;
    all->bytes = bytes;
    all->before = sum_of(all);
    all->start = now();
    for (; all->count < threads; all->count++) {
        struct incrementer *own = &all->threads[all->count];
        *own = (struct incrementer){.all = all, .state = seed + (uint64_t)all->count};
        if (pthread_create(&own->thread, NULL, increment, own) != 0)
            break;
    }
    *begun = all;
    if (all->count == threads)
        return 0;
    double rate;
    clients_end_increments(all, &rate);
    return EAGAIN;
}

int clients_end_increments(struct clients_increments *all, double *rate) {
    atomic_store(&all->is_over, 1);
    uint64_t done = 0;
    for (int i = 0; i < all->count; i++) {
        pthread_join(all->threads[i].thread, NULL);
        done += all->threads[i].done;
    }
    *rate = (double)done / (now() - all->start);
    int error = sum_of(all) - all->before == done ? 0 : EILSEQ;
    free(all);
    return error;
}

int clients_scatter(const char *path, size_t bytes) {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    off_t end = 0;
    // To the last frame: what is left over would be free in one piece.
    for (size_t step = 1 << 20; step >= page; step = step > page ? page : 0)
        while ((size_t)end + step <= bytes && fallocate(fd, 0, end, (off_t)step) == 0)
            end += (off_t)step;
    int error = end ? 0 : ENOSPC;
    for (off_t at = 0; !error && at < end; at += 2 * page)
        if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, page) != 0)
            error = errno;
    close(fd);
    return error;
}
