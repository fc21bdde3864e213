// A process whose address space stays locked: it maps a file of a FUSE mount of its own, whose server does not answer WRITE,
// and maps something else over a dirty page of it. The kernel writes the page back with the lock held.
//
//   stuck FILE [BUFFER [close]]
//
// FILE is an empty file to mount on; no privilege is needed, for without one there is a user namespace of its own. FUSE_DEVICE in
// the environment names another device than /dev/fuse. BUFFER is mapped before, and with `close` its descriptor is closed. Prints
// `ready` once the lock is held. It is given up when the server ends, which is the other process of the session.
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static void answer(int device, uint64_t request, const void *body, size_t size) {
    char bytes[256];
    struct fuse_out_header header = {.len = sizeof header + size, .unique = request};
    memcpy(bytes, &header, sizeof header);
    memcpy(bytes + sizeof header, body, size);
    if (write(device, bytes, header.len) < 0 && errno != ENOENT)
        err(1, "answer");
}

static void refuse(int device, uint64_t request, int error) {
    struct fuse_out_header header = {.len = sizeof header, .error = -error, .unique = request};
    if (write(device, &header, sizeof header) < 0 && errno != ENOENT)
        err(1, "answer");
}

/// Serves a mount whose root is a file of one page; tells of the first WRITE, which it does not answer.
static void serve(int device, int tell) {
    static char request[1 << 18];
    const struct fuse_attr attributes = {
        .ino = 1, .size = 4096, .mode = 0100600, .nlink = 1, .uid = getuid(), .gid = getgid()};
    for (;;) {
        if (read(device, request, sizeof request) < 0) {
            if (errno == EINTR || errno == ENOENT)
                continue;
            _exit(0);
        }
        const struct fuse_in_header *header = (void *)request;
        uint64_t id = header->unique;
        if (header->opcode == FUSE_INIT) {
            struct fuse_init_out out = {
                .major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096, .max_readahead = 4096};
            answer(device, id, &out, sizeof out);
        } else if (header->opcode == FUSE_GETATTR) {
            struct fuse_attr_out out = {.attr_valid = 3600, .attr = attributes};
            answer(device, id, &out, sizeof out);
        } else if (header->opcode == FUSE_OPEN) {
            struct fuse_open_out out = {.open_flags = FOPEN_KEEP_CACHE};
            answer(device, id, &out, sizeof out);
        } else if (header->opcode == FUSE_READ) {
            char bytes[128] = {0};
            answer(device, id, bytes, sizeof bytes);
        } else if (header->opcode == FUSE_WRITE) {
            if (write(tell, "w", 1) != 1)
                _exit(1);
        } else {
            refuse(device, id, ENOSYS);
        }
    }
}

static void put(const char *file, const char *text) {
    int descriptor = open(file, O_WRONLY);
    if (descriptor < 0 || write(descriptor, text, strlen(text)) < 0)
        err(1, "%s", file);
    close(descriptor);
}

/// A mount namespace of its own; with a user namespace for who may not make one.
static void isolate(void) {
    char line[64];
    unsigned user = getuid(), group = getgid();
    if (unshare(CLONE_NEWNS) < 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
            err(1, "unshare");
        put("/proc/self/setgroups", "deny");
        snprintf(line, sizeof line, "%u %u 1", user, user);
        put("/proc/self/uid_map", line);
        snprintf(line, sizeof line, "%u %u 1", group, group);
        put("/proc/self/gid_map", line);
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        err(1, "/");
}

static char *page;

static void *lock(void *unused) {
    (void)unused;
    // Takes the place of the dirty page, which is written back first.
    mmap(page, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    return NULL;
}

int main(int count, char **arguments) {
    if (count < 2)
        errx(2, "stuck FILE [BUFFER [close]]");
    if (count > 2) {
        int buffer = open(arguments[2], O_RDWR | O_CLOEXEC);
        char *bytes = buffer < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, buffer, 0);
        // The server is to know nothing of it.
        if (bytes == MAP_FAILED || madvise(bytes, 4096, MADV_DONTFORK) < 0)
            err(1, "%s", arguments[2]);
        bytes[0] = 1;
        if (count > 3)
            close(buffer);
    }
    isolate();
    const char *node = getenv("FUSE_DEVICE");
    int device = open(node ? node : "/dev/fuse", O_RDWR | O_CLOEXEC), told[2];
    if (device < 0 || pipe(told) < 0)
        err(1, "/dev/fuse");
    char options[128];
    snprintf(
        options, sizeof options, "fd=%d,rootmode=100000,user_id=%u,group_id=%u", device, getuid(), getgid());
    if (mount("stuck", arguments[1], "fuse", MS_NOSUID | MS_NODEV, options) < 0)
        err(1, "mount %s", arguments[1]);
    pid_t server = fork();
    if (server < 0)
        err(1, "fork");
    if (server == 0) {
        // Whatever else is open here is not the server's.
        for (int descriptor = 3; descriptor < 64; descriptor++)
            if (descriptor != device && descriptor != told[1])
                close(descriptor);
        serve(device, told[1]);
    }
    // The server's end ends the connection only when nobody else has the device.
    close(device);
    // Asks for the size and the owner, whom the kernel does not know before.
    struct stat status;
    if (stat(arguments[1], &status) < 0)
        err(1, "%s", arguments[1]);
    int file = open(arguments[1], O_RDWR);
    if (file < 0)
        err(1, "%s", arguments[1]);
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (page == MAP_FAILED)
        err(1, "%s", arguments[1]);
    page[0] = 1;
    char byte;
    pthread_t thread;
    if (pthread_create(&thread, NULL, lock, NULL) != 0)
        err(1, "thread");
    if (read(told[0], &byte, 1) != 1)
        errx(1, "the server has ended");
    if (write(1, "ready\n", 6) != 6)
        err(1, "stdout");
    for (;;)
        pause();
}
