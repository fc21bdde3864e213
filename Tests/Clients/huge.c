// huge WHAT: memory in huge pages (MAP_HUGETLB), in a `cdmfs run` of a machine with the nodes 0 and 1, whose pools are empty at first. After
// each step the files have the figures of Linux. `ok` once all are right.
//
//   calls      mmap right and wrong, first touches, munmap, madvise, mremap, mlock, mbind, move_pages, get_mempolicy, numa_maps
//   pools      nr_hugepages of /sys and /proc, of nodes and of all, with pages in use and promised
//   exhaust    MAP_NORESERVE and policies where the pools have too few: SIGBUS, ENOMEM
//   forks      a child has its parent's pages until one of them stores, also behind the end of its parent
//   shared     MAP_SHARED: one memory before and behind a fork
//   fail       MADV_SOFT_OFFLINE and MADV_HWPOISON: a whole huge page
#include "expect.h"
#include <linux/mempolicy.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#define HUGE (2UL << 20)
#define FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB)

static void text_of(const char *path, char *text, size_t size) {
    int file = open_file(path, O_RDONLY);
    size_t length = 0;
    ssize_t got;
    while (length < size - 1 && (got = read(file, text + length, size - 1 - length)) > 0) length += (size_t)got;
    text[length] = 0;
    close(file);
}

static void store(const char *path, const char *text) {
    int file = open_file(path, O_WRONLY);
    if (write(file, text, strlen(text)) < 0) fail("write %s", path);
    close(file);
}

static const char *pool(int node, const char *name) {
    static char path[128];
    if (node < 0)
        snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-2048kB/%s_hugepages", name);
    else
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/%s_hugepages", node, name);
    return path;
}

static long figure(int node, const char *name) {
    char text[64];
    text_of(pool(node, name), text, sizeof text);
    return atol(text);
}

static void set_pool(int node, long count) {
    char text[32];
    snprintf(text, sizeof text, "%ld", count);
    store(pool(node, "nr"), text);
}

static long meminfo(const char *key) {
    static char text[16384];
    text_of("/proc/meminfo", text, sizeof text);
    char *line = strstr(text, key);
    if (!line) fail("no %s in meminfo", key);
    return atol(line + strlen(key) + 1);
}

static int is_over(const struct timespec *begin) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec - begin->tv_sec > 10;
}

// The kernel lets a program go on from munmap(2) before the daemon has dealt with it.
static void await_figures(int line, long total, long free, long reserved, long surplus) {
    struct timespec begin;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    long found[4];
    do {
        found[0] = meminfo("HugePages_Total");
        found[1] = meminfo("HugePages_Free");
        found[2] = meminfo("HugePages_Rsvd");
        found[3] = meminfo("HugePages_Surp");
        if (found[0] == total && found[1] == free && found[2] == reserved && found[3] == surplus) {
            if (figure(-1, "nr") != total || figure(-1, "free") != free || figure(-1, "resv") != reserved ||
                figure(-1, "surplus") != surplus || figure(0, "free") + figure(1, "free") != free)
                fail("line %d: /sys and meminfo differ", line);
            return;
        }
        sched_yield();
    } while (!is_over(&begin));
    errno = 0;
    fail("line %d: total %ld free %ld reserved %ld surplus %ld, not %ld %ld %ld %ld", line, found[0], found[1], found[2],
         found[3], total, free, reserved, surplus);
}
#define FIGURES(total, free, reserved, surplus) await_figures(__LINE__, total, free, reserved, surplus)

static char *map(size_t pages, int flags) {
    char *memory = mmap(NULL, pages * HUGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED) fail("mmap of %zu huge pages", pages);
    if ((uintptr_t)memory % HUGE) fail("%p is not aligned", (void *)memory);
    return memory;
}

static void unmap(void *memory, size_t pages) {
    if (munmap(memory, pages * HUGE)) fail("munmap");
}

