// plainloop MOUNTPOINT BYTES [threads]: the peer that requests are measured against, which is libfuse's low-level API and
// nothing else: one thread, or libfuse's own multi-threaded loop; one answer a request, no lock, no allocation.
//
//   data        BYTES of memory, each 0x5a, read through the page cache or with O_DIRECT
//   attribute   4096 bytes by stat(2), direct_io; reads give what was written last
//   scratch     memory of up to BYTES that reads as zeros until it is written: made, sized and removed by who touches it

#define FUSE_USE_VERSION 312
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { root = FUSE_ROOT_ID, data_inode = 2, attribute_inode = 3 };

// Every scratch file gets a number of its own, so that the kernel keeps no page of the one before; 0 while there is none.
static fuse_ino_t scratch_inode, last_inode = attribute_inode;
static char *scratch;
static size_t scratch_size;

static const double forever = 86400;

static char *data;
static size_t data_size;
static char text[4096] = "default\n";
static size_t text_size = 8;

static int fill_stat(fuse_ino_t inode, struct stat *status) {
    memset(status, 0, sizeof *status);
    status->st_ino = inode;
    status->st_nlink = 1;
    status->st_mode = inode == root ? S_IFDIR | 0755 : S_IFREG | 0644;
    status->st_size = 4096;
    if (inode == data_inode)
        status->st_size = (off_t)data_size;
    else if (inode > attribute_inode)
        status->st_size = (off_t)scratch_size;
    return (inode >= root && inode <= attribute_inode) || (inode && inode == scratch_inode);
}

static void lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
    struct fuse_entry_param entry = {.attr_timeout = forever, .entry_timeout = forever};
    if (parent == root && strcmp(name, "data") == 0)
        entry.ino = data_inode;
    else if (parent == root && strcmp(name, "attribute") == 0)
        entry.ino = attribute_inode;
    else if (parent == root && strcmp(name, "scratch") == 0)
        entry.ino = scratch_inode;
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

static void create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info) {
    (void)mode;
    struct fuse_entry_param entry = {.attr_timeout = forever, .entry_timeout = forever};
    if (parent != root || scratch_inode || strcmp(name, "scratch") != 0) {
        fuse_reply_err(request, scratch_inode ? EEXIST : EPERM);
        return;
    }
    scratch_inode = entry.ino = ++last_inode;
    scratch_size = 0;
    fill_stat(entry.ino, &entry.attr);
    fuse_reply_create(request, &entry, info);
}

static void unlink_file(fuse_req_t request, fuse_ino_t parent, const char *name) {
    int is_scratch = parent == root && scratch_inode && strcmp(name, "scratch") == 0;
    if (is_scratch) {
        madvise(scratch, data_size, MADV_DONTNEED);
        scratch_inode = 0;
    }
    fuse_reply_err(request, is_scratch ? 0 : ENOENT);
}

static void setattr(
    fuse_req_t request, fuse_ino_t inode, struct stat *wanted, int which, struct fuse_file_info *info) {
    if (inode == scratch_inode && which & FUSE_SET_ATTR_SIZE && (size_t)wanted->st_size <= data_size)
        scratch_size = (size_t)wanted->st_size;
    getattr(request, inode, info);
}

static void open_file(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info) {
    info->direct_io = inode == attribute_inode;
    info->keep_cache = inode != attribute_inode;
    fuse_reply_open(request, info);
}

static void read_file(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *info) {
    (void)info;
    const char *bytes = inode == data_inode ? data : inode == attribute_inode ? text : scratch;
    size_t end = inode == data_inode ? data_size : inode == attribute_inode ? text_size : scratch_size;
    if ((size_t)offset >= end)
        size = 0;
    else if (size > end - (size_t)offset)
        size = end - (size_t)offset;
    fuse_reply_buf(request, size ? bytes + offset : NULL, size);
}

static void write_file(
    fuse_req_t request, fuse_ino_t inode, const char *bytes, size_t size, off_t offset, struct fuse_file_info *info) {
    (void)info;
    if (inode > attribute_inode && (size_t)offset <= data_size && size <= data_size - (size_t)offset) {
        if (inode == scratch_inode)
            memcpy(scratch + offset, bytes, size);
        fuse_reply_write(request, size);
        return;
    }
    if (inode != attribute_inode || offset != 0 || size > sizeof text) {
        fuse_reply_err(request, EINVAL);
        return;
    }
    memcpy(text, bytes, size);
    text_size = size;
    fuse_reply_write(request, size);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = lookup, .getattr = getattr, .setattr = setattr, .create = create, .unlink = unlink_file,
    .open = open_file, .read = read_file, .write = write_file};

static void loop(struct fuse_session *session) {
    struct fuse_buf buffer = {0};
    while (!fuse_session_exited(session)) {
        int got = fuse_session_receive_buf(session, &buffer);
        if (got == -EINTR)
            continue;
        if (got <= 0)
            break;
        fuse_session_process_buf(session, &buffer);
    }
    free(buffer.mem);
}

static void loop_with_threads(struct fuse_session *session) {
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
}

int main(int count, char **words) {
    int is_asked_well = count == 3 || (count == 4 && strcmp(words[3], "threads") == 0);
    if (!is_asked_well || (data_size = strtoull(words[2], NULL, 10)) == 0) {
        fprintf(stderr, "usage: plainloop MOUNTPOINT BYTES [threads]\n");
        return 64;
    }
    data = malloc(data_size);
    scratch = mmap(NULL, data_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!data || scratch == MAP_FAILED) {
        fprintf(stderr, "plainloop: no memory\n");
        return 71;
    }
    memset(data, 0x5a, data_size);

    char *options[] = {words[0], "-o", "fsname=plainloop,subtype=plainloop,default_permissions"};
    struct fuse_args arguments = FUSE_ARGS_INIT(3, options);
    struct fuse_session *session = fuse_session_new(&arguments, &operations, sizeof operations, NULL);
    if (!session || fuse_session_mount(session, words[1]) != 0)
        return 71;
    // What is done in the mount from now on waits for the loop.
    puts("mounted");
    fclose(stdout);

    if (count == 4)
        loop_with_threads(session);
    else
        loop(session);
    fuse_session_unmount(session);
    fuse_session_destroy(session);
    fuse_opt_free_args(&arguments);
    free(data);
    return 0;
}
