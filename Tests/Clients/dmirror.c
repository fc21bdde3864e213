// dmirror DEVICE WHAT [ARGUMENT]: the ioctls of Linux's HMM test driver, one thing a run. Prints `name=value` words.
//   errnos        what is malformed or forbidden; prints wrong=N
//   touch SEED    which pages the CPU's touches bring back; prints local=N back=N wrong=N
//   model SEED    random loads, stores and device commands against a model; prints steps=N
//   fork          a child uses its parent's mirror
//   exec          what a mirror is worth once its opener runs another program
//   many          how many mirrors one user may open; prints opened=N errno=E
//   own FILE      memory of the mount itself
//   take PAGES    has pages go to the device; prints errno=E local=N, and at each SIGUSR1 how many still are there
//   stuck         a device read that waits for a page that never comes; prints ready, and is to be killed
//   storm SECONDS threads that map, unmap, store and let the device at it
#include "client.h"
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

struct command {
    uint64_t address, pointer, pages, cpages, faults;
};

enum { READ, WRITE, TO_DEVICE, TO_SYSTEM, SNAPSHOT, EXCLUSIVE, CHECK_EXCLUSIVE, RELEASE, FLAGS };
enum { HIDDEN = 0x20, COHERENT = 0x40, MAY_READ = 1, MAY_WRITE = 2 };

static struct command last;

// 0 or an errno.
static int device(int fd, unsigned action, const void *address, const void *pointer, uint64_t pages) {
    last = (struct command){(uint64_t)address, (uint64_t)pointer, pages, ~0UL, ~0UL};
    return ioctl(fd, _IOWR('H', action, struct command), &last) ? errno : 0;
}

