// calls MOUNT FORMATS COUNT SEED [ns]: COUNT random hostile calls on the mount, below whose buffers/hostile this user may do as it
// likes: any call, any file, offsets and lengths near the edges of their types, and texts mutated from those that stand in backticks
// in the file FORMATS. With `ns` as root of a user namespace of its own. Prints calls=N succeeded=N, or `no namespaces`.
#include "client.h"
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>

enum { PATHS = 4096, FORMATS = 512, FILES = 48 };

static char *paths[PATHS], *formats[FORMATS], own[1024], bytes[1 << 17];
static int path_count, format_count, fds[FILES];
static uint64_t seed;
static const char *mount_point;

static uint64_t choose(uint64_t limit) { return next_random(&seed) % limit; }

// Any number, mostly one near an edge.
static uint64_t edge(void) {
    if (choose(4) == 0) return choose(1 << 20);
    return (choose(2) ? ~0UL >> choose(64) : 1UL << choose(64)) + choose(5) - 2;
}

static int note(const char *path, const struct stat *status, int type, struct FTW *place) {
    (void)place;
    (void)status;
    (void)type;
    if (path_count < PATHS && choose(4) == 0) paths[path_count++] = strdup(path);
    return 0;
}

static void read_formats(const char *path) {
    static char text[4 << 20];
    int fd = open_file(path, O_RDONLY);
    ssize_t count = 0, got;
    while ((got = read(fd, text + count, sizeof text - 1 - (size_t)count)) > 0) count += got;
    close(fd);
    int place = 0;
    for (char *part = strtok(text, "`"); part && format_count < FORMATS; part = strtok(NULL, "`"))
        if (place++ % 2 && strlen(part) < 200 && choose(3) == 0) formats[format_count++] = part;
    if (!format_count) fail("%s has no formats", path);
}

// A text that is nearly one that some file takes. Its capitals stand for numbers and names.
static char *text(void) {
    static char made[8192];
    static const char *words[] = {"0", "1", "a", "bind:1", "all", "-1", "4096", "18446744073709551615", "0x", "\n", " ",
                                  "9223372036854775807", "%s", "\xff", "async", "0-1023", ":", ",", "/..", "dev/cdm0"};
    const char *from = formats[choose((uint64_t)format_count)];
    size_t length = 0;
    while (*from && length < 4000) {
        if ((*from >= 'A' && *from <= 'Z') || choose(24) == 0) {
            while (*from >= 'A' && *from <= 'Z') from++;
            if (choose(3))
                length += (size_t)sprintf(made + length, "%s", words[choose(sizeof words / sizeof *words)]);
            else
                length += (size_t)sprintf(made + length, choose(2) ? "%lu" : "0x%lx", (unsigned long)edge());
        }
        if (*from) made[length++] = *from++;
    }
    made[length] = 0;
    return made;
}

// A file or directory of its own, of those few that there may be.
static char *mine(void) {
    static char names[4][1300];
    static int turn;
    char *name = names[turn++ % 4];
    if (choose(16) == 0) {
        int length = snprintf(name, 1024, "%s/", own), more = (int)choose(256) + 1;
        for (int i = 0; i < more; i++) name[length + i] = (char)(1 + choose(255));
        name[length + more] = 0;
    } else {
        snprintf(name, 1300, "%s/%lu%s", own, (unsigned long)choose(6), choose(4) ? "" : "/x");
    }
    return name;
}

static char *any(void) { return choose(3) ? mine() : paths[choose((uint64_t)path_count)]; }

static const char *attribute(void) {
    static const char *names[] = {"user.cdm.policy", "user.cdm.migrate", "user.cdm.pinned", "user.cdm.huge",
                                  "user.cdm.contiguous", "user.cdm.mapping", "user.cdm.pages", "user.cdm.placement",
                                  "user.cdm.", "user.x", "security.capability", "trusted.x", "system.posix_acl_access"};
    return names[choose(sizeof names / sizeof *names)];
}

static int file(void) { return fds[choose(FILES)]; }

static sigjmp_buf back;

static void bus(int signal) {
    (void)signal;
    siglongjmp(back, 1);
}

static long map(void) {
    size_t length = (size_t)(choose(64) + 1) * PAGE;
    int shared = choose(2) ? MAP_SHARED : MAP_PRIVATE, protection = (int)choose(4);
    volatile char *memory = mmap(NULL, length, protection, shared, file(), (off_t)(edge() & ~(PAGE - 1)));
    if (memory == MAP_FAILED) return -1;
    if (sigsetjmp(back, 1) == 0) {
        if (protection & PROT_READ) (void)memory[choose(length)];
        if (protection & PROT_WRITE && shared == MAP_PRIVATE) memory[choose(length)] = 1;
        madvise((void *)memory, length, (int)choose(26));
        msync((void *)memory, length, (int)choose(8));
    }
    return munmap((void *)memory, length);
}

static long open_another(void) {
    int *slot = &fds[choose(FILES)];
    int flags = (int)choose(3) | O_NONBLOCK | O_CLOEXEC | (choose(2) ? O_CREAT : 0) | (choose(4) ? 0 : O_TRUNC);
    if (choose(16) == 0) flags |= O_DIRECT | O_PATH;
    int fd = open(any(), flags, 0600);
    if (fd < 0) return -1;
    if (*slot >= 0) close(*slot);
    return *slot = fd;
}