static long status_kilobytes(void) {
    static char text[16384];
    text_of("/proc/self/status", text, sizeof text);
    char *line = strstr(text, "HugetlbPages:");
    if (!line) fail("no HugetlbPages");
    return atol(line + strlen("HugetlbPages:"));
}

static int node_of(void *page) {
    int status = -1;
    if (syscall(SYS_move_pages, 0, 1UL, &page, NULL, &status, 0)) fail("move_pages");
    return status;
}

static long move(void *page, int node, int *status) { return syscall(SYS_move_pages, 0, 1UL, &page, &node, status, MPOL_MF_MOVE); }

static void bind_to(void *memory, size_t length, int node) {
    unsigned long mask = 1UL << node;
    if (syscall(SYS_mbind, memory, length, MPOL_BIND, &mask, 64UL, 0)) fail("mbind");
}

static void numa_line(char *address, const char *expected) {
    static char text[65536];
    char start[32];
    text_of("/proc/self/numa_maps", text, sizeof text);
    snprintf(start, sizeof start, "%lx ", (unsigned long)address);
    char *line = strstr(text, start);
    if (!line) fail("no line of %s", start);
    line += strlen(start);
    *strchrnul(line, '\n') = 0;
    errno = 0;
    if (strcmp(line, expected)) fail("numa_maps: \"%s\", not \"%s\"", line, expected);
}

