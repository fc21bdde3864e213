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
#include <stdint.h>
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

// The name of an error number, NULL for one that has none. By hand: Glibc's module has string.h without _GNU_SOURCE.
const char *clinux_errno_name(int error);

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
int pidfd_send_signal(int pidfd, int signal, void *info, unsigned int flags);
int unshare(int flags);
int close_range(unsigned int first, unsigned int last, int flags);
int sync_file_range(int fd, off_t offset, off_t length, unsigned int flags);

// Of unistd.h, fcntl.h and sched.h.
enum {
    CLINUX_CLOSE_RANGE_UNSHARE = 1 << 1,
    CLINUX_SYNC_FILE_RANGE_WRITE = 2,
    CLINUX_SYNC_FILE_RANGE_ALL = 7,
    CLINUX_CLONE_FS = 0x200,
};

/// Opens an inode of a FUSE mount without its name (open_by_handle_at(2), whose structure Swift cannot make); `directory` is a
/// directory of the mount, or AT_FDCWD. A descriptor, or -1 and errno: ESTALE where the kernel does not know the inode.
int clinux_open_fuse_inode(int directory, uint64_t inode, uint32_t generation, int flags);

/// The device that a path is on, without asking its file system. 0, or -1 and errno.
int clinux_cached_device(const char *path, uint32_t *major, uint32_t *minor);

#endif