static long control(void) {
    uint64_t command[8] = {edge(), edge(), edge(), edge(), edge(), edge(), edge(), edge()};
    return ioctl(file(), choose(2) ? _IOWR('H', choose(12), uint64_t[5]) : edge(), choose(4) ? (void *)command : NULL);
}

static long names(void) {
    struct timespec times[2] = {{(time_t)edge(), (long)choose(2000000000)}, {(time_t)edge(), UTIME_NOW}};
    switch (choose(12)) {
    case 0: return mkdir(mine(), (mode_t)choose(07777));
    case 1: return rmdir(mine());
    case 2: return unlink(mine());
    case 3: return syscall(SYS_renameat2, AT_FDCWD, mine(), AT_FDCWD, mine(), (unsigned)choose(8));
    case 4: return link(mine(), mine());
    case 5: return symlink(text(), mine());
    case 6: return mknod(mine(), (mode_t)edge(), 0);
    case 7: return chmod(any(), (mode_t)(choose(07777) | (choose(2) ? 0700 : 0)));
    case 8: return chown(any(), (uid_t)edge(), (gid_t)edge());
    case 9: return utimensat(AT_FDCWD, any(), times, 0);
    case 10: return truncate(any(), (off_t)edge());
    default: return access(any(), (int)choose(8));
    }
}

static long attributes(void) {
    char *value = text();
    size_t size = choose(8) ? strlen(value) : (size_t)(edge() & 0x1ffff);
    switch (choose(4)) {
    case 0:
    case 1: return setxattr(any(), attribute(), size > 8000 ? bytes : value, size, (int)choose(4));
    case 2: return getxattr(any(), attribute(), bytes, choose(2) ? sizeof bytes : (size_t)choose(64));
    default: return choose(2) ? removexattr(any(), attribute()) : listxattr(any(), bytes, choose(2) ? sizeof bytes : 1);
    }
}

static long transfer(void) {
    size_t length = choose(8) ? (size_t)choose(sizeof bytes) : (size_t)edge();
    off_t offset = (off_t)edge();
    char *value = text();
    switch (choose(9)) {
    case 0: return pread(file(), bytes, length > sizeof bytes ? sizeof bytes : length, offset);
    case 1: return pwrite(file(), bytes, length > sizeof bytes ? sizeof bytes : length, offset);
    case 2: return pread(file(), (void *)8, length, offset);
    case 3:
    case 4: return write(file(), value, strlen(value));
    case 5: return sendfile(file(), file(), choose(2) ? &offset : NULL, length & 0xfffff);
    case 6: return syscall(SYS_copy_file_range, file(), choose(2) ? &offset : NULL, file(), NULL, length & 0xfffff, 0);
    case 7: return syscall(SYS_getdents64, file(), bytes, length > sizeof bytes ? sizeof bytes : length);
    default: return read(file(), bytes, length > sizeof bytes ? sizeof bytes : length);
    }
}

static long sizes(void) {
    struct pollfd poll_one = {file(), (short)edge(), 0};
    struct statvfs status;
    switch (choose(7)) {
    case 0: return ftruncate(file(), (off_t)edge());
    // To give a page to every one of 2^40 takes as long as there are pages.
    case 1: return fallocate(file(), (int)choose(8) & ~1, (off_t)edge(), (off_t)choose(1 << 22));
    case 2: return fallocate(file(), (int)choose(128) | 1, (off_t)edge(), (off_t)edge());
    case 3: return lseek(file(), (off_t)edge(), (int)choose(6));
    case 4: return poll(&poll_one, 1, 0);
    case 5: return statvfs(any(), &status);
    default: return choose(2) ? fsync(file()) : readlink(any(), bytes, sizeof bytes) >= 0;
    }
}

static long call(void) {
    switch (choose(12)) {
    case 0:
    case 1:
    case 2: return open_another();
    case 3:
    case 4: return transfer();
    case 5:
    case 6: return attributes();
    case 7:
    case 8: return names();
    case 9: return control();
    case 10: return map();
    default: return sizes();
    }
}

static void enter_namespace(void) {
    unsigned uid = getuid(), gid = getgid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS)) {
        puts("no namespaces");
        exit(0);
    }
    dprintf(open("/proc/self/setgroups", O_WRONLY), "deny");
    dprintf(open("/proc/self/uid_map", O_WRONLY), "0 %u 1", uid);
    dprintf(open("/proc/self/gid_map", O_WRONLY), "0 %u 1", gid);
    if (getuid() != 0) fail("not root of the namespace");
}

int main(int argc, char **argv) {
    if (argc < 5) fail("usage: calls MOUNT FORMATS COUNT SEED [ns]");
    mount_point = argv[1];
    seed = number(argv[4]) << 40;
    read_formats(argv[2]);
    if (argc > 5) enter_namespace();
    signal(SIGBUS, bus);
    signal(SIGSEGV, bus);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    umask(0);
    snprintf(own, sizeof own, "%s/buffers/hostile/%lu", mount_point, (unsigned long)number(argv[4]));
    if (mkdir(own, 0700)) fail("%s", own);
    nftw(mount_point, note, 32, FTW_PHYS);
    if (!path_count) fail("%s is empty", mount_point);
    for (int i = 0; i < FILES; i++) fds[i] = open(mine(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    uint64_t count = number(argv[3]), succeeded = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (sigsetjmp(back, 1)) continue;
        if (call() >= 0) succeeded++;
    }
    printf("calls=%lu succeeded=%lu\n", (unsigned long)count, (unsigned long)succeeded);
    return 0;
}
