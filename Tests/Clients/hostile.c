// hostile ATTACK MOUNT COUNT: one attack, by whoever starts it, on a mount below whose buffers/hostile it may do as it likes.
// Where it holds something it prints its figures and waits to be killed.
//   openers   processes that fork, each of which opens files until it may not
//   deep      directories in directories, until refused
//   long      the same with names of 250 bytes
//   trees     the same, a few at a time, and each moves into the next
//   files     empty files, until refused
//   uevents   open streams of events that nobody reads, while names come and go
//   pages     opens of `pages` of a buffer of which every other page is there, each read once
//   pins      buffers on the device's node, each filled and pinned
//   direct    buffers that are mapped directly
//   mirrors   opens of a device of the HMM test driver, and pages of all of them that go back and forth
//   moves     buffers that are moved back and forth without waiting
//   waits     the same, each by one who waits for it
//   fill      one buffer, written until there is no memory
#include "client.h"
#include <dirent.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static char home[1024], mount_point[512];

static char *path(const char *format, ...) {
    static char text[8][4096];
    static int turn;
    char *to = text[turn++ % 8];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(to, 4096, format, arguments);
    va_end(arguments);
    return to;
}

static __attribute__((noreturn)) void hold(const char *name, uint64_t count, int error) {
    printf("%s=%lu errno=%d\n", name, (unsigned long)count, error);
    fflush(stdout);
    for (;;) pause();
}

static int set(const char *file, const char *name, const char *value) {
    return setxattr(file, path("user.cdm.%s", name), value, strlen(value), 0) ? errno : 0;
}

static int make(const char *file, uint64_t size) {
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && ftruncate(fd, (off_t)size)) {
        close(fd);
        return -1;
    }
    return fd;
}