static char *memory(uint64_t pages) {
    return map_file(-1, 0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
}

static void must(int error, const char *what) {
    errno = error;
    if (error) fail("%s", what);
}

static int wrong;

static void expect(int expected, int got, const char *what) {
    if (expected == got) return;
    fprintf(stderr, "%s: %s, expected %s\n", what, strerror(got), strerror(expected));
    wrong++;
}

static void errnos(int fd) {
    char *a = memory(8), *b = memory(8);
    memset(a, 1, 8 * PAGE);
    struct command c = {(uint64_t)a, (uint64_t)b, 1, 0, 0};
    expect(ENOTTY, ioctl(fd, 0x5401, &c) ? errno : 0, "TCGETS");
    expect(ENOTTY, ioctl(fd, _IOWR('H', 0x40, c), &c) ? errno : 0, "an unknown number");
    expect(ENOTTY, ioctl(fd, _IOR('H', READ, c), &c) ? errno : 0, "another direction");
    expect(ENOTTY, ioctl(fd, _IOWR('H', READ, uint64_t), &c) ? errno : 0, "another size");
    expect(EFAULT, ioctl(fd, _IOWR('H', READ, c), (void *)16) ? errno : 0, "no structure");
    expect(EINVAL, device(fd, READ, a + 8, b, 1), "an unaligned address");
    expect(EINVAL, device(fd, READ, a, b, 0), "no pages");
    expect(EINVAL, device(fd, READ, a, b, 1UL << 52), "pages whose bytes do not fit");
    expect(EINVAL, device(fd, READ, a, b, ~0UL), "the most pages");
    expect(EINVAL, device(fd, READ, (void *)-PAGE, b, 1), "the last page");
    expect(ENOMEM, device(fd, READ, a, b, 1UL << 40), "pages without number");
    expect(EFAULT, device(fd, READ, (void *)0x7fffffffe000, b, 4), "beyond user memory");
    expect(EFAULT, device(fd, READ, (void *)(1UL << 63), b, 1), "the kernel's half");
    expect(EFAULT, device(fd, READ, 0, b, 1), "address 0");
    expect(EFAULT, device(fd, READ, a, 0, 1), "data to address 0");
    expect(EFAULT, device(fd, WRITE, a, 0, 1), "data from address 0");
    expect(EFAULT, device(fd, READ, a, (void *)~0xfffUL, 8), "data beyond the end");
    expect(EINVAL, device(fd, FLAGS, a, b, 2), "an unknown flag");
    expect(0, device(fd, FLAGS, a, b, 1), "a flag");
    munmap(a + 4 * PAGE, PAGE);
    expect(EFAULT, device(fd, READ, a, b, 8), "a hole, read");
    expect(EFAULT, device(fd, WRITE, a, b, 8), "a hole, written");
    if (a[0] != 1) expect(0, EIO, "a refused write changed something");
    expect(EINVAL, device(fd, TO_DEVICE, a, b, 8), "a hole, to the device");
    expect(EINVAL, device(fd, TO_SYSTEM, a, b, 8), "a hole, back");
    expect(EFAULT, device(fd, EXCLUSIVE, a, b, 8), "a hole, exclusive");
    expect(0, device(fd, SNAPSHOT, a, b, 8), "a hole, looked at");
    if ((unsigned char)b[4] != 0xff || b[3] != MAY_WRITE) expect(0, EIO, "what a hole looks like");
    mprotect(a, PAGE, PROT_NONE);
    expect(EFAULT, device(fd, READ, a, b, 1), "no permission, read");
    expect(EFAULT, device(fd, WRITE, a, b, 1), "no permission, written");
    expect(EINVAL, device(fd, TO_DEVICE, a, b, 1), "no permission, to the device");
    mprotect(a, PAGE, PROT_READ);
    expect(EPERM, device(fd, WRITE, a, b, 1), "read-only, written");
    if (a[0] != 1) expect(0, EIO, "a read-only page changed");
    expect(EFAULT, device(fd, READ, a + PAGE, a, 1), "data to read-only memory");
    if (a[0] != 1) expect(0, EIO, "a read-only buffer changed");
    expect(EFAULT, device(fd, EXCLUSIVE, a, b, 1), "read-only, exclusive");
    char *shared = map_file(-1, 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
    expect(ENOENT, device(fd, TO_DEVICE, shared, b, 1), "shared memory, to the device");
    expect(EBUSY, device(fd, EXCLUSIVE, shared, b, 1), "shared memory, exclusive");
    expect(EINVAL, read(fd, b, 0) < 0 ? errno : write(fd, b, 1) < 0 ? errno : 0, "write(2)");
    printf("wrong=%d\n", wrong);
}

// Some of these pages are touched; SNAPSHOT must tell which, of memory that the CPU cannot reach.
static void touch(int fd, int is_coherent, uint64_t seed) {
    enum { PAGES = 256, ROUNDS = 6 };
    // What is beside them is touched all the time, and in the same mapping.
    char *all = memory(3 * PAGES), *a = all + PAGES * PAGE, *b = memory(PAGES);
    unsigned char *seen = (unsigned char *)memory(1);
    unsigned local = 0, back = 0;
    memset(all, 1, 3 * PAGES * PAGE);
    for (int round = 0; round < ROUNDS; round++) {
        char touched[PAGES] = {0};
        unsigned odds = round + 1;
        must(device(fd, TO_DEVICE, a, b, PAGES), "to the device");
        for (int i = 0; i < PAGES; i++) {
            volatile char *page = a + i * PAGE;
            switch (next_random(&seed) % (3 * odds)) {
            case 0: page[next_random(&seed) % PAGE]++; touched[i] = 1; break;
            case 1: (void)page[next_random(&seed) % PAGE]; touched[i] = 1; break;
            }
            all[i * PAGE]++;
            all[(2 * PAGES + i) * PAGE]++;
        }
        // What the device does itself is no touch.
        must(device(fd, READ, a, b, PAGES / 2), "read by the device");
        must(device(fd, SNAPSHOT, a, seen, PAGES), "snapshot");
        for (int i = 0; i < PAGES; i++) {
            unsigned char expected =
                is_coherent ? COHERENT | MAY_WRITE : touched[i] ? MAY_WRITE : HIDDEN | MAY_WRITE;
            wrong += seen[i] != expected;
            if (seen[i] == MAY_WRITE) back++; else local++;
        }
        must(device(fd, TO_SYSTEM, a, b, PAGES), "to the system");
        must(device(fd, SNAPSHOT, a, seen, PAGES), "snapshot");
        for (int i = 0; i < PAGES; i++) wrong += seen[i] != MAY_WRITE;
        must(device(fd, EXCLUSIVE, a, b, PAGES), "exclusive");
        expect(EPERM, device(fd, CHECK_EXCLUSIVE, a, b, PAGES), "exclusive, untouched");
        for (int i = 0; i < PAGES; i++) (void)*(volatile char *)(a + i * PAGE);
        expect(0, device(fd, CHECK_EXCLUSIVE, a, b, PAGES), "exclusive, touched");
    }
    printf("local=%u back=%u wrong=%d\n", local, back, wrong);
}

// One thread, so that every load has one right answer.
static void model(int fd, int other, uint64_t seed) {
    enum { PAGES = 64, STEPS = 600 };
    char *a = memory(PAGES), *b = memory(PAGES), *truth = memory(PAGES);
    for (int step = 0; step < STEPS; step++) {
        unsigned first = next_random(&seed) % PAGES, count = 1 + next_random(&seed) % (PAGES - first);
        char *at = a + first * PAGE, *should = truth + first * PAGE;
        uint64_t length = count * PAGE;
        int mirror = next_random(&seed) % 2 ? fd : other, error = 0;
        switch (next_random(&seed) % 9) {
        case 0:
        case 1: memset(at + 100, step, length - 100); memset(should + 100, step, length - 100); break;
        case 2:
            for (uint64_t i = 0; i < length; i += 8) *(uint64_t *)(b + i) = next_random(&seed);
            must(device(mirror, WRITE, at, b, count), "write");
            memcpy(should, b, length);
            break;
        case 3:
            must(device(mirror, READ, at, b, count), "read");
            if (memcmp(b, should, length)) fail("step %d: the device reads something else", step);
            break;
        case 4:
        case 5:
            error = device(mirror, TO_DEVICE, at, b, count);
            if (error && error != ENOENT) must(error, "to the device");
            if (!error && memcmp(b, should, length)) fail("step %d: the device has something else", step);
            break;
        case 6: must(device(mirror, TO_SYSTEM, at, b, count), "to the system"); break;
        case 7:
            must(device(mirror, EXCLUSIVE, at, b, count), "exclusive");
            if (memcmp(b, should, length)) fail("step %d: exclusive is something else", step);
            break;
        case 8: madvise(at, length, MADV_DONTNEED); memset(should, 0, length); break;
        }
        if (step % 7 == 0 && memcmp(a, truth, PAGES * PAGE)) fail("step %d: the CPU sees something else", step);
    }
    if (memcmp(a, truth, PAGES * PAGE)) fail("the CPU sees something else");
    printf("steps=%d\n", STEPS);
}

static void in_child(int fd) {
    char *a = memory(1), *b = memory(1);
    a[0] = 1;
    pid_t child = fork();
    if (!child) {
        a[0] = 2;
        must(device(fd, READ, a, b, 1), "read by the child");
        if (b[0] != 1) fail("the device reads %d of the child", b[0]);
        b[0] = 3;
        must(device(fd, WRITE, a, b, 1), "write by the child");
        if (a[0] != 2) fail("the device writes to the child");
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) < 0 || status) fail("the child failed");
    if (a[0] != 3) fail("the device did not write to the parent");
    printf("parent=%d\n", a[0]);
}

static unsigned on_device(int fd, char *a, uint64_t pages) {
    static unsigned char seen[1 << 17];
    unsigned local = 0;
    must(device(fd, SNAPSHOT, a, seen, pages), "snapshot");
    for (uint64_t i = 0; i < pages; i++) local += (seen[i] & 0x70) != 0;
    return local;
}

static void take(int fd, uint64_t pages) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    char *a = memory(pages), *b = memory(pages);
    for (uint64_t i = 0; i < pages && pages < 10000; i++) a[i * PAGE] = 1;
    printf("errno=%d", device(fd, TO_DEVICE, a, b, pages));
    for (int which;; sigwait(&signals, &which)) {
        printf(" local=%u\n", on_device(fd, a, pages));
        fflush(stdout);
    }
}

