// plainmover MOUNTPOINT BYTES: the peer that moving mapped, dirty memory is measured against. It keeps one file, `data`, in
// one of two memory files. Each line on stdin moves it to the other: sync_file_range(2), the invalidation, one memcpy, one
// hole where it was; the seconds that took are a line on stdout.

#define _GNU_SOURCE
#define FUSE_USE_VERSION 312
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { root = FUSE_ROOT_ID, data_inode = 2 };

static const double forever = 86400;

static int memory[2];
static char *bytes[2];
static int current;
static size_t data_size;
// Guards `current` and what the current memory holds.
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static struct fuse_session *session;
static const char *mount_point;

static int fill_stat(fuse_ino_t inode, struct stat *status) {
    memset(status, 0, sizeof *status);
    status->st_ino = inode;
    status->st_nlink = 1;
    status->st_mode = inode == root ? S_IFDIR | 0755 : S_IFREG | 0644;
    status->st_size = inode == data_inode ? (off_t)data_size : 4096;
    return inode == root || inode == data_inode;
}

static void lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
    struct fuse_entry_param entry = {.attr_timeout = forever, .entry_timeout = forever};
    if (parent == root && strcmp(name, "data") == 0)
        entry.ino = data_inode;
    if (fill_stat(entry.ino, &entry.attr))
        fuse_reply_entry(request, &entry);
    else
        fuse_reply_err(request, ENOENT);
}

static void getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info) {
    (void)info;
    struct stat status;
    if (fill_stat(inode, &status))
        fuse_reply_attr(request, &status, forever);
    else
        fuse_reply_err(request, ENOENT);
}

static void open_file(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info) {
    (void)inode;
    info->keep_cache = 1;
    info->noflush = 1;
    fuse_reply_open(request, info);
}

static void read_file(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *info) {
    (void)inode, (void)info;
    if ((size_t)offset >= data_size)
        size = 0;
    else if (size > data_size - (size_t)offset)
        size = data_size - (size_t)offset;
    pthread_rwlock_rdlock(&lock);
    fuse_reply_buf(request, bytes[current] + offset, size);
    pthread_rwlock_unlock(&lock);
}

static void write_file(
    fuse_req_t request, fuse_ino_t inode, const char *source, size_t size, off_t offset, struct fuse_file_info *info) {
    (void)inode, (void)info;
    if ((size_t)offset > data_size || size > data_size - (size_t)offset) {
        fuse_reply_err(request, ENOSPC);
        return;
    }
    pthread_rwlock_rdlock(&lock);
    memcpy(bytes[current] + offset, source, size);
    pthread_rwlock_unlock(&lock);
    fuse_reply_write(request, size);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = lookup, .getattr = getattr, .open = open_file, .read = read_file, .write = write_file};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void move(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s/data", mount_point);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || sync_file_range(
                        file, 0, (off_t)data_size,
                        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) != 0)
        perror("plainmover");
    close(file);
    fuse_lowlevel_notify_inval_inode(session, data_inode, 0, (off_t)data_size);
    pthread_rwlock_wrlock(&lock);
    memcpy(bytes[!current], bytes[current], data_size);
    fallocate(memory[current], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)data_size);
    current = !current;
    pthread_rwlock_unlock(&lock);
}

static void *obey(void *nothing) {
    char line[16];
    while (fgets(line, sizeof line, stdin)) {
        double start = now();
        move();
        printf("%.6f\n", now() - start);
        fflush(stdout);
    }
    return nothing;
}

int main(int count, char **words) {
    if (count != 3 || (data_size = strtoull(words[2], NULL, 10)) == 0) {
        fprintf(stderr, "usage: plainmover MOUNTPOINT BYTES\n");
        return 64;
    }
    mount_point = words[1];
    for (int i = 0; i < 2; i++) {
        memory[i] = memfd_create("plainmover", MFD_CLOEXEC);
        if (memory[i] < 0 || ftruncate(memory[i], (off_t)data_size) != 0)
            return 71;
        bytes[i] = mmap(NULL, data_size, PROT_READ | PROT_WRITE, MAP_SHARED, memory[i], 0);
        if (bytes[i] == MAP_FAILED)
            return 71;
    }

    char *options[] = {words[0], "-o", "fsname=plainmover,subtype=plainmover,default_permissions"};
    struct fuse_args arguments = FUSE_ARGS_INIT(3, options);
    session = fuse_session_new(&arguments, &operations, sizeof operations, NULL);
    if (!session || fuse_session_mount(session, mount_point) != 0)
        return 71;
    pthread_t thread;
    if (pthread_create(&thread, NULL, obey, NULL) != 0)
        return 71;
    puts("mounted");
    fflush(stdout);
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    fuse_session_loop_mt(session, config);
    fuse_session_unmount(session);
    return 0;
}