// As many as there may be without hurting the host.
static void more_descriptors(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void openers(uint64_t count) {
    const char *files[] = {path("%s/a", home), path("%s/sys/devices/system/node/node1/meminfo", mount_point),
                           path("%s/sys/kernel/cdm/uevents", mount_point), path("%s/buffers", mount_point)};
    close(make(files[0], 1 << 20));
    int ends[2];
    if (pipe(ends)) fail("pipe");
    uint64_t started = 0;
    for (uint64_t i = 0; i < count; i++) {
        pid_t child = fork();
        if (child < 0) break;
        if (child == 0) {
            for (int n = 0; n < 200; n++) {
                int fd = open(files[n % 4], O_RDONLY | O_NONBLOCK);
                if (fd < 0) continue;
                if (n % 4 == 0) (void)!mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
            }
            (void)!write(ends[1], "x", 1);
            for (;;) pause();
        }
        started++;
    }
    char byte;
    for (uint64_t i = 0; i < started; i++)
        if (read(ends[0], &byte, 1) != 1) fail("pipe");
    hold("processes", started, 0);
}

static void deep(uint64_t count, uint64_t length) {
    char name[256];
    memset(name, 'd', length);
    name[length] = 0;
    uint64_t depth = 0;
    if (chdir(home)) fail("chdir");
    while (depth < count && !mkdir(name, 0700) && !chdir(name)) depth++;
    hold("depth", depth, depth < count ? errno : 0);
}

static void trees(uint64_t count) {
    char name[256];
    memset(name, 'd', 250);
    name[250] = 0;
    uint64_t moved = 0;
    int error = 0;
    for (uint64_t tree = 0; tree < count; tree++) {
        if (chdir(home) || mkdir(path("tree%lu", (unsigned long)tree), 0700)) fail("mkdir");
        if (chdir(path("tree%lu", (unsigned long)tree))) fail("chdir");
        for (int level = 0; level < 12; level++)
            if (mkdir(name, 0700) || chdir(name)) {
                error = errno;
                break;
            }
        // The last place of the tree takes the one before.
        if (tree > 0) {
            if (rename(path("%s/tree%lu", home, (unsigned long)tree - 1), "next"))
                error = errno;
            else
                moved++;
        }
    }
    hold("moved", moved, error);
}

static void files(uint64_t count) {
    uint64_t made = 0;
    for (; made < count; made++) {
        int fd = open(path("%s/%lu", home, (unsigned long)made), O_CREAT | O_WRONLY, 0600);
        if (fd < 0) break;
        close(fd);
    }
    hold("files", made, made < count ? errno : 0);
}

static void uevents(uint64_t count) {
    more_descriptors();
    uint64_t opened = 0;
    while (opened < 200 && open(path("%s/sys/kernel/cdm/uevents", mount_point), O_RDONLY | O_NONBLOCK) >= 0) opened++;
    char name[256];
    memset(name, 'e', 250);
    name[250] = 0;
    if (chdir(home)) fail("chdir");
    for (int level = 0; level < 12; level++)
        if (mkdir(name, 0700) || chdir(name)) break;
    for (uint64_t i = 0; i < count; i++) {
        int fd = open("x", O_CREAT | O_WRONLY, 0600);
        if (fd < 0) fail("open");
        close(fd);
        if (unlink("x")) fail("unlink");
    }
    hold("streams", opened, 0);
}

static void pages(uint64_t count) {
    more_descriptors();
    char *file = path("%s/a", home);
    int fd = make(file, 64 << 20);
    if (fd < 0) fail("%s", file);
    for (off_t page = 0; page < 16384; page += 2)
        if (pwrite(fd, "x", 1, page * 4096) != 1) break;
    uint64_t opened = 0, bytes = 0;
    char text[65536];
    for (; opened < count; opened++) {
        int pages = open(path("%s/sys/kernel/cdm/buffers/hostile/a/pages", mount_point), O_RDONLY);
        if (pages < 0) break;
        ssize_t got;
        if (opened < 4)
            while ((got = read(pages, text, sizeof text)) > 0) bytes += (uint64_t)got;
        else if ((got = read(pages, text, sizeof text)) <= 0)
            break;
    }
    hold("pages", opened, opened < count ? errno : 0);
}

static void pins(uint64_t count) {
    uint64_t pinned = 0;
    int error = 0;
    char *text = malloc(1 << 20);
    memset(text, 1, 1 << 20);
    for (; pinned < count && !error; pinned++) {
        char *file = path("%s/%lu", home, (unsigned long)pinned);
        int fd = make(file, 1 << 20);
        if (fd < 0) fail("%s", file);
        if ((error = set(file, "policy", "bind:1"))) break;
        if (pwrite(fd, text, 1 << 20, 0) != 1 << 20) error = errno ? errno : ENOSPC;
        if (!error) error = set(file, "pinned", "1");
        close(fd);
        if (error) break;
    }
    hold("pinned", pinned, error);
}

static void direct(uint64_t count) {
    uint64_t made = 0;
    int error = 0;
    for (; made < count; made++) {
        char *file = path("%s/%lu", home, (unsigned long)made);
        close(make(file, 1 << 20));
        if ((error = set(file, "mapping", "direct"))) break;
    }
    hold("direct", made, error);
}

static void mirrors(uint64_t count) {
    more_descriptors();
    struct {
        uint64_t address, pointer, pages, cpages, faults;
    } command;
    uint64_t opened = 0;
    int error = 0, fds[4096];
    for (; opened < count && opened < 4096; opened++) {
        fds[opened] = open(path("%s/dev/hmm_dmirror%lu", mount_point, (unsigned long)opened % 4), O_RDWR);
        if (fds[opened] < 0) {
            error = errno;
            break;
        }
    }
    if (!opened) fail("dev/hmm_dmirror0");
    char *memory = map_file(-1, 0, 256 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    memset(memory, 1, 256 * PAGE);
    for (int worker = 0; worker < 16; worker++)
        if (fork() == 0)
            for (uint64_t i = 0;; i++) {
                command.address = (uint64_t)memory;
                command.pointer = (uint64_t)memory;
                command.pages = 256;
                (void)!ioctl(fds[i % opened], _IOWR('H', i % 9, command), &command);
            }
    hold("mirrors", opened, error);
}

static void moves(uint64_t count, int waits) {
    char *text = malloc(1 << 20);
    memset(text, 1, 1 << 20);
    for (uint64_t i = 0; i < count; i++)
        if (fork() == 0) {
            char *file = path("%s/%lu", home, (unsigned long)i);
            int fd = make(file, 1 << 20);
            (void)!pwrite(fd, text, 1 << 20, 0);
            for (uint64_t turn = 0;; turn++) set(file, "migrate", (turn % 2 ? "async 0" : "async 1") + (waits ? 6 : 0));
        }
    hold("movers", count, 0);
}

static void fill(uint64_t count) {
    int fd = make(path("%s/a", home), count << 20);
    char *text = malloc(1 << 20);
    memset(text, 1, 1 << 20);
    uint64_t written = 0;
    while (written < count && write(fd, text, 1 << 20) == 1 << 20) written++;
    hold("written", written, written < count ? errno : 0);
}

int main(int argc, char **argv) {
    if (argc != 4) fail("usage: hostile ATTACK MOUNT COUNT");
    const char *attack = argv[1];
    uint64_t count = number(argv[3]);
    snprintf(mount_point, sizeof mount_point, "%s", argv[2]);
    snprintf(home, sizeof home, "%s/buffers/hostile", argv[2]);
    errno = 0;
    if (!strcmp(attack, "openers")) openers(count);
    if (!strcmp(attack, "deep")) deep(count, 1);
    if (!strcmp(attack, "long")) deep(count, 250);
    if (!strcmp(attack, "trees")) trees(count);
    if (!strcmp(attack, "files")) files(count);
    if (!strcmp(attack, "uevents")) uevents(count);
    if (!strcmp(attack, "pages")) pages(count);
    if (!strcmp(attack, "pins")) pins(count);
    if (!strcmp(attack, "direct")) direct(count);
    if (!strcmp(attack, "mirrors")) mirrors(count);
    if (!strcmp(attack, "moves")) moves(count, 0);
    if (!strcmp(attack, "waits")) moves(count, 1);
    if (!strcmp(attack, "fill")) fill(count);
    fail("no such attack: %s", attack);
}
