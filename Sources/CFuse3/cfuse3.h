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

#endif
