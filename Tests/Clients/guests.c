// guests COMMAND: programs under `cdmfs run` that do to their processes what agents could get in the way of. Each prints `ok`.
//
//   shared  processes that share an address space which a fork has made map memory at once (clone(2) with CLONE_VM)
//   filter  a filter that ends who makes another call than a few, installed without and with an agent, and children of a fork behind it
//   faults  first touches of memory are reported to a userfaultfd(2) of the program's own
//   churn   maps, fills and unmaps memory in four threads for half a second, from the line `begin` on
//   agent   the mapping of the agent is where ThreadSanitizer lets programs have memory
#include "client.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static void *map(size_t length) {
    void *address = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED) fail("mmap of %zu", length);
    return address;
}

static int map_some(void *ready) {
    atomic_fetch_add((atomic_int *)ready, 1);
    while (atomic_load((atomic_int *)ready) < 2) sched_yield();
    for (int i = 0; i < 50; i++) {
        char *memory = map(16 * PAGE);
        memset(memory, i, 16 * PAGE);
        if (memory[15 * PAGE] != i || munmap(memory, 16 * PAGE)) return 1;
    }
    return 0;
}

static void expect_end(pid_t child, const char *who) {
    int status;
    if (waitpid(child, &status, 0) != child) fail("waitpid");
    errno = 0;
    if (status) fail("%s: status %x", who, status);
}

static void share_space(void) {
    static atomic_int ready;
    char *stack = map(64 * PAGE);
    for (int round = 0; round < 60; round++) {
        // What a fork has made has no agent until it maps something.
        pid_t child = fork();
        if (child == 0) {
            atomic_store(&ready, 0);
            pid_t other = clone(map_some, stack + 64 * PAGE, CLONE_VM | SIGCHLD, &ready);
            if (other < 0 || map_some(&ready)) _exit(1);
            int status;
            _exit(waitpid(other, &status, 0) != other || status);
        }
        expect_end(child, "sharing");
    }
}

#define LET(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void install_filter(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        LET(mmap), LET(munmap), LET(brk), LET(clone), LET(wait4), LET(write), LET(exit_group), LET(set_robust_list), LET(gettid),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) fail("filter");
}

static void map_and_fork(void) {
    memset(map(64 * PAGE), 1, 64 * PAGE);
    pid_t child = fork();
    if (child == 0) {
        memset(map(64 * PAGE), 1, 64 * PAGE);
        _exit(0);
    }
    expect_end(child, "behind the filter");
}

static void filter_calls(void) {
    for (int has_agent = 0; has_agent < 2; has_agent++) {
        pid_t child = fork();
        if (child == 0) {
            if (has_agent) memset(map(PAGE), 1, PAGE);
            install_filter();
            map_and_fork();
            _exit(0);
        }
        expect_end(child, has_agent ? "with an agent" : "without one");
    }
}

static void *fill(void *argument) {
    int faults = *(int *)argument;
    static char bytes[PAGE] __attribute__((aligned(PAGE)));
    memset(bytes, 7, sizeof bytes);
    for (int i = 0; i < 16; i++) {
        struct uffd_msg message;
        if (read(faults, &message, sizeof message) != sizeof message) fail("read of faults");
        struct uffdio_copy copy = {
            .dst = message.arg.pagefault.address & ~(PAGE - 1), .src = (uintptr_t)bytes, .len = PAGE};
        if (ioctl(faults, UFFDIO_COPY, &copy)) fail("UFFDIO_COPY");
    }
    return NULL;
}

static void report_faults(void) {
    int faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api interface = {.api = UFFD_API};
    if (faults < 0 || ioctl(faults, UFFDIO_API, &interface)) fail("userfaultfd");
    char *memory = map(64 * PAGE);
    // The first half stays the machine's.
    memset(memory, 1, 40 * PAGE);
    if (madvise(memory + 32 * PAGE, 32 * PAGE, MADV_DONTNEED)) fail("madvise");
    struct uffdio_register request = {
        .range = {(uintptr_t)memory + 48 * PAGE, 16 * PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (ioctl(faults, UFFDIO_REGISTER, &request)) fail("UFFDIO_REGISTER");
    pthread_t thread;
    if ((errno = pthread_create(&thread, NULL, fill, &faults))) fail("pthread_create");
    for (int i = 48; i < 64; i++)
        if (memory[i * PAGE + 1] != 7) fail("page %d has other bytes", i);
    pthread_join(thread, NULL);
    for (int i = 0; i < 48; i++)
        if (memory[i * PAGE] != (i < 32)) fail("page %d has other bytes", i);
    if (munmap(memory, 64 * PAGE)) fail("munmap");
    close(faults);
}

static void find_agent(void) {
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    int found = 0;
    while (maps && fgets(line, sizeof line, maps)) {
        if (!strstr(line, "cdmfs-agent")) continue;
        unsigned long start = strtoul(line, NULL, 16);
        // From the least middle address of tsan_platform.h to the least one of a position-independent program.
        if (start < 0x550000000000 || start >= 0x555555554000) fail("an agent is at %lx", start);
        found = 1;
    }
    if (!found) fail("no agent");
    fclose(maps);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void *fill_and_unmap(void *end) {
    while (now() < *(double *)end) {
        char *memory = map(256 * PAGE);
        memset(memory, 5, 256 * PAGE);
        for (unsigned i = 0; i < 256; i++)
            if (memory[i * PAGE] != 5) fail("page %u has other bytes", i);
        if (munmap(memory, 256 * PAGE)) fail("munmap");
    }
    return NULL;
}

static void churn(void) {
    pthread_t threads[4];
    double end = now() + 0.5;
    for (int i = 0; i < 4; i++)
        if ((errno = pthread_create(&threads[i], NULL, fill_and_unmap, &end))) fail("pthread_create");
    puts("begin");
    fflush(stdout);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}

int main(int count, char **words) {
    const char *command = count > 1 ? words[1] : "";
    if (!strcmp(command, "shared")) share_space();
    else if (!strcmp(command, "filter")) filter_calls();
    else if (!strcmp(command, "faults")) report_faults();
    else if (!strcmp(command, "churn")) churn();
    else if (!strcmp(command, "agent")) find_agent();
    else fail("which command?");
    puts("ok");
}
