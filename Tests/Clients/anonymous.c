// anonymous [-s] WHAT …: memory of a program's own, in a `cdmfs run` of a machine with the nodes 0 and 1. With -s it is shared memory without
// a file, where it is said what becomes of it.
//
//   place NODE SIZE    touches memory of a size, all of which is to be on a node then
//   touch SIZE         touches memory of a size; `ok`
//   spread SIZE        touches memory of a size; `N=COUNT` pages are on each node that has any
//   exec NODE SIZE     touches 16 MiB, then becomes `place NODE SIZE`
//   hold SIZE          touches memory of a size, `ok`, and waits for a line of input or SIGTERM; its bytes are what they were then
//   fail SIZE          touches memory of a size on node 1, `ok`, and waits for SIGTERM; then `bus=N` pages are SIGBUS, of which `action=N` say
//                      BUS_MCEERR_AR, each at its address, and all are good again once they are not needed. With -s they are so for a child,
//                      too, and removed by it
//   lock SIZE          touches and locks memory of a size, `ok`, unlocks it at SIGTERM, `ok`, and ends at the next one
//   warm SIZE          touches memory of a size on node 0, stores to its first half again and again, `ok`; at SIGTERM `hot=N cold=M`: pages of
//                      its first half on node 0, and of its second half on node 1. With -s a child stores, and `child=PID` comes first
//   forks SIZE         touches memory of a size on node 1, forks a child, `child=PID`, which stores to all of it at SIGUSR1; both wait for SIGTERM
//   shared             shared memory without a file: its places, policy and moves before and behind a fork
//   inject             madvise with MADV_HWPOISON and MADV_SOFT_OFFLINE, right and wrong
//   zeros              pages that are loaded from and not stored to have no frames, whatever becomes of them, and a store takes one
//   races THREADS      threads load from and store to the same new pages at once, again and again; no store is lost
//   calls              mbind, move_pages, get_mempolicy, mremap, madvise, munmap, brk, fork and vfork, one after the other
//   special            mlockall, MAP_POPULATE, O_DIRECT, futex, pipes and growing stacks on memory that was not touched before
//   storm THREADS SECONDS [host]  all of these at once on memory whose bytes are known; without mremap and node 1 where it may be the host's
//   interrupted COUNT  so many mmap, mremap and brk under a timer of 5 kHz whose handler has no SA_RESTART: none is interrupted, as in Linux
//   refused            `begin`; after SIGTERM a store to memory that is bound to node 1 is SIGBUS, also where a load was not
//   sum                the pages of numa_maps and of meminfo, `maps=N figures=N`
#include "expect.h"
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#define WINDOW (128UL << 10)

static long count_of(FILE *file, const char *word, long unit) {
    char line[4096];
    long sum = 0;
    while (fgets(line, sizeof line, file))
        for (char *found = line; (found = strstr(found, word)); found++) {
            char *digits = found + strlen(word);
            while (*digits == ' ') digits++;
            sum += strtol(digits, NULL, 10);
        }
    fclose(file);
    return sum / unit;
}

static int kind = MAP_PRIVATE;

static char *map(size_t length) {
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail("mmap");
    return memory;
}

// Gives the frames of memory back.
static void give_back(char *memory, size_t length) {
    if (madvise(memory, length, kind == MAP_SHARED ? MADV_REMOVE : MADV_DONTNEED)) fail("madvise");
}

static int node_of(void *page) {
    int status = -1;
    if (syscall(SYS_move_pages, 0, 1UL, &page, NULL, &status, 0)) fail("move_pages");
    return status;
}

static void expect_nodes(const char *what, char *memory, size_t length, int node) {
    for (size_t page = 0; page < length; page += PAGE) expect(what, node_of(memory + page), node);
}

static long count_frames(char *memory, size_t length) {
    static void *pages[8192];
    static int status[8192];
    unsigned long count = 0;
    for (size_t page = 0; page < length && count < 8192; page += PAGE) pages[count++] = memory + page;
    if (syscall(SYS_move_pages, 0, count, pages, NULL, status, 0)) fail("move_pages");
    long found = 0;
    for (unsigned long i = 0; i < count; i++) found += status[i] >= 0;
    return found;
}

static void bind_to(char *memory, size_t length, unsigned long nodes, unsigned flags) {
    if (syscall(SYS_mbind, memory, length, nodes ? MPOL_BIND : MPOL_DEFAULT, &nodes, 64, flags)) fail("mbind");
}

static void touch(char *memory, size_t length) {
    for (size_t page = 0; page < length; page += PAGE) memory[page] = (char)(page >> 12);
}

static void expect_bytes(const char *what, char *memory, size_t length) {
    for (size_t page = 0; page < length; page += PAGE) expect(what, memory[page], (char)(page >> 12));
}

static void place(int node, size_t size) {
    char *memory = map(size);
    touch(memory, size);
    void *pages[512];
    int status[512];
    for (size_t start = 0; start < size; start += sizeof pages / 8 * PAGE) {
        unsigned long count = 0;
        for (size_t page = start; page < size && count < 512; page += PAGE) pages[count++] = memory + page;
        if (syscall(SYS_move_pages, 0, count, pages, NULL, status, 0)) fail("move_pages");
        for (unsigned long i = 0; i < count; i++) expect("a page", status[i], node);
    }
}