static void calls(void) {
    set_pool(0, 4);
    set_pool(1, 4);
    FIGURES(8, 8, 0, 0);
    errno = 0;
    expect_error("a size of 1 GiB", (long)mmap(NULL, HUGE, PROT_READ, FLAGS | 30 << 26, -1, 0), EINVAL);
    expect_error("a size of 64 KiB", (long)mmap(NULL, HUGE, PROT_READ, FLAGS | 16 << 26, -1, 0), EINVAL);
    expect_error("no length", (long)mmap(NULL, 0, PROT_READ, FLAGS, -1, 0), EINVAL);
    expect_error("too many", (long)mmap(NULL, 9 * HUGE, PROT_READ, FLAGS, -1, 0), ENOMEM);
    expect_error("an odd place", (long)mmap((void *)0x10000001000, HUGE, PROT_READ, FLAGS | MAP_FIXED, -1, 0), EINVAL);
    FIGURES(8, 8, 0, 0);
    char *memory = map(3, FLAGS | 21 << 26);
    FIGURES(8, 8, 3, 0);
    expect("a page that is not there", node_of(memory), -ENOENT);
    numa_line(memory, "default file=/anon_hugepage\\040(deleted) huge");
    bind_to(memory, HUGE, 1);
    // Any byte takes the whole page.
    memory[HUGE - 1] = 1;
    FIGURES(8, 7, 2, 0);
    expect("the first page", node_of(memory), 1);
    expect("its last 4 KiB", node_of(memory + HUGE - PAGE), 1);
    expect("the node's pool", figure(1, "free"), 3);
    if (((volatile char *)memory)[HUGE + 5]) fail("not zero");
    FIGURES(8, 6, 1, 0);
    expect("a load takes a page", node_of(memory + HUGE), 0);
    int node = -1;
    if (syscall(SYS_get_mempolicy, &node, NULL, 0UL, memory + 2 * HUGE, MPOL_F_ADDR | MPOL_F_NODE)) fail("get_mempolicy");
    expect("get_mempolicy", node, 0);
    FIGURES(8, 5, 0, 0);
    numa_line(memory, "bind:1 file=/anon_hugepage\\040(deleted) huge anon=3 dirty=3 N0=2 N1=1 kernelpagesize_kB=2048");
    expect("HugetlbPages", status_kilobytes(), 3 * 2048);
    int status = -1;
    expect("move_pages", move(memory + HUGE + 7 * PAGE, 1, &status), 0);
    expect("where to", status, 1);
    expect("all of it", node_of(memory + 2 * HUGE - PAGE), 1);
    expect("the pool of node 0", figure(0, "free"), 3);
    expect("the pool of node 1", figure(1, "free"), 2);
    unsigned long zero = 1, one = 2;
    expect("migrate_pages", syscall(SYS_migrate_pages, 0, 64UL, &one, &zero), 0);
    expect("the first page", node_of(memory), 0);
    expect("the pool of node 1", figure(1, "free"), 4);
    if (syscall(SYS_mbind, memory + HUGE, HUGE, MPOL_BIND, &one, 64UL, MPOL_MF_MOVE | MPOL_MF_STRICT)) fail("mbind");
    expect("where mbind moves it", node_of(memory + HUGE), 1);
    expect_error("half a huge page", syscall(SYS_mbind, memory + PAGE, HUGE, MPOL_BIND, &one, 64UL, 0), EINVAL);
    // The promise comes back.
    if (madvise(memory + HUGE, HUGE, MADV_DONTNEED)) fail("madvise");
    FIGURES(8, 6, 1, 0);
    expect("given back", node_of(memory + HUGE), -ENOENT);
    memory[HUGE] = 2;
    FIGURES(8, 5, 0, 0);
    errno = 0;
    expect_error("growing", (long)mremap(memory, HUGE, 2 * HUGE, MREMAP_MAYMOVE), EINVAL);
    expect_error("an odd target", (long)mremap(memory, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, memory + PAGE), EINVAL);
    char *target = memory + 64 * HUGE;
    if (mremap(memory, 2 * HUGE, 2 * HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, target) != target) fail("mremap");
    FIGURES(8, 5, 0, 0);
    expect("what has moved", target[HUGE - 1], 1);
    expect("where it was", node_of(memory), -EFAULT);
    expect("where it is", node_of(target), 0);
    if (mremap(target, 2 * HUGE, HUGE + PAGE, 0) != target) fail("mremap to what is as long");
    FIGURES(8, 5, 0, 0);
    if (mremap(target, 2 * HUGE, HUGE, 0) != target) fail("mremap to what is shorter");
    FIGURES(8, 6, 0, 0);
    unmap(target, 1);
    unmap(memory + 2 * HUGE, 1);
    FIGURES(8, 8, 0, 0);
    memory = map(4, FLAGS);
    bind_to(memory, 4 * HUGE, 1);
    if (mlock(memory, 4 * HUGE)) fail("mlock");
    FIGURES(8, 4, 0, 0);
    expect("what mlock has", node_of(memory + 3 * HUGE), 1);
    expect("Mlocked", meminfo("Mlocked"), 0);
    // Replaced in part: the rest stays.
    if (mmap(memory + HUGE, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) fail("mmap");
    FIGURES(8, 5, 0, 0);
    memory[HUGE] = 3;
    expect("ordinary memory", node_of(memory + HUGE), 0);
    FIGURES(8, 5, 0, 0);
    unmap(memory, 4);
    FIGURES(8, 8, 0, 0);
    // A mapping that replaces another one may have its pages.
    memory = map(6, FLAGS);
    memory[0] = 4;
    FIGURES(8, 7, 5, 0);
    if (mmap(memory, 6 * HUGE, PROT_READ | PROT_WRITE, FLAGS | MAP_FIXED, -1, 0) != memory) fail("mmap");
    FIGURES(8, 8, 6, 0);
    expect("nothing is left", memory[0], 0);
    FIGURES(8, 7, 5, 0);
    unmap(memory, 6);
    FIGURES(8, 8, 0, 0);
    memory = map(2, FLAGS | MAP_POPULATE);
    FIGURES(8, 6, 0, 0);
    unmap(memory, 2);
    FIGURES(8, 8, 0, 0);
}

static void pools(void) {
    store("/proc/sys/vm/nr_hugepages", "6");
    FIGURES(6, 6, 0, 0);
    expect("half of them", figure(0, "nr"), 3);
    set_pool(1, 5);
    FIGURES(8, 8, 0, 0);
    char *memory = map(5, FLAGS);
    for (int i = 0; i < 3; i++) memory[i * HUGE] = 1;
    FIGURES(8, 5, 2, 0);
    // Pages in use and promised stay, as surplus.
    set_pool(-1, 0);
    FIGURES(5, 2, 2, 5);
    set_pool(-1, 4);
    FIGURES(5, 2, 2, 1);
    unmap(memory, 5);
    FIGURES(4, 4, 0, 0);
    set_pool(-1, 0);
    FIGURES(0, 0, 0, 0);
    errno = 0;
    expect_error("no pool", (long)mmap(NULL, HUGE, PROT_READ, FLAGS, -1, 0), ENOMEM);
    long before = meminfo("MemFree");
    set_pool(0, 3);
    expect("MemFree", before - meminfo("MemFree"), 3 * 2048);
    set_pool(0, 0);
}

static sigjmp_buf jump;
static siginfo_t reason;

static void on_bus(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    reason = *info;
    siglongjmp(jump, 1);
}

static void catch_bus(void) {
    struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &action, NULL);
}

