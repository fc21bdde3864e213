#define _GNU_SOURCE
#include "clistener.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

// Of linux/seccomp.h since 6.6.
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

// PROCMAP_QUERY of linux/fs.h since 6.11.
struct mapping_query {
    uint64_t size, flags, address, start, end, rest[8];
};
#define MAPPING_QUERY _IOWR('f', 17, struct mapping_query)
#define MAPPING_QUERY_WRITABLE 2

int clistener_is_listener(int file) {
    char path[64], name[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    ssize_t length = readlink(path, name, sizeof name);
    static const char expected[] = "anon_inode:seccomp notify";
    return length == sizeof expected - 1 && !memcmp(name, expected, sizeof expected - 1);
}

void clistener_wake_in_place(int listener) {
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
}

int clistener_receive(int listener, int stop, struct clistener_call *call) {
    // Older kernels do not wake who waits in the ioctl when the last thread ends.
    struct pollfd entries[2] = {{.fd = listener, .events = POLLIN}, {.fd = stop, .events = POLLIN}};
    while (poll(entries, 2, -1) < 0)
        if (errno != EINTR) return -1;
    if (!(entries[0].revents & POLLIN) || entries[1].revents) {
        errno = ENOTCONN;
        return -1;
    }
    struct seccomp_notif notice;
    memset(&notice, 0, sizeof notice);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notice)) {
        if (errno == EINTR) errno = ENOENT;
        return -1;
    }
    call->id = notice.id;
    call->task = (int32_t)notice.pid;
    call->number = notice.data.nr;
    call->instruction = notice.data.instruction_pointer;
    for (int i = 0; i < 6; i++) call->arguments[i] = notice.data.args[i];
    return 0;
}

int clistener_is_waiting(int listener, uint64_t id) { return !ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id); }

int clistener_answer(int listener, uint64_t id, int64_t value, int error) {
    struct seccomp_notif_resp answer = {.id = id, .val = error ? 0 : value, .error = -error};
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

int clistener_pass(int listener, uint64_t id) {
    struct seccomp_notif_resp answer = {.id = id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

int clistener_answer_file(int listener, uint64_t id, int file, int closes_on_exec) {
    struct seccomp_notif_addfd answer = {
        .id = id,
        .flags = SECCOMP_ADDFD_FLAG_SEND,
        .srcfd = (uint32_t)file,
        .newfd_flags = closes_on_exec ? O_CLOEXEC : 0,
    };
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &answer) < 0 ? -1 : 0;
}

int clistener_text_file(const void *bytes, size_t length) {
    int file = memfd_create("cdmfs", MFD_CLOEXEC);
    if (file < 0) return -1;
    size_t written = 0;
    while (written < length) {
        ssize_t count = write(file, (const char *)bytes + written, length - written);
        if (count <= 0) {
            close(file);
            return -1;
        }
        written += (size_t)count;
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int readable = open(path, O_RDONLY | O_CLOEXEC);
    close(file);
    return readable;
}

ssize_t clistener_peek(int32_t task, uint64_t address, void *bytes, size_t length) {
    struct iovec own = {bytes, length}, other = {(void *)(uintptr_t)address, length};
    return process_vm_readv(task, &own, 1, &other, 1, 0);
}

ssize_t clistener_poke(int listener, uint64_t id, int32_t task, uint64_t address, const void *bytes, size_t length) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", task);
    // The descriptor stays that of an address space, whichever thread has the number later.
    int memory = open(path, O_WRONLY | O_CLOEXEC);
    if (memory < 0) return -1;
    ssize_t count = -1;
    if (clistener_is_waiting(listener, id))
        count = pwrite(memory, bytes, length, (off_t)address);
    else
        errno = ESRCH;
    int error = errno;
    close(memory);
    errno = error;
    return count;
}

int clistener_may_store(int32_t task, uint64_t start, uint64_t end) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/maps", task);
    int maps = open(path, O_RDONLY | O_CLOEXEC);
    if (maps < 0) return -1;
    int error = 0;
    while (start < end && !error) {
        struct mapping_query query = {.size = sizeof query, .flags = MAPPING_QUERY_WRITABLE, .address = start};
        if (ioctl(maps, MAPPING_QUERY, &query)) error = errno;
        start = query.end;
    }
    close(maps);
    if (!error || error == ENOENT) return !error;
    errno = error;
    return -1;
}

int clistener_run_on(int listener, uint64_t id, int32_t thread, const int32_t *cpus, int32_t count) {
    cpu_set_t set[8];
    CPU_ZERO_S(sizeof set, set);
    for (int32_t i = 0; i < count; i++) CPU_SET_S((size_t)cpus[i], sizeof set, set);
    if (!clistener_is_waiting(listener, id)) {
        errno = ESRCH;
        return -1;
    }
    return sched_setaffinity(thread, sizeof set, set);
}

int clistener_take_file(int32_t process, int file) {
    // The writer may be a thread other than the first: PIDFD_THREAD of Linux 6.9, which is O_EXCL (pidfd_open(2)).
    int pidfd = (int)syscall(SYS_pidfd_open, process, O_EXCL);
    if (pidfd < 0 && errno == EINVAL) pidfd = (int)syscall(SYS_pidfd_open, process, 0);
    if (pidfd < 0) return -1;
    int taken = (int)syscall(SYS_pidfd_getfd, pidfd, file, 0);
    int error = errno;
    close(pidfd);
    errno = error;
    return taken;
}

uint64_t *clistener_share_slots(int socket) {
    int file = memfd_create("cdmfs", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file < 0) return NULL;
    uint64_t *slots = MAP_FAILED;
    // The receiver of the memory cannot shrink it.
    if (!ftruncate(file, 4096) && !fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        slots = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (slots == MAP_FAILED) {
        close(file);
        return NULL;
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int readable = open(path, O_RDONLY | O_CLOEXEC);
    close(file);
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof readable)];
    } control = {0};
    char byte = 0;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    control.header = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof readable)};
    memcpy(CMSG_DATA(&control.header), &readable, sizeof readable);
    ssize_t sent = readable < 0 ? -1 : sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    int error = errno;
    if (readable >= 0) close(readable);
    if (sent == 1) return slots;
    munmap(slots, 4096);
    errno = error;
    return NULL;
}

void clistener_unshare_slots(uint64_t *slots) { munmap(slots, 4096); }

void clistener_tell(int socket, const char *line) {
    size_t length = strlen(line);
    send(socket, line, length < CLISTENER_LINE ? length : CLISTENER_LINE, MSG_DONTWAIT | MSG_NOSIGNAL);
}