static int wait_for(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child) fail("waitpid");
    return status;
}

static void calls(void) {
    const size_t size = 4 * WINDOW;
    char *memory = map(size);
    expect("an untouched page", node_of(memory), -ENOENT);
    memory[0] = 0;
    expect("a touched page", node_of(memory), 0);
    bind_to(memory + 2 * WINDOW, WINDOW, 2, 0);
    touch(memory, size);
    expect_nodes("before the bound part", memory, 2 * WINDOW, 0);
    expect_nodes("the bound part", memory + 2 * WINDOW, WINDOW, 1);
    expect_nodes("behind the bound part", memory + 3 * WINDOW, WINDOW, 0);
    int found = -1;
    unsigned long nodes = 0;
    if (syscall(SYS_get_mempolicy, &found, &nodes, 64UL, memory + 2 * WINDOW, MPOL_F_ADDR)) fail("get_mempolicy");
    expect("the mode", found, MPOL_BIND);
    expect("the nodes", (long)nodes, 2);

    bind_to(memory, WINDOW, 2, MPOL_MF_MOVE | MPOL_MF_STRICT);
    expect_nodes("moved by mbind", memory, WINDOW, 1);
    void *pages[2] = {memory, memory + WINDOW};
    int targets[2] = {0, 1}, status[2];
    expect("move_pages", syscall(SYS_move_pages, 0, 2UL, pages, targets, status, MPOL_MF_MOVE), 0);
    expect("moved to 0", node_of(memory), 0);
    expect("moved to 1", node_of(memory + WINDOW), 1);
    unsigned long from = 2, to = 1;
    expect("migrate_pages", syscall(SYS_migrate_pages, 0, 64UL, &from, &to), 0);
    expect_nodes("migrated", memory, size, 0);
    expect_bytes("after moves", memory, size);

    if (madvise(memory + WINDOW, WINDOW, MADV_DONTNEED)) fail("madvise");
    expect_nodes("not needed", memory + WINDOW, WINDOW, -ENOENT);
    expect("the first byte of what was not needed", memory[WINDOW + PAGE], 0);
    touch(memory, size);

    // Policy, place and bytes go with a mapping that moves.
    syscall(SYS_migrate_pages, 0, 64UL, &to, &from);
    char *moved = mremap(memory, size, 2 * size, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) fail("mremap");
    expect_nodes("moved by mremap", moved, size, 1);
    expect_bytes("moved by mremap", moved, size);
    expect("behind it", node_of(moved + size), -ENOENT);
    if (syscall(SYS_get_mempolicy, &found, &nodes, 64UL, moved + 2 * WINDOW, MPOL_F_ADDR)) fail("get_mempolicy");
    expect("the mode after mremap", found, MPOL_BIND);
    char *place = map(2 * size);
    char *fixed = mremap(moved, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place);
    expect("mremap to an address", fixed - place, 0);
    expect_nodes("moved to an address", fixed, size, 1);
    expect_bytes("moved to an address", fixed, size);
    if (mremap(fixed, size, WINDOW, 0) != fixed) fail("mremap to less");
    expect_bytes("what is left", fixed, WINDOW);

    // The child has what the parent had, and each its own from then on.
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
        expect_bytes("the child's", fixed, WINDOW);
        expect_nodes("the child's", fixed, WINDOW, 1);
        memset(fixed, 77, WINDOW);
        char *own = map(WINDOW);
        touch(own, WINDOW);
        expect_nodes("the child's own", own, WINDOW, 0);
        pid_t second = fork();
        if (second == 0) {
            expect("the child's child's", fixed[PAGE], 77);
            char *own = malloc(1 << 20);
            memset(own, 1, 1 << 20);
            expect("its own", node_of(own + (1 << 19)), 0);
            _exit(0);
        }
        _exit(wait_for(second) ? 1 : 0);
    }
    expect("the child's end", wait_for(child), 0);
    expect_bytes("after the child's stores", fixed, WINDOW);
    munmap(fixed, WINDOW);

    char *heap = sbrk(1 << 20);
    if (heap == (void *)-1) fail("sbrk");
    memset(heap, 5, 1 << 20);
    expect("the heap", node_of(heap + (1 << 19)), 0);
    if (sbrk(-(1 << 20)) == (void *)-1) fail("sbrk back");
    unsigned long second = 2;
    if (syscall(SYS_set_mempolicy, MPOL_BIND, &second, 64UL)) fail("set_mempolicy");
    char *bound = map(WINDOW);
    touch(bound, WINDOW);
    expect_nodes("by the policy of the task", bound, WINDOW, 1);
    child = vfork();
    if (child == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(9);
    }
    expect("vfork and exec", wait_for(child), 0);
}

