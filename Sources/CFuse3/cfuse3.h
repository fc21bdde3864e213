#ifndef CDMFS_CFUSE3_H
#define CDMFS_CFUSE3_H

// The low-level API of libfuse 3.12 and later, and functions for what Swift cannot import: macros and va_list.

// First, so that what libfuse's headers include from glibc stays Glibc's in Swift's eyes.
#if __has_include(<SwiftGlibc.h>)
#include <SwiftGlibc.h>
#endif

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>
#include <stdio.h>
#include <string.h>
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

// Has the kernel leave it to the file system to drop rights when a file is written (FUSE_HANDLE_KILLPRIV_V2, Linux 5.11),
// which libfuse up to 3.16 cannot ask for: otherwise it asks for the attribute security.capability before each write(2).
// INIT is the first request of a connection, with the number 2, and its answer a header and struct fuse_init_out: major,
// minor, max_readahead, flags. A kernel that does not know the flag looks past it.
static inline ssize_t cfuse3_writev(int fd, struct iovec *iov, int count, void *userdata) {
    (void)userdata;
    struct {
        uint32_t length;
        int32_t error;
        uint64_t unique;
    } header;
    uint32_t flags;
    if (count == 2 && iov[0].iov_len == sizeof header && iov[1].iov_len >= 24) {
        memcpy(&header, iov[0].iov_base, sizeof header);
        if (header.unique == 2 && header.error == 0) {
            memcpy(&flags, (char *)iov[1].iov_base + 12, sizeof flags);
            flags |= 1u << 28;
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
