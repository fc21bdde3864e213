// policies WHAT FILE: the calls of NUMA policies on a mapping of a buffer, in a `cdmfs run` of a machine with the nodes 0 and 1. Each is made by its
// number, as a static program does it.
//
//   calls    mbind, get_mempolicy, move_pages and migrate_pages on 64 pages, and what fork(2) and execve(2) hand down
//   told     what execve(2) handed down
//   files    Mems_allowed of /proc/self/status, and the lines of the mapping in /proc/self/numa_maps
//   signals  calls under a timer whose handler does not restart them
//   heap N   so many programs, each executed by the one before, whose first brk(2) comes when a timer ends, with such a handler
//   endless  get_mempolicy(2) again and again, an `ok` at the start; SIGTERM ends it, with an `end`
#include "expect.h"
#include <linux/mempolicy.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#define PAGES 64

static long bind_pages(void *start, size_t length, int mode, unsigned long nodes, unsigned flags) {
    return syscall(SYS_mbind, start, length, mode, &nodes, 64, flags);
}

static int node_of(void *page) {
    int status = -1;
    if (syscall(SYS_move_pages, 0, 1UL, &page, NULL, &status, 0)) fail("move_pages");
    return status;
}

static void expect_policy(const char *what, void *address, int mode, unsigned long nodes) {
    int found = -1;
    unsigned long map = 0;
    if (syscall(SYS_get_mempolicy, &found, &map, 64UL, address, address ? MPOL_F_ADDR : 0)) fail("%s", what);
    expect(what, found, mode);
    expect(what, (long)map, (long)nodes);
}

// Calls on a process, made by another one of its user.
static void expect_access(const char *what, pid_t process, int error) {
    pid_t child = fork();
    if (child == 0) {
        if (setresgid(1, 1, 1) || setresuid(1, 1, 1)) fail("setresuid");
        unsigned long nodes = 1;
        long moved = syscall(SYS_move_pages, process, 0UL, NULL, NULL, NULL, 0);
        if (error) expect_error(what, moved, error);
        else expect(what, moved, 0);
        long migrated = syscall(SYS_migrate_pages, process, 64UL, &nodes, &nodes);
        if (error) expect_error(what, migrated, error);
        else expect(what, migrated, 0);
        _exit(0);
    }
    int ending;
    if (waitpid(child, &ending, 0) != child || ending) fail("%s: %d", what, ending);
}

// A process whose user has changed lets its user look into it only if it says so.
static void access_others(void) {
    int ending;
    pid_t child = fork();
    if (child == 0) {
        if (setresgid(1, 1, 1) || setresuid(1, 1, 1) || prctl(PR_SET_PDEATHSIG, SIGKILL)) fail("setresuid");
        raise(SIGSTOP);
        if (prctl(PR_SET_DUMPABLE, 1)) fail("prctl");
        raise(SIGSTOP);
        _exit(0);
    }
    for (int error = EPERM;; error = 0) {
        if (waitpid(child, &ending, WUNTRACED) != child) fail("waitpid");
        if (!WIFSTOPPED(ending)) break;
        expect_access(error ? "a process that is not dumpable" : "a dumpable process", child, error);
        kill(child, SIGCONT);
    }
    if (ending) fail("the process: %d", ending);
}

static void calls(const char *file, char **arguments) {
    int fd = open_file(file, O_RDWR | O_CREAT);
    if (ftruncate(fd, PAGES * PAGE)) fail("ftruncate");
    char *memory = map_file(fd, 0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    expect_error("mbind of half a page", bind_pages(memory + 1, PAGE, MPOL_BIND, 2, 0), EINVAL);
    expect_error("mbind to node 5", bind_pages(memory, PAGE, MPOL_BIND, 32, 0), EINVAL);
    expect_error("mbind of a hole", bind_pages((void *)(PAGE * 16), PAGE, MPOL_BIND, 2, 0), EFAULT);
    expect_error("get_mempolicy into nowhere", syscall(SYS_get_mempolicy, (void *)8, NULL, 0UL, NULL, 0), EFAULT);
    expect_error("get_mempolicy behind all", syscall(SYS_get_mempolicy, (void *)-1, NULL, 0UL, NULL, 0), EFAULT);
    int *constant = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (constant == MAP_FAILED) fail("mmap");
    *constant = 77;
    if (mprotect(constant, PAGE, PROT_READ)) fail("mprotect");
    expect_error("get_mempolicy into a constant", syscall(SYS_get_mempolicy, constant, NULL, 0UL, NULL, 0), EFAULT);
    expect("the constant", *constant, 77);
    if (mprotect(constant, PAGE, PROT_READ | PROT_WRITE)) fail("mprotect");
    expect("get_mempolicy into a variable", syscall(SYS_get_mempolicy, constant, NULL, 0UL, NULL, 0), 0);
    expect("the variable", *constant, 0);
    expect_error("move_pages of nobody", syscall(SYS_move_pages, 1 << 22, 0UL, NULL, NULL, NULL, 0), ESRCH);
    expect("an untouched page", node_of(memory), -ENOENT);
    if (bind_pages(memory + 32 * PAGE, 32 * PAGE, MPOL_BIND, 2, 0)) fail("mbind");
    expect_policy("the bound half", memory + 40 * PAGE, MPOL_BIND, 2);
    expect_policy("the other half", memory, MPOL_DEFAULT, 0);
    memset(memory, 1, PAGES * PAGE);
    expect("a page of the other half", node_of(memory), 0);
    expect("a page of the bound half", node_of(memory + 40 * PAGE), 1);
    expect_error("mbind with pages elsewhere", bind_pages(memory, 8 * PAGE, MPOL_BIND, 2, MPOL_MF_STRICT), EIO);
    if (bind_pages(memory, 8 * PAGE, MPOL_BIND, 2, MPOL_MF_STRICT | MPOL_MF_MOVE)) fail("mbind, moving");
    expect("a page that moved", node_of(memory + 7 * PAGE), 1);
    void *pages[2] = {memory, memory + 9 * PAGE};
    int nodes[2] = {0, 1}, status[2];
    if (syscall(SYS_move_pages, 0, 2UL, pages, nodes, status, MPOL_MF_MOVE)) fail("move_pages");
    expect("the first page", status[0], 0);
    expect("the second page", status[1], 1);
    unsigned long first = 1, second = 2;
    if (syscall(SYS_migrate_pages, 0, 64UL, &second, &first)) fail("migrate_pages");
    for (int page = 0; page < PAGES; page++) expect("every page", node_of(memory + page * PAGE), 0);
    for (int page = 0; page < PAGES; page++) expect("every byte", memory[page * PAGE + page], 1);
    if (geteuid() == 0) access_others();
    // A child has the policy of who made it, and so has what it becomes.
    if (syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, &(unsigned long){3}, 64UL)) fail("set_mempolicy");
    pid_t child = fork();
    if (child == 0) {
        expect_policy("the child's", NULL, MPOL_INTERLEAVE, 3);
        arguments[1] = "told";
        execv("/proc/self/exe", arguments);
        fail("execv");
    }
    int ending;
    if (waitpid(child, &ending, 0) != child || ending) fail("the child: %d", ending);
    unlink(file);
    puts("ok");
}