// What is touched in sequence gets frames ahead of it, and what cannot be touched no more than those of one window.
static void follow(void) {
    const size_t size = 64 * WINDOW, part = 4 * WINDOW;
    for (int is_reserved = 0; is_reserved < 2; is_reserved++) {
        char *mapped = mmap(NULL, size, is_reserved ? PROT_NONE : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped == MAP_FAILED) fail("mmap");
        char *memory = (char *)(((uintptr_t)mapped + WINDOW) & ~(WINDOW - 1));
        if (is_reserved && mprotect(memory, part - PAGE, PROT_READ | PROT_WRITE)) fail("mprotect");
        touch(memory, part - PAGE);
        expect_bytes("what was touched in sequence", memory, part - PAGE);
        long ahead = count_frames(memory, size - WINDOW) - (long)(part / PAGE);
        long most = is_reserved ? 0 : (long)(part / PAGE);
        if (ahead < 0 || ahead > most) fail("%ld pages ahead, of at most %ld", ahead, most);
        if (munmap(mapped, size)) fail("munmap");
    }
}

static void *grow_stack(void *unused) {
    volatile char bytes[200 << 10];
    for (size_t i = 0; i < sizeof bytes; i += PAGE) bytes[i] = 3;
    (void)unused;
    return NULL;
}

