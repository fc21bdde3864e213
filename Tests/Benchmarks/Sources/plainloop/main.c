// plainloop MOUNTPOINT BYTES: the peer that requests are measured against, which is libfuse's low-level API and nothing
// else: one thread, one answer a request, no lock, no allocation.
//
//   data        BYTES of memory, each 0x5a, read through the page cache or with O_DIRECT
//   attribute   4096 bytes by stat(2), direct_io; reads give what was written last

#define FUSE_USE_VERSION 312
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { root = FUSE_ROOT_ID, data_inode = 2, attribute_inode = 3 };

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
    status->st_size = inode == data_inode ? (off_t)data_size : 4096;
    return inode >= root && inode <= attribute_inode;
}

static void lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
    struct fuse_entry_param entry = {.attr_timeout = forever, .entry_timeout = forever};
    if (parent == root && strcmp(name, "data") == 0)
        entry.ino = data_inode;
    else if (parent == root && strcmp(name, "attribute") == 0)
        entry.ino = attribute_inode;
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
    info->direct_io = inode == attribute_inode;
    info->keep_cache = inode == data_inode;
    fuse_reply_open(request, info);
}

static void read_file(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *info) {
    (void)info;
    const char *bytes = inode == data_inode ? data : text;
    size_t end = inode == data_inode ? data_size : text_size;
    if ((size_t)offset >= end)
        size = 0;
    else if (size > end - (size_t)offset)
        size = end - (size_t)offset;
    fuse_reply_buf(request, size ? bytes + offset : NULL, size);
}

static void write_file(
    fuse_req_t request, fuse_ino_t inode, const char *bytes, size_t size, off_t offset, struct fuse_file_info *info) {
    (void)info;
    if (inode != attribute_inode || offset != 0 || size > sizeof text) {
        fuse_reply_err(request, EINVAL);
        return;
    }
    memcpy(text, bytes, size);
    text_size = size;
    fuse_reply_write(request, size);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = lookup, .getattr = getattr, .open = open_file, .read = read_file, .write = write_file};

int main(int count, char **words) {
    if (count != 3 || (data_size = strtoull(words[2], NULL, 10)) == 0) {
        fprintf(stderr, "usage: plainloop MOUNTPOINT BYTES\n");
        return 64;
    }
    data = malloc(data_size);
    if (!data) {
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
    fuse_session_unmount(session);
    fuse_session_destroy(session);
    fuse_opt_free_args(&arguments);
    free(data);
    return 0;
}
