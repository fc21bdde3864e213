// poison keep|load|store FILE SIZE [THREADS]: maps a file, and for each SIGUSR1 touches every page of it, with each of the threads,
// and prints one line: which pages were SIGBUS, with what si_code and si_addr_lsb, which are zero, and which hold something else than they
// should, or not the same for all threads. At first it stores to every page (store), reads every page (load), or neither (keep). Each
// page holds its number plus one.
#include "client.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

static _Thread_local sigjmp_buf retry;
static _Thread_local siginfo_t last;

static void handle(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    last = *info;
    siglongjmp(retry, 1);
}

static void list(const char *name, const char *marks, uint64_t pages, char mark) {
    const char *separator = "";
    printf("%s=", name);
    for (uint64_t page = 0; page < pages; page++)
        if (marks[page] == mark) {
            printf("%s%lu", separator, (unsigned long)page);
            separator = ",";
        }
}

#define STEP (PAGE / sizeof(uint64_t))
static volatile uint64_t *words;
static uint64_t pages;

// What one thread has met.
struct round {
    pthread_t thread;
    char *marks;
    volatile uint64_t page;
    volatile int code, granularity, strays;
};

static void *touch_all(void *argument) {
    struct round *round = argument;
    round->code = round->granularity = round->strays = 0;
    for (round->page = 0; round->page < pages; round->page++) {
        volatile uint64_t *at = words + round->page * STEP;
        if (sigsetjmp(retry, 1)) {
            round->marks[round->page] = 'b';
            round->code = round->code && round->code != last.si_code ? -1 : last.si_code;
            round->granularity = last.si_addr_lsb;
            round->strays += last.si_addr != (void *)(words + round->page * STEP);
            continue;
        }
        uint64_t value = *at;
        round->marks[round->page] = value == round->page + 1 ? 'g' : value ? 'w' : '0';
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 4 || argc > 5) fail("usage: poison keep|load|store FILE SIZE [THREADS]");
    uint64_t size = number(argv[3]), count = argc == 5 ? number(argv[4]) : 1;
    pages = size / PAGE;
    int fd = open_file(argv[2], O_RDWR);
    words = map_file(fd, 0, size, PROT_READ | PROT_WRITE, MAP_SHARED);
    struct round *rounds = calloc(count, sizeof *rounds);
    if (!rounds) fail("calloc");
    for (uint64_t i = 0; i < count; i++)
        if (!(rounds[i].marks = malloc(pages))) fail("malloc");

    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO};
    if (sigaction(SIGBUS, &action, NULL)) fail("sigaction");
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);

    for (uint64_t page = 0; page < pages; page++) {
        if (!strcmp(argv[1], "store")) words[page * STEP] = page + 1;
        if (!strcmp(argv[1], "load")) (void)words[page * STEP];
    }
    puts("ready");
    fflush(stdout);
    for (int signal; !sigwait(&set, &signal) && signal == SIGUSR1;) {
        for (uint64_t i = 1; i < count; i++)
            if (pthread_create(&rounds[i].thread, NULL, touch_all, rounds + i)) fail("pthread_create");
        touch_all(rounds);
        char *marks = rounds->marks;
        int code = rounds->code, strays = rounds->strays;
        for (uint64_t i = 1; i < count; i++) {
            pthread_join(rounds[i].thread, NULL);
            for (uint64_t page = 0; page < pages; page++)
                if (rounds[i].marks[page] != marks[page]) marks[page] = 'w';
            if (rounds[i].code != code || rounds[i].granularity != rounds->granularity) code = -1;
            strays += rounds[i].strays;
        }
        list("bad", marks, pages, 'b');
        list(" zero", marks, pages, '0');
        list(" wrong", marks, pages, 'w');
        printf(" code=%d lsb=%d strays=%d\n", code, rounds->granularity, strays);
        fflush(stdout);
    }
    return 0;
}
