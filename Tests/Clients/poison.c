// poison keep|load|store FILE SIZE: maps a file, and for each SIGUSR1 touches every page of it and prints one line: which
// pages were SIGBUS, with what si_code, which are zero, and which hold something else than they should. At first it stores
// to every page (store), reads every page (load), or neither (keep). Each page holds its number plus one.
#include "client.h"
#include <setjmp.h>
#include <signal.h>

static sigjmp_buf retry;
static siginfo_t last;

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

int main(int argc, char **argv) {
    if (argc != 4) fail("usage: poison keep|load|store FILE SIZE");
    uint64_t size = number(argv[3]), pages = size / PAGE;
    int fd = open_file(argv[2], O_RDWR);
    volatile uint64_t *words = map_file(fd, 0, size, PROT_READ | PROT_WRITE, MAP_SHARED);
    const uint64_t step = PAGE / sizeof *words;
    char *marks = malloc(pages);
    if (!marks) fail("malloc");

    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO};
    if (sigaction(SIGBUS, &action, NULL)) fail("sigaction");
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);

    for (uint64_t page = 0; page < pages; page++) {
        if (!strcmp(argv[1], "store")) words[page * step] = page + 1;
        if (!strcmp(argv[1], "load")) (void)words[page * step];
    }
    puts("ready");
    fflush(stdout);
    for (int signal; !sigwait(&set, &signal) && signal == SIGUSR1;) {
        static volatile uint64_t page;
        static volatile int code, strays;
        code = strays = 0;
        for (page = 0; page < pages; page++) {
            volatile uint64_t *at = words + page * step;
            if (sigsetjmp(retry, 1)) {
                marks[page] = 'b';
                code = code && code != last.si_code ? -1 : last.si_code;
                strays += last.si_addr != (void *)at;
                continue;
            }
            uint64_t value = *at;
            marks[page] = value == page + 1 ? 'g' : value ? 'w' : '0';
        }
        list("bad", marks, pages, 'b');
        list(" zero", marks, pages, '0');
        list(" wrong", marks, pages, 'w');
        printf(" code=%d strays=%d\n", code, strays);
        fflush(stdout);
    }
    return 0;
}
