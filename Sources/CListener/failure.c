#define _GNU_SOURCE
#include "cagent.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Reads the start of a file of /proc/PID as a string. Its length, or -1.
static ssize_t read_proc(int32_t task, const char *name, char *text, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", task, name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t length = read(file, text, size - 1);
    close(file);
    text[length < 0 ? 0 : length] = 0;
    return length;
}

static int64_t microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void sleep_for(long microseconds) {
    struct timespec time = {.tv_nsec = microseconds * 1000};
    nanosleep(&time, NULL);
}

// Waits a little for a thread that is about to do something, since `start`. What takes long is asked for less often: 0 after `limit`.
static int give_way(int64_t start, int64_t limit) {
    int64_t waited = microseconds() - start;
    // A sleep takes 50 microseconds longer than it says, and most threads are there sooner.
    if (waited < 300)
        sched_yield();
    else
        sleep_for(waited < 10000 ? 50 : 1000);
    return waited < limit;
}

// The text of /proc/TID/syscall of a thread that waits: "-1", and where its stack and its instruction are, in a page fault.
struct place {
    char text[96];
};

// Whether a thread waits in a page fault that no system call has made, and in which.
static int is_in_fault(int32_t thread, struct place *place) {
    const int64_t start = microseconds();
    while (read_proc(thread, "syscall", place->text, sizeof place->text) > 0) {
        // The request may be here before the thread sleeps (task_current_syscall()). One that does not wait for it does not sleep.
        if (strncmp(place->text, "running", 7)) return !strncmp(place->text, "-1 ", 3);
        if (!give_way(start, 100000)) break;
    }
    return 0;
}

// The value of a line of /proc/PID/status; the last one, where it has several.
static unsigned long long last_value(char *status, const char *name, int base) {
    char *line = strstr(status, name);
    unsigned long long value = 0;
    if (line) line += strlen(name);
    while (line && *line == '\t') value = strtoull(line, &line, base);
    return value;
}

// Whether a thread that is traced would survive a SIGBUS that it does not handle: the first process of a PID namespace does
// (force_sig_info_to_task()).
static int survives(int32_t thread) {
    char status[4096];
    if (read_proc(thread, "status", status, sizeof status) <= 0) return 1;
    const unsigned long long bit = 1ull << (SIGBUS - 1);
    int handles = last_value(status, "\nSigCgt:", 16) & bit && !(last_value(status, "\nSigBlk:", 16) & bit);
    return !handles && last_value(status, "\nNStgid:", 10) == 1;
}

// Waits until a thread that is traced stops or ends. 1; 0 after a second.
static int wait_for(int32_t thread, int *status) {
    const int64_t start = microseconds();
    do {
        pid_t found = waitpid(thread, status, __WALL | WNOHANG);
        if (found == thread) return 1;
        if (found < 0 && errno != EINTR) return 0;
    } while (give_way(start, 1000000));
    return 0;
}

// Gives the SIGBUS at which a thread has stopped its new code, if it is that of the fault.
static int mark(int32_t thread, int granularity, const struct place *fault) {
    siginfo_t information;
    struct place place;
    // The same instruction with the same stack: another SIGBUS that comes meanwhile stays as it is.
    if (ptrace(PTRACE_GETSIGINFO, thread, 0, &information) || information.si_code <= 0 ||
        read_proc(thread, "syscall", place.text, sizeof place.text) <= 0 || strcmp(place.text, fault->text))
        return -1;
    information.si_code = BUS_MCEERR_AR;
    information.si_addr_lsb = (short)granularity;
    return ptrace(PTRACE_SETSIGINFO, thread, 0, &information) ? -1 : 0;
}

int clistener_fail_touch(
    int32_t thread, int granularity, int (*fail)(void *), void (*heal)(void *), void *context) {
    struct place fault, place;
    int is_traced = is_in_fault(thread, &fault) && !survives(thread) && !ptrace(PTRACE_SEIZE, thread, 0, 0);
    // Until now the number could have become another thread's.
    int is_meant = is_traced && is_in_fault(thread, &place) && !strcmp(place.text, fault.text);
    int has_failed = fail(context) != 0;
    int status, result = -1;
    if (!is_meant || has_failed || !wait_for(thread, &status)) {
        // Time to find it failed. Who comes later begins anew.
        if (heal) {
            sleep_for(1000);
            heal(context);
        }
        return -1;
    }
    // What stops the whole process is no signal that is about to be delivered.
    int signal = !WIFSTOPPED(status) || status >> 16 ? 0 : WSTOPSIG(status);
    if (signal == SIGBUS) result = mark(thread, granularity, &fault);
    if (heal) heal(context);
    if (WIFSTOPPED(status)) ptrace(PTRACE_DETACH, thread, 0, signal);
    return result;
}

int clistener_may_trace(void) {
    char text[4096];
    if (read_proc(getpid(), "status", text, sizeof text) <= 0) return 0;
    if (!(last_value(text, "\nCapEff:", 16) >> CAP_SYS_PTRACE & 1)) return 0;
    // Documentation/admin-guide/LSM/Yama.rst: 3 is for ever, and for everybody.
    int file = open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 1;
    ssize_t length = read(file, text, 1);
    close(file);
    return length != 1 || text[0] != '3';
}
