// increment FILE LENGTH THREADS: says `ready`, then atomically increments random counters all over the file until
// SIGTERM; the sum of all counters must be what the threads counted. Prints counted=N found=N.
#include "client.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

static _Atomic uint64_t *counters;
static uint64_t count_of_counters;
static atomic_bool stopping;
static uint64_t counted[64];

static void *work(void *argument) {
    uint64_t thread = (uintptr_t)argument, random = thread << 32, mine = 0;
    while (!atomic_load_explicit(&stopping, memory_order_relaxed)) {
        atomic_fetch_add_explicit(&counters[next_random(&random) % count_of_counters], 1, memory_order_relaxed);
        mine++;
    }
    counted[thread] = mine;
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 4) fail("usage: increment FILE LENGTH THREADS");
    uint64_t length = number(argv[2]), threads = number(argv[3]);
    if (threads < 1 || threads > 64) fail("1 to 64 threads");
    int fd = open_file(argv[1], O_RDWR);
    counters = map_file(fd, 0, length, PROT_READ | PROT_WRITE, MAP_SHARED);
    count_of_counters = length / sizeof *counters;

    uint64_t before = 0, total = 0, found = 0;
    for (uint64_t i = 0; i < count_of_counters; i++) before += counters[i];

    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    pthread_t handles[64];
    for (uint64_t i = 0; i < threads; i++)
        if (pthread_create(&handles[i], NULL, work, (void *)(uintptr_t)i)) fail("pthread_create");
    puts("ready");
    fflush(stdout);
    int which;
    sigwait(&signals, &which);
    atomic_store(&stopping, 1);
    for (uint64_t i = 0; i < threads; i++) {
        pthread_join(handles[i], NULL);
        total += counted[i];
    }
    for (uint64_t i = 0; i < count_of_counters; i++) found += counters[i];
    printf("counted=%lu found=%lu\n", (unsigned long)total, (unsigned long)(found - before));
    return total == found - before ? 0 : 1;
}
