#ifndef CDMFS_CFUSE3_H
#define CDMFS_CFUSE3_H

// The low-level API of libfuse 3.12 and later, and functions for what Swift cannot import: macros and va_list.

// First, so that what libfuse's headers include from glibc stays Glibc's in Swift's eyes.
#if __has_include(<SwiftGlibc.h>)
#include <SwiftGlibc.h>
#endif

#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

// A macro around a versioned symbol from libfuse 3.17 on.
static inline struct fuse_session *cfuse3_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *ops,
                                                      void *userdata) {
    return fuse_session_new(args, ops, sizeof(*ops), userdata);
}

// A va_list parameter of a callback does not survive the way into Swift on every architecture: the line is formatted here.
typedef void (*cfuse3_log_line)(int level, const char *line);

static inline cfuse3_log_line *cfuse3_log_slot(void) {
    static cfuse3_log_line slot;
    return &slot;
}

static inline void cfuse3_log_forward(enum fuse_log_level level, const char *format, va_list arguments) {
    char line[1024];
    vsnprintf(line, sizeof(line), format, arguments);
    cfuse3_log_line handler = *cfuse3_log_slot();
    if (handler)
        handler((int)level, line);
}

static inline void cfuse3_set_log_line(cfuse3_log_line handler) {
    *cfuse3_log_slot() = handler;
    fuse_set_log_func(cfuse3_log_forward);
}

// Whether libfuse knows files that the kernel maps and reads past the daemon (3.17).
#define CFUSE3_HAS_PASSTHROUGH (FUSE_MAJOR_VERSION > 3 || (FUSE_MAJOR_VERSION == 3 && FUSE_MINOR_VERSION >= 17))

// Asks for passthrough to files that are on no stacked file system, where libfuse can.
static inline void cfuse3_want_passthrough(struct fuse_conn_info *connection) {
#if CFUSE3_HAS_PASSTHROUGH
    // As the other capabilities are asked for: libfuse takes all that are below bit 32 from one of its two fields.
    if (connection->capable & FUSE_CAP_PASSTHROUGH) {
        connection->want |= FUSE_CAP_PASSTHROUGH;
        connection->max_backing_stack_depth = 0;
    }
#else
    (void)connection;
#endif
}

// Makes an open file of the daemon one that files of the mount can be mapped from (FUSE_DEV_IOC_BACKING_OPEN). Its id, which is
// positive, or a negated errno: EPERM without CAP_SYS_ADMIN, or where passthrough was not agreed on.
static inline int cfuse3_backing_open(struct fuse_session *session, int fd) {
    struct {
        int32_t fd;
        uint32_t flags;
        uint64_t padding;
    } map = {.fd = fd};
    int id = ioctl(fuse_session_fd(session), _IOW(229, 1, map), &map);
    return id < 0 ? -errno : id;
}

// Takes an id back; the open files that have it keep what is behind it. 0, or a negated errno.
static inline int cfuse3_backing_close(struct fuse_session *session, int id) {
    uint32_t number = (uint32_t)id;
    return ioctl(fuse_session_fd(session), _IOW(229, 2, number), &number) < 0 ? -errno : 0;
}

#if !CFUSE3_HAS_PASSTHROUGH
// struct fuse_open_out, with flags for what the daemon itself serves and what goes to the backing file.
struct cfuse3_open_out {
    uint64_t handle;
    uint32_t flags;
    int32_t backing;
};

static inline struct cfuse3_open_out cfuse3_make_open_out(const struct fuse_file_info *info, int backing) {
    return (struct cfuse3_open_out){
        .handle = info->fh,
        .flags = (info->direct_io ? 1u << 0 : 0) | (info->noflush ? 1u << 5 : 0) | 1u << 7,
        .backing = backing,
    };
}

// struct fuse_entry_out of linux/fuse.h with struct fuse_attr in it.
struct cfuse3_entry_out {
    uint64_t nodeid, generation, entry_valid, attr_valid;
    uint32_t entry_valid_nsec, attr_valid_nsec;
    uint64_t ino, size, blocks, atime, mtime, ctime;
    uint32_t atimensec, mtimensec, ctimensec, mode, nlink, uid, gid, rdev, blksize, flags;
};

static inline void cfuse3_split_timeout(double timeout, uint64_t *seconds, uint32_t *nanoseconds) {
    // Beyond this libfuse, too, says for ever.
    *seconds = timeout >= 1e18 ? (uint64_t)1e18 : timeout > 0 ? (uint64_t)timeout : 0;
    *nanoseconds = timeout >= 1e9 || timeout <= 0 ? 0 : (uint32_t)((timeout - (double)*seconds) * 1e9);
}
#endif