static int is_bus(volatile char *byte) {
    if (sigsetjmp(jump, 1)) return 1;
    *byte = 1;
    return 0;
}

static void exhaust(void) {
    catch_bus();
    set_pool(0, 2);
    set_pool(1, 2);
    char *promised = map(3, FLAGS), *other = map(3, FLAGS | MAP_NORESERVE);
    FIGURES(4, 4, 3, 0);
    expect("one is free", is_bus(other), 0);
    FIGURES(4, 3, 3, 0);
    // What is promised is not for others.
    expect("no more", is_bus(other + HUGE), 1);
    expect("at its address", (long)reason.si_addr, (long)(other + HUGE));
    FIGURES(4, 3, 3, 0);
    for (int i = 0; i < 3; i++) expect("promised", is_bus(promised + i * HUGE), 0);
    FIGURES(4, 0, 0, 0);
    unmap(promised, 3);
    FIGURES(4, 3, 0, 0);
    unmap(other, 3);
    FIGURES(4, 4, 0, 0);
    // A promise is of all pools: a policy may leave none.
    char *bound = map(3, FLAGS);
    bind_to(bound, 3 * HUGE, 1);
    expect("the first", is_bus(bound), 0);
    expect("the second", is_bus(bound + HUGE), 0);
    expect("the third", is_bus(bound + 2 * HUGE), 1);
    FIGURES(4, 2, 1, 0);
    unmap(bound, 3);
    FIGURES(4, 4, 0, 0);
    bound = map(3, FLAGS);
    bind_to(bound, 3 * HUGE, 1);
    errno = 0;
    expect_error("mlock", mlock(bound, 3 * HUGE), ENOMEM);
    unmap(bound, 3);
    unsigned long mask = 2;
    if (syscall(SYS_set_mempolicy, MPOL_BIND, &mask, 64UL)) fail("set_mempolicy");
    errno = 0;
    expect_error("the task's nodes have too few", (long)mmap(NULL, 3 * HUGE, PROT_READ, FLAGS, -1, 0), ENOMEM);
    unmap(map(2, FLAGS), 2);
    FIGURES(4, 4, 0, 0);
}

static void await(int fd) {
    char token;
    if (read(fd, &token, 1) != 1) fail("the other process went away");
}

static void tell(int fd) {
    if (write(fd, "", 1) != 1) fail("the other process went away");
}

