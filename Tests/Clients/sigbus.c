// sigbus load|store FILE OFFSET LENGTH: touches every page of the range once. A page that cannot be had must be
// SIGBUS with BUS_ADRERR at exactly that page. Prints touched=N failed=N first=HEX (offset of the first failure).
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

int main(int argc, char **argv) {
    if (argc != 5) fail("usage: sigbus load|store FILE OFFSET LENGTH");
    int storing = !strcmp(argv[1], "store");
    uint64_t offset = number(argv[3]), length = number(argv[4]);
    int fd = open_file(argv[2], storing ? O_RDWR : O_RDONLY);
    volatile char *bytes = map_file(fd, offset, length, PROT_READ | (storing ? PROT_WRITE : 0), MAP_SHARED);

    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO};
    if (sigaction(SIGBUS, &action, NULL)) fail("sigaction");
    static volatile uint64_t touched, failed, first, at;
    for (at = 0; at < length; at += PAGE) {
        if (sigsetjmp(retry, 1)) {
            char *expected = (char *)bytes + at;
            if (last.si_code != BUS_ADRERR) fail("si_code %d at %#lx", last.si_code, (unsigned long)(offset + at));
            if ((char *)last.si_addr < expected || (char *)last.si_addr >= expected + PAGE)
                fail("si_addr %p for the page at %p", last.si_addr, (void *)expected);
            if (!failed++) first = offset + at;
            continue;
        }
        if (storing) bytes[at] = 1;
        else (void)bytes[at];
        touched++;
    }
    printf("touched=%lu failed=%lu first=%#lx\n", (unsigned long)touched, (unsigned long)failed, (unsigned long)first);
    return 0;
}
