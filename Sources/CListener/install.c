#define _GNU_SOURCE
#include "agent.h"
#include "cagent.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#else
#error "which architecture?"
#endif

// Of linux/seccomp.h since 5.19: a call that was received is not interrupted by signals that do not kill.
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

// Of asm-generic/mman-common.h, which sys/mman.h leaves out.
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

struct program {
    struct sock_filter code[160];
    unsigned short length;
};

static void add(struct program *program, unsigned short code, uint32_t k, unsigned char if_true, unsigned char if_false) {
    program->code[program->length++] = (struct sock_filter){code, if_true, if_false, k};
}

static void load(struct program *program, size_t offset) { add(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0); }

static void leave(struct program *program, uint32_t action) { add(program, BPF_RET | BPF_K, action, 0, 0); }

// Reports a call by its number, which is loaded.
static void report(struct program *program, int number) {
    if (number < 0) return;
    add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1);
    leave(program, SECCOMP_RET_USER_NOTIF);
}

static void report_each(struct program *program, const int *numbers, size_t count) {
    for (size_t i = 0; i < count; i++) report(program, numbers[i]);
}

// Reports an open(2) that only reads a file there is, by the low half of the flags (both architectures are little-endian).
static void report_open(struct program *program, int number, int argument) {
    if (number < 0) return;
    add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 4);
    load(program, offsetof(struct seccomp_data, args) + 8 * (size_t)argument);
    add(program, BPF_JMP | BPF_JSET | BPF_K, O_WRONLY | O_RDWR | O_CREAT | O_DIRECTORY | O_PATH, 0, 1);
    leave(program, SECCOMP_RET_ALLOW);
    leave(program, SECCOMP_RET_USER_NOTIF);
}

// Reports a call that has a value as its argument.
static void report_value(struct program *program, int number, int argument, uint32_t value) {
    add(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 4);
    load(program, offsetof(struct seccomp_data, args) + 8 * (size_t)argument);
    add(program, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    leave(program, SECCOMP_RET_USER_NOTIF);
    leave(program, SECCOMP_RET_ALLOW);
}

// Reports an mmap(2) of anonymous memory.
static void report_mmap(struct program *program) {
    add(program, BPF_JMP | BPF_JEQ | BPF_K, CLISTENER_MMAP, 0, 4);
    load(program, offsetof(struct seccomp_data, args) + 8 * 3);
    add(program, BPF_JMP | BPF_JSET | BPF_K, MAP_ANONYMOUS, 0, 1);
    leave(program, SECCOMP_RET_USER_NOTIF);
    leave(program, SECCOMP_RET_ALLOW);
}

// Reports a madvise(2) with some advices that follow each other.
static void report_advices(struct program *program, int first, int last) {
    add(program, BPF_JMP | BPF_JEQ | BPF_K, CLISTENER_MADVISE, 0, 5);
    load(program, offsetof(struct seccomp_data, args) + 8 * 2);
    add(program, BPF_JMP | BPF_JGE | BPF_K, (uint32_t)first, 0, 2);
    add(program, BPF_JMP | BPF_JGT | BPF_K, (uint32_t)last, 1, 0);
    leave(program, SECCOMP_RET_USER_NOTIF);
    load(program, offsetof(struct seccomp_data, nr));
}

int clistener_install(int calls) {
    struct program program = {.length = 0};
    load(&program, offsetof(struct seccomp_data, arch));
    add(&program, BPF_JMP | BPF_JEQ | BPF_K, NATIVE, 1, 0);
    leave(&program, SECCOMP_RET_ALLOW);
#if defined(__x86_64__)
    if (calls & CLISTENER_ANONYMOUS) {
        // What agents do is not reported.
        load(&program, offsetof(struct seccomp_data, instruction_pointer) + 4);
        add(&program, BPF_JMP | BPF_JEQ | BPF_K, AGENT_CODE >> 32, 0, 1);
        leave(&program, SECCOMP_RET_ALLOW);
    }
#else
    calls &= ~CLISTENER_ANONYMOUS;
#endif
    load(&program, offsetof(struct seccomp_data, nr));
    if (calls & CLISTENER_ANONYMOUS) {
        static const int numbers[] = {CLISTENER_BRK,    CLISTENER_MREMAP,   CLISTENER_MLOCK,
                                      CLISTENER_MLOCK2, CLISTENER_MUNLOCK, CLISTENER_MLOCKALL, CLISTENER_MUNLOCKALL};
        report_each(&program, numbers, sizeof numbers / sizeof *numbers);
        report_mmap(&program);
        report_advices(&program, MADV_REMOVE, MADV_REMOVE);
        // What takes memory away from the server, and what may end a program that gets an agent.
        report_value(&program, CLISTENER_IOCTL, 1, (uint32_t)UFFDIO_REGISTER);
        report_value(&program, CLISTENER_SECCOMP, 0, SECCOMP_SET_MODE_FILTER);
        report_value(&program, CLISTENER_PRCTL, 0, PR_SET_SECCOMP);
    }
    if (calls & CLISTENER_MEMORY) {
        static const int numbers[] = {
            CLISTENER_MBIND,      CLISTENER_SET_MEMPOLICY,           CLISTENER_GET_MEMPOLICY, CLISTENER_MIGRATE_PAGES,
            CLISTENER_MOVE_PAGES, CLISTENER_SET_MEMPOLICY_HOME_NODE, CLISTENER_GETCPU};
        report_each(&program, numbers, sizeof numbers / sizeof *numbers);
        // That have memory fail.
        report_advices(&program, MADV_HWPOISON, MADV_SOFT_OFFLINE);
    }
    if (calls & CLISTENER_PROCESSORS) {
        report(&program, CLISTENER_SCHED_SETAFFINITY);
        report(&program, CLISTENER_SCHED_GETAFFINITY);
        // The kernel would write the host's CPU there, and sched_getcpu(3) read it (rseq(2)). Without it that is a getcpu(2).
        add(&program, BPF_JMP | BPF_JEQ | BPF_K, SYS_rseq, 0, 1);
        leave(&program, SECCOMP_RET_ERRNO | ENOSYS);
    }
    if (calls & CLISTENER_FILES) {
        report_open(&program, CLISTENER_OPENAT, 2);
        report_open(&program, CLISTENER_OPEN, 1);
    }
    leave(&program, SECCOMP_RET_ALLOW);
    struct sock_fprog filter = {program.length, program.code};
    unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
    long listener =
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &filter);
    if (listener < 0 && errno == EINVAL) listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
    return (int)listener;
}

int clistener_begin(int keeper, int file, int calls) {
    int listener = clistener_install(calls);
    if (listener < 0 && errno == EACCES && !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) listener = clistener_install(calls);
    if (listener < 0) return -1;
    int files[2] = {listener, file};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof files)];
    } control = {0};
    char byte = 0;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    control.header = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof files)};
    __builtin_memcpy(CMSG_DATA(&control.header), files, sizeof files);
    ssize_t sent = sendmsg(keeper, &message, MSG_NOSIGNAL);
    close(listener);
    return sent == 1 ? 0 : -1;
}