static void files(const char *file) {
    int fd = open_file(file, O_RDWR | O_CREAT);
    if (ftruncate(fd, PAGES * PAGE)) fail("ftruncate");
    char *memory = map_file(fd, 0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    if (bind_pages(memory, PAGES * PAGE, MPOL_BIND, 2, 0)) fail("mbind");
    memset(memory, 1, PAGES * PAGE);
    static const char *const names[] = {"/proc/self/status", "/proc/self/numa_maps"};
    for (int i = 0; i < 2; i++) {
        FILE *text = fopen(names[i], "re");
        if (!text) fail("%s", names[i]);
        char line[4096];
        while (fgets(line, sizeof line, text))
            if (i ? strstr(line, file) != NULL : !strncmp(line, "Mems", 4)) fputs(line, stdout);
        fclose(text);
    }
    unlink(file);
}

static void ignore(int signal) { (void)signal; }

static void signals(void) {
    struct sigaction action = {.sa_handler = ignore};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {{0, 500}, {0, 500}};
    setitimer(ITIMER_REAL, &timer, NULL);
    int mode;
    for (int i = 0; i < 20000; i++)
        if (syscall(SYS_get_mempolicy, &mode, NULL, 0UL, NULL, 0) && errno != EINTR) fail("get_mempolicy");
    puts("ok");
}

static void heap(char **arguments) {
    struct sigaction action = {.sa_handler = ignore};
    sigaction(SIGALRM, &action, NULL);
    // Some of so many moments lie between the call and its receipt.
    struct itimerval timer = {{0, 0}, {0, 1 + atoi(arguments[2]) % 40}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &timer, NULL);
    char *start = sbrk(PAGE);
    if (start == (char *)-1) fail("sbrk");
    expect("the end of the heap", (char *)sbrk(0) - start, PAGE);
    memset(start, 1, PAGE);
    setitimer(ITIMER_REAL, &never, NULL);
    char rest[16];
    snprintf(rest, sizeof rest, "%d", atoi(arguments[2]) - 1);
    if (!strcmp(rest, "0")) {
        puts("ok");
        return;
    }
    arguments[2] = rest;
    execv("/proc/self/exe", arguments);
    fail("execv");
}

static volatile sig_atomic_t is_over;

static void finish(int signal) { is_over = signal; }

static void endless(void) {
    struct sigaction action = {.sa_handler = finish};
    sigaction(SIGTERM, &action, NULL);
    setvbuf(stdout, NULL, _IONBF, 0);
    int mode;
    for (unsigned long i = 0; !is_over; i++) {
        syscall(SYS_get_mempolicy, &mode, NULL, 0UL, NULL, 0);
        if (i == 0) puts("ok");
    }
    puts("end");
}

int main(int count, char **arguments) {
    if (count < 2) fail("usage: policies WHAT [FILE]");
    const char *what = arguments[1];
    if (!strcmp(what, "calls") && count == 3) calls(arguments[2], arguments);
    else if (!strcmp(what, "told")) expect_policy("what was handed down", NULL, MPOL_INTERLEAVE, 3);
    else if (!strcmp(what, "files") && count == 3) files(arguments[2]);
    else if (!strcmp(what, "signals")) signals();
    else if (!strcmp(what, "heap") && count == 3) heap(arguments);
    else if (!strcmp(what, "endless")) endless();
    else fail("policies: %s?", what);
    return 0;
}