static void special(void) {
    if (mlockall(MCL_CURRENT | MCL_FUTURE)) fail("mlockall");
    char *memory = malloc(1 << 20);
    memory = realloc(memory, 8 << 20);
    memory[7 << 20] = 1;
    memory = realloc(memory, 64 << 20);
    expect("what realloc took along", memory[7 << 20], 1);
    char *locked = map(WINDOW);
    expect("a page that is locked", node_of(locked + PAGE), 0);
    munlockall();
    char *filled = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    unsigned char resident[256];
    if (mincore(filled, 1 << 20, resident)) fail("mincore");
    for (int i = 0; i < 256; i++) expect("resident", resident[i] & 1, 1);
    expect("a page that is populated", node_of(filled + (1 << 19)), 0);
    char *untouched = map(4 << 20);
    expect("futex", syscall(SYS_futex, (int *)untouched, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
    int ends[2];
    if (pipe(ends) || write(ends[1], "hello", 5) != 5) fail("pipe");
    expect("read of a pipe", read(ends[0], untouched + 2 * WINDOW, 5), 5);
    if (mlock(untouched + (1 << 20), 1 << 20)) fail("mlock");
    if (madvise(untouched + (2 << 20), 1 << 20, 23)) fail("MADV_POPULATE_WRITE");
    char *shared = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared[0] = 1;
    char *growing = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0);
    growing[0] = 1;
    char *protected = mmap(NULL, WINDOW, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mprotect(protected, WINDOW, PROT_READ | PROT_WRITE)) fail("mprotect");
    touch(protected, WINDOW);
    expect_bytes("what was protected", protected, WINDOW);
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        if (pthread_create(threads + i, NULL, grow_stack, NULL)) fail("pthread_create");
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    grow_stack(NULL);
    char name[] = "/var/tmp/cdmfs-direct-XXXXXX";
    int file = mkostemp(name, O_DIRECT);
    if (file >= 0) {
        unlink(name);
        char *bytes = map(1 << 20);
        expect("a direct write of what was not touched", write(file, bytes, 65536), 65536);
        lseek(file, 0, SEEK_SET);
        expect("a direct read", read(file, bytes + (1 << 19), 65536), 65536);
    }
}

static volatile int is_over, is_host;

static void *storm(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument;
    struct {
        char *start;
        size_t length;
        char value;
    } parts[32] = {0};
    int zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    while (!is_over) {
        typeof(parts[0]) *part = parts + rand_r(&seed) % 32;
        if (!part->start) {
            part->length = (1 + (size_t)rand_r(&seed) % 64) * PAGE;
            part->start = map(part->length);
            part->value = 0;
            continue;
        }
        for (size_t page = 0; page < part->length; page += PAGE) expect("a byte", part->start[page], part->value);
        switch (rand_r(&seed) % 9) {
        case 0:
            munmap(part->start, part->length);
            part->start = NULL;
            break;
        case 1:
            give_back(part->start, part->length);
            part->value = 0;
            break;
        case 2: {
            if (is_host) break;
            // Shared memory does not grow.
            size_t length = kind == MAP_SHARED ? part->length : part->length * 2;
            char *moved = kind == MAP_SHARED
                              ? mremap(part->start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, map(length))
                              : mremap(part->start, part->length, length, MREMAP_MAYMOVE);
            if (moved == MAP_FAILED) fail("mremap");
            memset(moved + part->length, part->value, length - part->length);
            part->start = moved;
            part->length = length;
            if (length <= 1 << 20) break;
            munmap(moved, length);
            part->start = NULL;
            break;
        }
        case 3: bind_to(part->start, part->length, (unsigned long)rand_r(&seed) % (is_host ? 2 : 4), MPOL_MF_MOVE); break;
        case 4: {
            if (rand_r(&seed) % 10) break;
            pid_t child = fork();
            if (child == 0) {
                for (size_t page = 0; page < part->length; page += PAGE)
                    if (part->start[page] != part->value) _exit(1);
                memset(part->start, 77, part->length);
                memset(map(1 << 16), 1, 1 << 16);
                _exit(0);
            }
            if (child > 0) expect("a child", wait_for(child), 0);
            if (child > 0 && kind == MAP_SHARED) part->value = 77;
            break;
        }
        case 5:
            if (read(zeros, part->start, part->length) != (ssize_t)part->length) fail("read");
            part->value = 0;
            break;
        case 6: {
            if (is_host) break;
            void *pages[64];
            int nodes[64], status[64];
            unsigned long count = 0;
            for (; count < 64 && count * PAGE < part->length; count++) {
                pages[count] = part->start + count * PAGE;
                nodes[count] = rand_r(&seed) % 2;
            }
            if (syscall(SYS_move_pages, 0, count, pages, nodes, status, MPOL_MF_MOVE) < 0) fail("move_pages");
            for (unsigned long i = 0; i < count; i++)
                if (status[i] >= 0) expect("a page that moved", status[i], nodes[i]);
            break;
        }
        default: part->value = (char)rand_r(&seed); memset(part->start, part->value, part->length);
        }
    }
    return NULL;
}

static volatile long ticks;

static void tick(int signal) {
    (void)signal;
    ticks++;
}

static void interrupted(long count) {
    // The first ones of a program may be.
    char *memory = mremap(map(WINDOW), WINDOW, 2 * WINDOW, MREMAP_MAYMOVE);
    if (memory == MAP_FAILED || sbrk(PAGE) == (void *)-1) fail("mremap or brk");
    struct sigaction action = {.sa_handler = tick};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {{0, 200}, {0, 200}};
    if (setitimer(ITIMER_REAL, &timer, NULL)) fail("setitimer");
    for (long i = 0; i < count; i++) {
        memory = mremap(map(WINDOW), WINDOW, 2 * WINDOW, MREMAP_MAYMOVE);
        if (memory == MAP_FAILED) fail("mremap %ld", i);
        memory[0] = 1;
        munmap(memory, 2 * WINDOW);
        if (sbrk(PAGE) == (void *)-1 || sbrk(-(long)PAGE) == (void *)-1) fail("brk %ld", i);
    }
    if (!ticks) fail("no signal");
}

static jmp_buf back;

static void jump(int signal) {
    (void)signal;
    siglongjmp(back, 1);
}

static volatile long failed, wants_action;
static char *volatile failing;

static void count_failure(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    if (info->si_addr != failing) _exit(3);
    failed++;
    wants_action += info->si_code == BUS_MCEERR_AR;
    siglongjmp(back, 1);
}

static void end(int signal) {
    (void)signal;
    is_over++;
}

static volatile int is_storing;

static void store(int signal) {
    (void)signal;
    is_storing = 1;
}

// A load, or a store, is SIGBUS at its address.
static void expect_failure(char *address, int is_store) {
    failing = address;
    if (sigsetjmp(back, 1)) return;
    if (is_store)
        *(volatile char *)address = 1;
    else
        (void)*(volatile char *)address;
    fail("a page that did not fail");
}

static char *map_shared(size_t length) {
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail("mmap");
    return memory;
}


// The line of numa_maps of a mapping has some words.
static void expect_line(char *memory, const char *words) {
    char address[32], line[4096];
    snprintf(address, sizeof address, "%lx ", (unsigned long)memory);
    FILE *maps = fopen("/proc/self/numa_maps", "r");
    while (maps && fgets(line, sizeof line, maps))
        if (!strncmp(line, address, strlen(address))) {
            if (!strstr(line, words)) fail("%s lacks %s", line, words);
            fclose(maps);
            return;
        }
    fail("%s is not in numa_maps", address);
}

static void shared(void) {
    const size_t size = 2 * WINDOW;
    // Neighbours of private memory, and of each other.
    char *before = map(size), *memory = map_shared(size), *other = map_shared(size);
    bind_to(memory, WINDOW, 2, 0);
    touch(before, size);
    touch(memory, size);
    expect_nodes("private memory", before, size, 0);
    expect_nodes("the bound part", memory, WINDOW, 1);
    expect_nodes("the rest", memory + WINDOW, WINDOW, 0);
    expect("what was not touched", node_of(other), -ENOENT);
    expect_line(memory, " bind:1 file=/dev/zero\\040(deleted) mapped=64 N0=32 N1=32 ");
    void *page = memory + WINDOW;
    int target = 1, status = -1;
    expect("move_pages alone", syscall(SYS_move_pages, 0, 1UL, &page, &target, &status, MPOL_MF_MOVE), 0);
    expect("moved", status, 1);
    int ends[2];
    if (pipe(ends)) fail("pipe");
    pid_t child = fork();
    if (child == 0) {
        close(ends[1]);
        expect_nodes("the child's view of it", memory, WINDOW + PAGE, 1);
        expect_bytes("the bytes", memory, size);
        touch(other, size);
        expect_nodes("touched by the child", other, size, 0);
        munmap(before, size);
        memory[WINDOW] = 99;
        char byte;
        if (read(ends[0], &byte, 1)) fail("read");
        expect_nodes("moved by the parent", memory, size, 0);
        _exit(0);
    }
    unsigned long first = 1;
    if (syscall(SYS_mbind, other, size, MPOL_BIND, &first, 64UL, MPOL_MF_MOVE)) fail("mbind");
    expect_error("a strict mbind of what two map", syscall(SYS_mbind, memory, size, MPOL_BIND, &first, 64UL, MPOL_MF_MOVE | MPOL_MF_STRICT), EIO);
    expect_nodes("which stays", memory, WINDOW, 1);
    target = 0;
    expect("move_pages of what two map", syscall(SYS_move_pages, 0, 1UL, &page, &target, &status, MPOL_MF_MOVE), 0);
    expect("its status", status, -EACCES);
    for (size_t i = 0; i < size; i += PAGE) {
        page = memory + i;
        if (syscall(SYS_move_pages, 0, 1UL, &page, &target, &status, MPOL_MF_MOVE_ALL)) fail("move_pages");
        expect("moved with MPOL_MF_MOVE_ALL", status, 0);
    }
    close(ends[0]);
    close(ends[1]);
    expect("the child's end", wait_for(child), 0);
    expect("the child's store", memory[WINDOW], 99);
    expect_nodes("what the child touched", other, size, 0);
    expect_bytes("its bytes", other, size);
    memory[WINDOW] = (char)(WINDOW >> 12);
    char *moved = mremap(memory, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, map(size));
    if (moved == MAP_FAILED) fail("mremap");
    expect_nodes("moved by mremap", moved, size, 0);
    expect_bytes("moved by mremap", moved, size);
    munmap(moved, WINDOW);
    expect_nodes("what is left", moved + WINDOW, WINDOW, 0);
    if (madvise(other, size, MADV_DONTNEED)) fail("madvise");
    expect_bytes("what was not needed for a while", other, size);
    if (madvise(other + PAGE, WINDOW, MADV_REMOVE)) fail("madvise");
    expect_nodes("what was removed", other + PAGE, WINDOW, -ENOENT);
    expect_nodes("behind what was removed", other + PAGE + WINDOW, WINDOW - PAGE, 0);
    expect("a new page", other[2 * PAGE], 0);
    if (mlock(other, WINDOW)) fail("mlock");
    expect_error("a removal of what is locked", madvise(other, PAGE, MADV_REMOVE), EINVAL);
    expect("what stays", node_of(other), 0);
    // The last one frees it.
    munmap(moved + WINDOW, WINDOW);
    munmap(other, size);
}

static void inject(void) {
    struct sigaction failure = {.sa_sigaction = count_failure, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &failure, NULL);
    char *memory = map(4 * WINDOW);
    touch(memory, WINDOW);
    expect_error("not aligned", madvise(memory + 1, PAGE, MADV_HWPOISON), EINVAL);
    expect("nothing", madvise(memory, 0, MADV_HWPOISON), 0);
    expect_error("not mapped", madvise((char *)0x10000, PAGE, MADV_HWPOISON), EFAULT);
    expect("a soft offline", madvise(memory, 4 * PAGE, MADV_SOFT_OFFLINE), 0);
    expect_bytes("what went offline", memory, WINDOW);
    // What was not touched, and what was only loaded from, has no frame to fail.
    for (int round = 0; kind == MAP_PRIVATE && round < 2; round++) {
        expect_error("a soft offline of zeros", madvise(memory + 3 * WINDOW, PAGE, MADV_SOFT_OFFLINE), EIO);
        expect_error("a poison of zeros", madvise(memory + 3 * WINDOW, PAGE, MADV_HWPOISON), EBUSY);
        expect("a byte of them", memory[3 * WINDOW], 0);
    }
    if (kind == MAP_SHARED) expect("what was not touched", madvise(memory + 3 * WINDOW, PAGE, MADV_SOFT_OFFLINE), 0);
    expect("a poison", madvise(memory + 8 * PAGE, 2 * PAGE, MADV_HWPOISON), 0);
    expect_error("a poison of a poisoned page", madvise(memory + 8 * PAGE, PAGE, MADV_HWPOISON), EHWPOISON);
    // Again and again, at any byte, from a load and from a store.
    for (int round = 0; round < 3; round++)
        for (int page = 8; page < 10; page++)
            for (int offset = 0; offset < 2; offset++) expect_failure(memory + page * PAGE + 123 * offset, offset);
    expect("touches that failed", failed, 12);
    expect("of these with BUS_MCEERR_AR", wants_action, 12);
    int ends[2];
    if (pipe(ends) || write(ends[1], "hello", 5) != 5) fail("pipe");
    expect_error("a read to a poisoned page", read(ends[0], memory + 8 * PAGE, 5), EFAULT);
    failing = NULL;
    expect("the page before", memory[7 * PAGE], 7);
    expect("the page behind", memory[10 * PAGE], 10);
    if (kind == MAP_SHARED) {
        // Who gives up only what it has mapped gives nothing back.
        if (madvise(memory + 8 * PAGE, PAGE, MADV_DONTNEED)) fail("madvise");
        expect_failure(memory + 8 * PAGE, 0);
        failing = NULL;
    }
    give_back(memory + 8 * PAGE, 2 * PAGE);
    expect("a new page", memory[8 * PAGE], 0);
    // Without the right.
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct rights[2];
    if (syscall(SYS_capget, &header, rights)) fail("capget");
    rights[0].effective &= ~(1u << CAP_SYS_ADMIN);
    if (syscall(SYS_capset, &header, rights)) fail("capset");
    expect_error("without CAP_SYS_ADMIN", madvise(memory, PAGE, MADV_HWPOISON), EPERM);
}

// Loads from each page of memory, which holds zeros.
static void load(const char *what, char *memory, size_t length) {
    for (size_t page = 0; page < length; page += PAGE) expect(what, ((volatile char *)memory)[page], 0);
}

// Four windows of a mapping, of which the first two were loaded from.
static char *map_zeros(void) {
    char *memory = (char *)(((uintptr_t)map(5 * WINDOW) + WINDOW - 1) & ~(WINDOW - 1));
    load("what is loaded first", memory, 2 * WINDOW);
    return memory;
}

// The pages of numa_maps.
static long count_mapped(void) {
    FILE *maps = fopen("/proc/self/numa_maps", "r");
    if (!maps) fail("numa_maps");
    return count_of(maps, "anon=", 1);
}

static void zeros(void) {
    const int none = -EFAULT;
    // The first time touches what it needs itself.
    count_mapped();
    long mapped = count_mapped();
    char *memory = map_zeros();
    expect("pages in numa_maps", count_mapped(), mapped);
    expect_nodes("what was loaded", memory, 2 * WINDOW, none);
    expect("what was not touched", node_of(memory + 4 * WINDOW - PAGE), -ENOENT);
    // The policy of the store counts.
    bind_to(memory, WINDOW, 2, 0);
    touch(memory, WINDOW);
    expect_nodes("by the policy at the store", memory, WINDOW, 1);
    expect("where no policy was given", node_of(memory + WINDOW + PAGE), none);
    expect_bytes("the bytes", memory, WINDOW);
    expect("pages in numa_maps", count_mapped(), mapped + 32);
    int target = 1, status = 0;
    void *page = memory + 2 * WINDOW - PAGE;
    expect("a move of zeros", syscall(SYS_move_pages, 0, 1UL, &page, &target, &status, MPOL_MF_MOVE), 0);
    expect("its status", status, none);
    if (madvise(memory, 2 * WINDOW, MADV_DONTNEED)) fail("madvise");
    expect_nodes("what is not needed", memory, 2 * WINDOW, -ENOENT);

    // A child has zeros of its own.
    memory = map_zeros();
    pid_t child = fork();
    if (child == 0) {
        expect_nodes("the child's zeros", memory, 2 * WINDOW, none);
        touch(memory, WINDOW);
        expect_nodes("the child's stores", memory, WINDOW, 0);
        expect_bytes("the child's bytes", memory, WINDOW);
        _exit(0);
    }
    expect("the child's end", wait_for(child), 0);
    expect_nodes("the parent's zeros", memory, 2 * WINDOW, none);
    load("the parent's bytes", memory, 2 * WINDOW);
    child = fork();
    if (child == 0) _exit(pause());
    touch(memory, WINDOW);
    expect_nodes("the parent's stores", memory, WINDOW, 0);
    kill(child, SIGKILL);
    wait_for(child);

    // mremap(2) takes them along.
    char *moved = mremap(memory, 4 * WINDOW, 8 * WINDOW, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) fail("mremap");
    expect_nodes("moved zeros", moved + WINDOW, WINDOW, none);
    expect_nodes("moved pages", moved, WINDOW, 0);
    expect_bytes("moved bytes", moved, WINDOW);
    bind_to(moved + WINDOW, WINDOW, 2, 0);
    moved[WINDOW] = 1;
    expect("a store to moved zeros", node_of(moved + WINDOW), 1);

    // mlock(2) stores to what can be stored to.
    memory = map_zeros();
    bind_to(memory, WINDOW, 2, 0);
    if (mlock(memory, 2 * WINDOW)) fail("mlock");
    expect_nodes("what is bound and locked", memory, WINDOW, 1);
    expect_nodes("what is locked", memory + WINDOW, WINDOW, 0);
    memory = map(WINDOW);
    if (mprotect(memory, WINDOW, PROT_READ) || mlock(memory, WINDOW)) fail("mlock");
    expect_nodes("locked zeros", memory, WINDOW, none);
    if (munlock(memory, WINDOW) || mprotect(memory, WINDOW, PROT_READ | PROT_WRITE)) fail("mprotect");
    touch(memory, WINDOW);
    expect_nodes("stores behind mprotect", memory, WINDOW, 0);
    memory = mmap(NULL, WINDOW, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    expect("what is populated and cannot be stored to", count_frames(memory, WINDOW), 0);
    memory = map(2 * WINDOW);
    if (madvise(memory, WINDOW, 22)) fail("MADV_POPULATE_READ");
    expect_nodes("what is populated for loads", memory, WINDOW, none);
    if (madvise(memory, WINDOW, 23)) fail("MADV_POPULATE_WRITE");
    expect_nodes("what is populated for stores", memory, WINDOW, 0);

    // System calls load and store, too.
    memory = map_zeros();
    int ends[2];
    if (pipe(ends)) fail("pipe");
    expect("a write of what was not touched", write(ends[1], memory + 3 * WINDOW, 5), 5);
    expect("it", node_of(memory + 3 * WINDOW), none);
    expect("a read", read(ends[0], memory, 5), 5);
    expect("where it was read to", node_of(memory), 0);
    // What is told to the program is stored by others.
    int *told = (int *)(memory + 2 * WINDOW - PAGE);
    expect("told", syscall(SYS_move_pages, 0, 1UL, &page, NULL, told, 0), 0);
    expect("where", node_of(told), 0);
    unsigned long *bits = (unsigned long *)(memory + 3 * WINDOW + PAGE);
    load("a page alone", (char *)bits, PAGE);
    if (syscall(SYS_get_mempolicy, NULL, bits, 64UL, NULL, MPOL_F_MEMS_ALLOWED)) fail("get_mempolicy");
    expect("the nodes", (long)*bits, 3);
    expect("where they are told", node_of(bits), 0);
}

static pthread_barrier_t barrier;
static long *volatile counters;
static int racers;

enum { COUNTERS = 4 * WINDOW / sizeof(long) };

// Each thread loads from and adds to words of all pages. One of them makes new memory each time.
static void *race(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument;
    for (int round = 0; round < 30; round++) {
        if ((uintptr_t)argument == 1) counters = (long *)map(4 * WINDOW);
        pthread_barrier_wait(&barrier);
        for (int i = 0; i < 512; i++) {
            long *word = counters + (size_t)rand_r(&seed) % 128 * 512;
            if (rand_r(&seed) % 2) {
                if (__atomic_load_n(word, __ATOMIC_RELAXED) < 0) fail("a word");
            } else {
                __atomic_fetch_add(word, 1, __ATOMIC_RELAXED);
                __atomic_fetch_add(word + 1 + (uintptr_t)argument, 1, __ATOMIC_RELAXED);
            }
        }
        pthread_barrier_wait(&barrier);
        if ((uintptr_t)argument != 1) continue;
        for (size_t page = 0; page < COUNTERS; page += 512) {
            long sum = 0;
            for (int i = 0; i < racers; i++) sum += counters[page + 2 + (size_t)i];
            expect("stores of all threads", sum, counters[page]);
            int node = node_of(counters + page);
            if (sum && node < 0) fail("a page with stores: %d", node);
        }
        munmap(counters, 4 * WINDOW);
    }
    return NULL;
}

static void races(int number) {
    pthread_t threads[16];
    racers = number;
    pthread_barrier_init(&barrier, NULL, (unsigned)number);
    for (long i = 0; i < number; i++)
        if (pthread_create(threads + i, NULL, race, (void *)(i + 1))) fail("pthread_create");
    for (int i = 0; i < number; i++) pthread_join(threads[i], NULL);
}

static long count_on(char *memory, size_t length, int node) {
    long count = 0;
    for (size_t page = 0; page < length; page += PAGE) count += node_of(memory + page) == node;
    return count;
}

int main(int count, char **arguments) {
    if (count > 1 && !strcmp(arguments[1], "-s")) {
        kind = MAP_SHARED;
        arguments++;
        count--;
    }
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "place")) {
        place(atoi(arguments[2]), number(arguments[3]));
    } else if (!strcmp(what, "touch")) {
        size_t size = number(arguments[2]);
        touch(map(size), size);
    } else if (!strcmp(what, "spread")) {
        size_t size = number(arguments[2]);
        char *memory = map(size);
        touch(memory, size);
        long counts[1024] = {0};
        for (size_t page = 0; page < size; page += PAGE) {
            int node = node_of(memory + page);
            if (node < 0 || node >= 1024) fail("a page: %d", node);
            counts[node]++;
        }
        for (int node = 0; node < 1024; node++)
            if (counts[node]) printf("%d=%ld\n", node, counts[node]);
        return 0;
    } else if (!strcmp(what, "exec")) {
        touch(map(16 << 20), 16 << 20);
        execl("/proc/self/exe", "anonymous", "place", arguments[2], arguments[3], (char *)NULL);
        fail("exec");
    } else if (!strcmp(what, "hold")) {
        size_t size = number(arguments[2]);
        char *memory = map(size);
        touch(memory, size);
        struct sigaction action = {.sa_handler = end};
        sigaction(SIGTERM, &action, NULL);
        printf("ok\n");
        fflush(stdout);
        while (!is_over) pause();
        expect_bytes("what was held", memory, size);
        printf("end\n");
        return 0;
    } else if (!strcmp(what, "lock")) {
        size_t size = number(arguments[2]);
        char *memory = map(size);
        touch(memory, size / 2);
        struct sigaction action = {.sa_handler = end};
        sigaction(SIGTERM, &action, NULL);
        if (mlock(memory, size)) fail("mlock");
        char *mapped = mmap(NULL, WINDOW, PROT_READ, kind | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
        if (mapped == MAP_FAILED) fail("mmap");
        expect("an unlock of what is not mapped", munlock((char *)0x10000, PAGE), -1);
        printf("ok\n");
        fflush(stdout);
        while (!is_over) pause();
        if (munlock(memory, size) || munmap(mapped, WINDOW)) fail("munlock");
        printf("ok\n");
        fflush(stdout);
        while (is_over < 2) pause();
        return 0;
    } else if (!strcmp(what, "warm")) {
        size_t size = number(arguments[2]);
        char *memory = map(size);
        touch(memory, size);
        struct sigaction action = {.sa_handler = end};
        sigaction(SIGTERM, &action, NULL);
        pid_t child = kind == MAP_SHARED ? fork() : 0;
        if (child) printf("child=%d\n", child);
        fflush(stdout);
        for (long round = 0; !child && !is_over; round++) {
            for (size_t page = 0; page < size / 2; page += PAGE) ((volatile char *)memory)[page + 1] = (char)round;
            if (round == 1) {
                printf("ok\n");
                fflush(stdout);
            }
        }
        if (kind == MAP_SHARED && !child) _exit(0);
        while (!is_over) pause();
        printf("hot=%ld cold=%ld\n", count_on(memory, size / 2, 0), count_on(memory + size / 2, size / 2, 1));
        expect_bytes("what was touched", memory, size);
        if (child && (kill(child, SIGTERM) || wait_for(child))) fail("the child");
        return 0;
    } else if (!strcmp(what, "forks")) {
        size_t size = number(arguments[2]);
        char *memory = map(size);
        bind_to(memory, size, 2, 0);
        touch(memory, size);
        struct sigaction action = {.sa_handler = end};
        sigaction(SIGTERM, &action, NULL);
        struct sigaction storing = {.sa_handler = store};
        sigaction(SIGUSR1, &storing, NULL);
        pid_t child = fork();
        if (child == 0) {
            while (!is_over) {
                pause();
                if (is_storing) memset(memory, 9, size);
            }
            _exit(0);
        }
        printf("child=%d\n", child);
        fflush(stdout);
        while (!is_over) pause();
        kill(child, SIGTERM);
        expect("the child's end", wait_for(child), 0);
        return 0;
    } else if (!strcmp(what, "interrupted")) {
        interrupted(atol(arguments[2]));
    } else if (!strcmp(what, "shared")) {
        shared();
    } else if (!strcmp(what, "inject")) {
        inject();
    } else if (!strcmp(what, "fail")) {
        size_t size = number(arguments[2]);
        char *memory = map(size);
        bind_to(memory, size, 2, 0);
        touch(memory, size);
        struct sigaction action = {.sa_handler = end}, failure = {.sa_sigaction = count_failure, .sa_flags = SA_SIGINFO};
        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGBUS, &failure, NULL);
        int ends[2];
        if (pipe(ends)) fail("pipe");
        volatile pid_t child = kind == MAP_SHARED ? fork() : -1;
        if (child) {
            printf("ok\n");
            fflush(stdout);
            while (!is_over) pause();
        } else {
            char byte;
            // The signal that ends the parent's wait may be the child's, too.
            while (read(ends[0], &byte, 1) != 1)
                if (errno != EINTR) fail("read");
        }
        for (failing = memory; failing < memory + size; failing += PAGE)
            if (sigsetjmp(back, 1) == 0 && *failing != (char)((failing - memory) >> 12)) fail("a byte that did not fail");
        if (child > 0) {
            if (write(ends[1], "", 1) != 1) fail("write");
            expect("the child's end", wait_for(child), 0);
        } else {
            give_back(memory, size);
        }
        if (child) printf("bus=%ld action=%ld\n", failed, wants_action);
        for (failing = memory; failing < memory + size; failing += PAGE)
            if (*failing) fail("a byte of a new page");
        if (!child && (!failed || failed != wants_action)) fail("the child: bus=%ld action=%ld", failed, wants_action);
        return 0;
    } else if (!strcmp(what, "calls")) {
        calls();
    } else if (!strcmp(what, "zeros")) {
        zeros();
    } else if (!strcmp(what, "races")) {
        races(atoi(arguments[2]));
    } else if (!strcmp(what, "special")) {
        special();
        follow();
    } else if (!strcmp(what, "storm")) {
        pthread_t threads[64];
        int number = atoi(arguments[2]);
        is_host = count > 4;
        printf("begin\n");
        fflush(stdout);
        for (long i = 0; i < number; i++)
            if (pthread_create(threads + i, NULL, storm, (void *)(i + 1))) fail("pthread_create");
        struct timespec duration = {atoi(arguments[3]), 0};
        nanosleep(&duration, NULL);
        is_over = 1;
        for (int i = 0; i < number; i++) pthread_join(threads[i], NULL);
    } else if (!strcmp(what, "refused")) {
        struct sigaction action = {.sa_handler = jump};
        sigaction(SIGBUS, &action, NULL);
        volatile char *memory = map(WINDOW);
        bind_to((char *)memory, WINDOW, 2, 0);
        struct sigaction ending = {.sa_handler = end};
        sigaction(SIGTERM, &ending, NULL);
        printf("begin\n");
        fflush(stdout);
        while (!is_over) pause();
        for (volatile int round = 0; round < 4; round++) {
            if (round % 2) expect("zeros", memory[0], 0);
            if (sigsetjmp(back, 1) == 0) {
                memory[0] = 1;
                fail("a page that there is no frame for");
            }
            if (madvise((void *)memory, WINDOW, MADV_DONTNEED)) fail("madvise");
        }
    } else if (!strcmp(what, "sum")) {
        touch(map(8 << 20), 8 << 20);
        long mapped = 0, counted = 0;
        // The first time touches what these need themselves.
        for (int i = 0; i < 2; i++) {
            FILE *maps = fopen("/proc/self/numa_maps", "r"), *figures = fopen("/proc/meminfo", "r");
            if (!maps || !figures) fail("fopen");
            mapped = count_of(maps, "anon=", 1);
            counted = count_of(figures, "AnonPages:", 4);
        }
        printf("maps=%ld figures=%ld\n", mapped, counted);
        return 0;
    } else {
        fail("anonymous: what?");
    }
    printf("ok\n");
    return 0;
}
