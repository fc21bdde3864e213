// failing calls FILE: maps a file whose first page has failed: what a system call does with it is an error, and no signal.
// failing exec FILE: threads touch that page again and again, and the program becomes /bin/true meanwhile.
// failing storm FILE: they do so until the program is killed.
// failing cost FILE COUNT: prints the nanoseconds that a touch of it takes, with its signal (ns=N).
#include "expect.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <time.h>

static volatile char *page;
static _Thread_local sigjmp_buf back;

static void leave(int signal) {
    (void)signal;
    siglongjmp(back, 1);
}

static void touch(void) {
    if (sigsetjmp(back, 1)) return;
    (void)*page;
    fail("a page that did not fail");
}

static __attribute__((noreturn)) void *touch_for_ever(void *argument) {
    (void)argument;
    while (1) touch();
}

int main(int argc, char **argv) {
    if (argc < 3) fail("usage: failing calls|exec|storm|cost FILE [COUNT]");
    int fd = open_file(argv[2], O_RDWR);
    page = map_file(fd, 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    struct sigaction action = {.sa_handler = leave};
    if (sigaction(SIGBUS, &action, NULL)) fail("sigaction");
    if (!strcmp(argv[1], "calls")) {
        char byte;
        int ends[2];
        if (pipe(ends) || write(ends[1], "hello", 5) != 5) fail("pipe");
        expect_error("read(2) of it", pread(fd, &byte, 1, 0), EIO);
        expect_error("write(2) of it", pwrite(fd, &byte, 1, 0), EIO);
        expect_error("read(2) into it", read(ends[0], (void *)page, 5), EFAULT);
        expect_error("write(2) from it", write(ends[1], (const void *)page, 5), EFAULT);
        touch();
        puts("ok");
        return 0;
    }
    if (!strcmp(argv[1], "cost")) {
        uint64_t count = number(argv[3]);
        struct timespec start, end;
        clock_gettime(CLOCK_MONOTONIC, &start);
        for (uint64_t i = 0; i < count; i++) touch();
        clock_gettime(CLOCK_MONOTONIC, &end);
        int64_t time = (end.tv_sec - start.tv_sec) * 1000000000 + end.tv_nsec - start.tv_nsec;
        printf("ns=%lu\n", (unsigned long)time / count);
        return 0;
    }
    for (int i = 0; i < 4; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, touch_for_ever, NULL)) fail("pthread_create");
    }
    puts("ready");
    fflush(stdout);
    if (!strcmp(argv[1], "exec")) {
        usleep((useconds_t)(mix((uint64_t)getpid()) % 4000));
        execl("/bin/true", "true", NULL);
        fail("execl");
    }
    while (1) pause();
}
