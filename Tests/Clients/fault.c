// fault FILE LENGTH THREADS: says `ready` and faults for ever: every thread touches random pages and now and then
// punches a hole, so that whoever kills this process is likely to kill it inside a fault.
#include "client.h"
#include <pthread.h>

static volatile char *bytes;
static uint64_t length;
static int fd;

static void *work(void *argument) {
    uint64_t random = (uintptr_t)argument << 32;
    for (uint64_t i = 1;; i++) {
        uint64_t choice = next_random(&random), at = choice % (length / PAGE) * PAGE;
        if (choice >> 63) bytes[at] = 1;
        else (void)bytes[at];
        if (i % 64 == 0) {
            uint64_t hole = at & -(1UL << 20);
            if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)hole, 1 << 20)) fail("punch");
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 4) fail("usage: fault FILE LENGTH THREADS");
    length = number(argv[2]);
    fd = open_file(argv[1], O_RDWR);
    bytes = map_file(fd, 0, length, PROT_READ | PROT_WRITE, MAP_SHARED);
    puts("ready");
    fflush(stdout);
    pthread_t thread;
    for (uint64_t i = 1; i < number(argv[3]); i++)
        if (pthread_create(&thread, NULL, work, (void *)(uintptr_t)i)) fail("pthread_create");
    work(NULL);
}