static void forks(void) {
    set_pool(0, 6);
    char *memory = map(3, FLAGS);
    for (int i = 0; i < 2; i++) memory[i * HUGE] = (char)(i + 1);
    FIGURES(6, 4, 1, 0);
    int down[2], up[2];
    if (pipe(down) || pipe(up)) fail("pipe");
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (!child) {
        // The parent's pages, which only MPOL_MF_MOVE_ALL moves.
        FIGURES(6, 4, 1, 0);
        expect("inherited", node_of(memory), 0);
        expect("not inherited", node_of(memory + 2 * HUGE), -ENOENT);
        int status = -1;
        move(memory, 1, &status);
        expect("shared", status, -EACCES);
        // A policy is its own, also for a page that is not.
        bind_to(memory, HUGE, 1);
        FIGURES(6, 4, 1, 0);
        memory[0] = 7;
        expect("its own", node_of(memory), 0);
        FIGURES(6, 3, 1, 0);
        expect("still shared", memory[HUGE], 2);
        tell(up[1]);
        await(down[0]);
        expect("a page of its parent that has gone", memory[HUGE], 2);
        expect("where it is", node_of(memory + HUGE), 0);
        FIGURES(6, 4, 0, 0);
        if (madvise(memory + HUGE, HUGE, MADV_DONTNEED)) fail("madvise");
        FIGURES(6, 5, 0, 0);
        expect("given back", node_of(memory + HUGE), -ENOENT);
        tell(up[1]);
        await(down[0]);
        _exit(0);
    }
    await(up[0]);
    expect("not the child's", memory[0], 1);
    int mode = -1;
    if (syscall(SYS_get_mempolicy, &mode, NULL, 0UL, memory, MPOL_F_ADDR)) fail("get_mempolicy");
    expect("the parent's policy", mode, MPOL_DEFAULT);
    unmap(memory, 3);
    tell(down[1]);
    await(up[0]);
    tell(down[1]);
    int status;
    if (waitpid(child, &status, 0) < 0 || status) fail("the child failed");
    FIGURES(6, 6, 0, 0);
}

static void shared(void) {
    set_pool(0, 2);
    set_pool(1, 2);
    char *memory = map(3, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB);
    FIGURES(4, 4, 3, 0);
    memory[0] = 1;
    FIGURES(4, 3, 2, 0);
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (!child) {
        expect("the parent's", memory[0], 1);
        memory[HUGE] = 2;
        FIGURES(4, 2, 1, 0);
        numa_line(memory, "default file=/anon_hugepage\\040(deleted) huge dirty=2 N0=2 kernelpagesize_kB=2048");
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) < 0 || status) fail("the child failed");
    expect("the child's", memory[HUGE], 2);
    FIGURES(4, 2, 1, 0);
    unmap(memory, 1);
    unmap(memory + 2 * HUGE, 1);
    expect("where it is", node_of(memory + HUGE), 0);
    unmap(memory + HUGE, 1);
    FIGURES(4, 4, 0, 0);
}

static void fail_pages(void) {
    catch_bus();
    set_pool(0, 4);
    char *memory = map(2, FLAGS);
    memory[0] = 1;
    memory[HUGE] = 2;
    FIGURES(4, 2, 0, 0);
    if (madvise(memory, 2 * HUGE, MADV_SOFT_OFFLINE)) fail("MADV_SOFT_OFFLINE");
    // The pages that have moved away have left the pool.
    FIGURES(2, 0, 0, 0);
    expect("the bytes", memory[0] + memory[HUGE], 3);
    set_pool(0, 4);
    FIGURES(4, 2, 0, 0);
    if (madvise(memory, PAGE, MADV_HWPOISON)) fail("MADV_HWPOISON");
    FIGURES(3, 2, 0, 0);
    expect("a page that failed", is_bus(memory + HUGE - 1), 1);
    expect("the other one", is_bus(memory + HUGE), 0);
    unmap(memory, 2);
    FIGURES(3, 3, 0, 0);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*body)(void);
    } all[] = {{"calls", calls}, {"pools", pools}, {"exhaust", exhaust}, {"forks", forks}, {"shared", shared}, {"fail", fail_pages}};
    for (size_t i = 0; argc == 2 && i < sizeof all / sizeof *all; i++)
        if (!strcmp(argv[1], all[i].name)) {
            all[i].body();
            puts("ok");
            return 0;
        }
    fail("usage: huge calls | pools | exhaust | forks | shared | fail");
}
