#define _GNU_SOURCE
#include "wait.h"
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

enum {
    // How long a thread looks for something before it sleeps, in nanoseconds as all that follows.
    LOOK = 100 * 1000,
    // A yield that takes longer shows that others need the CPU. Of these a thread that is woken goes first, and one that yields does not.
    LONG_YIELD = 50 * 1000,
    // How long threads sleep at once afterwards.
    REST = 2 * 1000 * 1000,
};

static _Atomic int64_t rest_until;

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 * 1000 * 1000 + now.tv_nsec;
}

int wait_soon(struct pollfd *entries, nfds_t count) {
    const int64_t start = nanoseconds();
    if (start < atomic_load_explicit(&rest_until, memory_order_relaxed)) return 0;
    for (int64_t last = start;;) {
        int ready = poll(entries, count, 0);
        if (ready || last - start > LOOK) return ready;
        sched_yield();
        int64_t now = nanoseconds();
        if (now - last > LONG_YIELD) {
            atomic_store_explicit(&rest_until, now + REST, memory_order_relaxed);
            return poll(entries, count, 0);
        }
        last = now;
    }
}
