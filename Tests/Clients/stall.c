// stall FILE BYTES mapped|read MILLISECONDS MICROSECONDS: touches every page of a file again and again, through a mapping that keeps
// the pages resident or by O_DIRECT reads that find none, and times each touch. Beside it a thread sleeps for MICROSECONDS again and
// again: how late it wakes is the delay of the scheduler at that very time.
//
// After "ready" and MILLISECONDS: touches, the number of touches that took at least half of MICROSECONDS, the 99th percentile and the
// longest of these, and the 99th percentile and the longest of the sleeps, µs.
#include "client.h"
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { most = 1 << 20 };

static struct samples {
    uint32_t values[most];
    int count;
} touches, sleeps;

static atomic_int is_over;
static uint64_t period;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void note(struct samples *samples, uint64_t value) {
    if (samples->count < most) samples->values[samples->count++] = (uint32_t)value;
}

static void *sleeper(void *unused) {
    struct timespec t = {.tv_sec = (time_t)(period / 1000000), .tv_nsec = (long)(period % 1000000) * 1000};
    while (!atomic_load(&is_over)) {
        uint64_t start = now();
        nanosleep(&t, NULL);
        note(&sleeps, now() - start);
    }
    return unused;
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t percentile(struct samples *samples, int percent) {
    if (!samples->count) return 0;
    qsort(samples->values, (size_t)samples->count, sizeof samples->values[0], ascending);
    return samples->values[(samples->count - 1) * (long)percent / 100];
}

int main(int argc, char **argv) {
    if (argc != 6) fail("usage: stall FILE BYTES mapped|read MILLISECONDS MICROSECONDS");
    uint64_t bytes = number(argv[2]), length = number(argv[4]) * 1000;
    period = number(argv[5]);
    int is_mapped = !strcmp(argv[3], "mapped");
    int fd = open_file(argv[1], O_RDWR | (is_mapped ? 0 : O_DIRECT));
    volatile char *mapped = is_mapped ? map_file(fd, 0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED) : NULL;
    void *page;
    if (posix_memalign(&page, PAGE, PAGE)) fail("no memory");
    if (is_mapped)
        for (uint64_t at = 0; at < bytes; at += PAGE) mapped[at]++;
    pthread_t thread;
    if (pthread_create(&thread, NULL, sleeper, NULL)) fail("no thread");
    puts("ready");
    fflush(stdout);
    uint64_t start = now(), before = start, done = 0;
    while (before - start < length)
        for (uint64_t at = 0; at < bytes; at += PAGE, done++) {
            if (is_mapped)
                mapped[at]++;
            else if (pread(fd, page, PAGE, (off_t)at) != (ssize_t)PAGE)
                fail("read at %lu", (unsigned long)at);
            uint64_t after = now();
            if (after - before >= period / 2) note(&touches, after - before);
            before = after;
        }
    atomic_store(&is_over, 1);
    pthread_join(thread, NULL);
    int stalls = touches.count;
    uint32_t stall99 = percentile(&touches, 99), sleep99 = percentile(&sleeps, 99);
    printf(
        "touches=%lu stalls=%d stall99=%u stallmax=%u sleep99=%u sleepmax=%u\n", (unsigned long)done, stalls, stall99,
        stalls ? touches.values[stalls - 1] : 0, sleep99, sleeps.count ? sleeps.values[sleeps.count - 1] : 0);
    return 0;
}
