#ifndef CDMFS_CLINUX_H
#define CDMFS_CLINUX_H

// The few Linux declarations that Swift's Glibc module leaves out.

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

// A macro around a call: glibc keeps the first real-time signals for itself.
static inline int clinux_sigrtmin(void) { return SIGRTMIN; }

// By hand: sys/xattr.h brings in fd_set, which Glibc's module has without _GNU_SOURCE and so different.
ssize_t getxattr(const char *path, const char *name, void *value, size_t size);
ssize_t listxattr(const char *path, char *list, size_t size);
int setxattr(const char *path, const char *name, const void *value, size_t size, int flags);
int removexattr(const char *path, const char *name);

// Of linux/xattr.h, whose names sys/xattr.h has as an enumeration.
#ifndef XATTR_CREATE
#define XATTR_CREATE 1
#define XATTR_REPLACE 2
#endif

// By hand for the same reason: sys/pidfd.h, and what sched.h and unistd.h keep for _GNU_SOURCE.
int pidfd_open(pid_t pid, unsigned int flags);

#endif