// fuse_reply_open() for a file whose mappings go to a backing file. All opens of an inode at a time must name the same one.
static inline int cfuse3_reply_open_backed(fuse_req_t request, struct fuse_file_info *info, int backing) {
#if CFUSE3_HAS_PASSTHROUGH
    info->backing_id = backing;
    return fuse_reply_open(request, info);
#else
    struct cfuse3_open_out out = cfuse3_make_open_out(info, backing);
    return fuse_reply_buf(request, (const char *)&out, sizeof out);
#endif
}

// fuse_reply_create() for such a file.
static inline int cfuse3_reply_create_backed(fuse_req_t request, const struct fuse_entry_param *entry,
                                             struct fuse_file_info *info, int backing) {
#if CFUSE3_HAS_PASSTHROUGH
    info->backing_id = backing;
    return fuse_reply_create(request, entry, info);
#else
    struct {
        struct cfuse3_entry_out entry;
        struct cfuse3_open_out open;
    } out = {.open = cfuse3_make_open_out(info, backing)};
    const struct stat *attr = &entry->attr;
    out.entry = (struct cfuse3_entry_out){
        .nodeid = entry->ino,
        .generation = entry->generation,
        .ino = attr->st_ino,
        .size = (uint64_t)attr->st_size,
        .blocks = (uint64_t)attr->st_blocks,
        .atime = (uint64_t)attr->st_atim.tv_sec,
        .mtime = (uint64_t)attr->st_mtim.tv_sec,
        .ctime = (uint64_t)attr->st_ctim.tv_sec,
        .atimensec = (uint32_t)attr->st_atim.tv_nsec,
        .mtimensec = (uint32_t)attr->st_mtim.tv_nsec,
        .ctimensec = (uint32_t)attr->st_ctim.tv_nsec,
        .mode = attr->st_mode,
        .nlink = (uint32_t)attr->st_nlink,
        .uid = attr->st_uid,
        .gid = attr->st_gid,
        .rdev = (uint32_t)attr->st_rdev,
        .blksize = (uint32_t)attr->st_blksize,
    };
    cfuse3_split_timeout(entry->entry_timeout, &out.entry.entry_valid, &out.entry.entry_valid_nsec);
    cfuse3_split_timeout(entry->attr_timeout, &out.entry.attr_valid, &out.entry.attr_valid_nsec);
    return fuse_reply_buf(request, (const char *)&out, sizeof out);
#endif
}

// Has the kernel leave it to the file system to drop rights when a file is written (FUSE_HANDLE_KILLPRIV_V2, Linux 5.11),
// which libfuse up to 3.16 cannot ask for: otherwise it asks for the attribute security.capability before each write(2).
// INIT is the first request of a connection, with the number 2, and its answer a header and struct fuse_init_out: major,
// minor, max_readahead, flags, …; at 32 flags2 and max_stack_depth. A kernel that does not know a flag looks past it.
//
// And asks for FUSE_DIRECT_IO_ALLOW_MMAP (Linux 6.6) and FUSE_PASSTHROUGH (Linux 6.9), which libfuse can from 3.17 on: bits 4
// and 5 of flags2, which FUSE_INIT_EXT makes valid.
static inline ssize_t cfuse3_writev(int fd, struct iovec *iov, int count, void *userdata) {
    (void)userdata;
    struct {
        uint32_t length;
        int32_t error;
        uint64_t unique;
    } header;
    uint32_t flags, flags2[2];
    if (count == 2 && iov[0].iov_len == sizeof header && iov[1].iov_len >= 24) {
        memcpy(&header, iov[0].iov_base, sizeof header);
        if (header.unique == 2 && header.error == 0) {
            memcpy(&flags, (char *)iov[1].iov_base + 12, sizeof flags);
            flags |= 1u << 28;
            if (iov[1].iov_len >= 40) {
                memcpy(flags2, (char *)iov[1].iov_base + 32, sizeof flags2);
                if (!(flags & 1u << 30))
                    flags2[0] = 0;
                flags |= 1u << 30;
                flags2[0] |= 1u << 4;
                if (!CFUSE3_HAS_PASSTHROUGH) {
                    flags2[0] |= 1u << 5;
                    flags2[1] = 1;
                }
                memcpy((char *)iov[1].iov_base + 32, flags2, sizeof flags2);
            }
            memcpy((char *)iov[1].iov_base + 12, &flags, sizeof flags);
        }
    }
    return writev(fd, iov, count);
}

static inline ssize_t cfuse3_read(int fd, void *bytes, size_t size, void *userdata) {
    (void)userdata;
    return read(fd, bytes, size);
}

// Puts the two above between libfuse and a connection that is mounted. 0, or a negated errno.
static inline int cfuse3_session_complete_init(struct fuse_session *session) {
    const struct fuse_custom_io io = {.writev = cfuse3_writev, .read = cfuse3_read};
    return fuse_session_custom_io(session, &io, fuse_session_fd(session));
}

#endif