static void *volatile stuck_at;

static void *read_stuck(void *fd) {
    static char into[PAGE];
    device((int)(intptr_t)fd, READ, stuck_at, into, 1);
    return NULL;
}

static void stuck(int fd) {
    int faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API};
    if (faults < 0 || ioctl(faults, UFFDIO_API, &api)) fail("userfaultfd");
    // Shared memory is as a file here: a device that waits for anonymous memory is refused, in Linux, too.
    char *a = map_file(-1, 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
    struct uffdio_register range = {{(uint64_t)a, PAGE}, UFFDIO_REGISTER_MODE_MISSING, 0};
    if (ioctl(faults, UFFDIO_REGISTER, &range)) fail("UFFDIO_REGISTER");
    stuck_at = a;
    pthread_t thread;
    pthread_create(&thread, NULL, read_stuck, (void *)(intptr_t)fd);
    struct uffd_msg message;
    if (read(faults, &message, sizeof message) != sizeof message) fail("no fault came");
    printf("ready\n");
    fflush(stdout);
    pause();
}

static volatile int is_over;

static void *storm(void *fd) {
    uint64_t seed = (uint64_t)&fd;
    char *b = memory(64);
    for (uint64_t round = 0; !is_over; round++) {
        char *a = memory(64);
        for (int i = 0; i < 12; i++) {
            unsigned first = next_random(&seed) % 64, count = 1 + next_random(&seed) % (64 - first);
            char *at = a + first * PAGE;
            switch (next_random(&seed) % 6) {
            case 0: madvise(at, count * PAGE, MADV_DONTNEED); break;
            case 1: mprotect(at, count * PAGE, PROT_READ); break;
            case 2: mprotect(at, count * PAGE, PROT_READ | PROT_WRITE); break;
            case 3: munmap(at, PAGE); break;
            default: {
                struct command c = {(uint64_t)at, (uint64_t)b, count, 0, 0};
                ioctl((int)(intptr_t)fd, _IOWR('H', next_random(&seed) % 9, c), &c);
            }
            }
        }
        munmap(a, 64 * PAGE);
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 3) fail("usage: dmirror DEVICE WHAT [ARGUMENT]");
    const char *what = argv[2], *argument = argc > 3 ? argv[3] : "0";
    int is_coherent = argv[1][strlen(argv[1]) - 1] >= '2';
    int fd = open(argv[1], O_RDWR);
    if (fd < 0) fail("open %s", argv[1]);
    if (!strcmp(what, "errnos")) {
        errnos(fd);
    } else if (!strcmp(what, "touch")) {
        touch(fd, is_coherent, number(argument));
    } else if (!strcmp(what, "model")) {
        model(fd, open_file(argv[1], O_RDWR), number(argument));
    } else if (!strcmp(what, "take")) {
        take(fd, number(argument));
    } else if (!strcmp(what, "fork")) {
        in_child(fd);
    } else if (!strcmp(what, "exec")) {
        char text[64];
        snprintf(text, sizeof text, "%d", fd);
        execl("/proc/self/exe", argv[0], argv[1], "after-exec", text, NULL);
        fail("exec");
    } else if (!strcmp(what, "after-exec")) {
        int before = (int)number(argument);
        char *a = memory(1);
        expect(EFAULT, device(before, READ, a, a, 1), "read after exec");
        expect(EINVAL, device(before, SNAPSHOT, a, a, 1), "snapshot after exec");
        expect(EINVAL, device(before, TO_DEVICE, a, a, 1), "to the device after exec");
        expect(0, device(fd, READ, a, a, 1), "read by a new mirror");
        printf("wrong=%d\n", wrong);
    } else if (!strcmp(what, "many")) {
        int opened = 1;
        while (open(argv[1], O_RDWR) >= 0) opened++;
        printf("opened=%d errno=%d\n", opened, errno);
    } else if (!strcmp(what, "own")) {
        int file = open_file(argument, O_RDWR);
        char *a = map_file(file, 0, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), *b = memory(16);
        char *copy = map_file(file, 0, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
        if (pwrite(file, "here", 4, 9 * PAGE) != 4) fail("pwrite");
        expect(ENOENT, device(fd, TO_DEVICE, a, b, 16), "a buffer to the device");
        must(device(fd, READ, a, b, 16), "read of a buffer");
        if (memcmp(b + 9 * PAGE, "here", 4)) fail("the device reads something else");
        expect(EFAULT, device(fd, WRITE, a, b, 16), "write to a buffer");
        expect(EFAULT, device(fd, READ, b, a, 16), "data to a buffer");
        must(device(fd, WRITE, copy, b, 16), "write to a private mapping of a buffer");
        must(device(fd, TO_DEVICE, copy, b, 16), "to the device");
        printf("wrong=%d\n", wrong);
    } else if (!strcmp(what, "stuck")) {
        stuck(fd);
    } else if (!strcmp(what, "storm")) {
        pthread_t threads[4];
        for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, storm, (void *)(intptr_t)fd);
        sleep((unsigned)number(argument));
        is_over = 1;
        for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
        printf("over=1\n");
    } else {
        fail("what? %s", what);
    }
    return 0;
}
