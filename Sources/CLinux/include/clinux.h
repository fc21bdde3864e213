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

// memcpy(3) past the caches, for what is too much for them: glibc does so for one large copy, never for its parts.
void clinux_copy_streaming(void *target, const void *source, size_t length);

// Loads a byte of each of some pages.
static inline void clinux_load_pages(const void *start, uint64_t pages) {
    const volatile char *page = start;
    for (uint64_t i = 0; i < pages; i++)
        (void)page[i * 4096];
}

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
    CLINUX_CLONE_THREAD = 0x10000,
};

/// Opens an inode of a FUSE mount without its name (open_by_handle_at(2), whose structure Swift cannot make); `directory` is a
/// directory of the mount, or AT_FDCWD. A descriptor, or -1 and errno: ESTALE where the kernel does not know the inode.
int clinux_open_fuse_inode(int directory, uint64_t inode, uint32_t generation, int flags);

/// The CPU that the calling thread runs on.
int clinux_cpu(void);

/// The CPUs that the calling thread may run on, at most `capacity` of them, ascending. How many, or -1 and errno.
int clinux_allowed_cpus(int *cpus, int capacity);

/// Keeps the calling thread on one CPU. 0, or -1 and errno.
int clinux_stay_on_cpu(int cpu);

/// The same for another thread, by its id.
int clinux_put_on_cpu(int thread, int cpu);

/// Lets the calling thread run wherever the process's first thread may. 0, or -1 and errno.
int clinux_leave_cpu(void);

/// Once in a thread: lets it run wherever the process's first thread may, and in the same class. For threads of a pool that
/// inherit what the thread has that happened to start them.
void clinux_be_like_first(void);

/// Makes the calling thread one of SCHED_IDLE, or of SCHED_OTHER again. 0, or -1 and errno.
int clinux_set_idle(int is_idle);

/// Whether a thread like the calling one is of SCHED_OTHER and, once it is of SCHED_IDLE, may be that again. 1 or 0.
int clinux_may_be_idle(void);

/// A run of pages that PAGEMAP_SCAN reports (struct page_region of linux/fs.h, since Linux 6.7).
struct clinux_page_region {
    uint64_t start;
    uint64_t end;
    uint64_t categories;
};

// Of linux/fs.h since 6.7: PAGE_IS_PFNZERO and PAGE_IS_HUGE.
enum {
    CLINUX_PAGE_IS_ZERO = 1 << 5,
    CLINUX_PAGE_IS_HUGE = 1 << 6,
};

/// The pages from `start` to `end` that are of any of `categories`, from /proc/PID/pagemap. How many runs were found, and in
/// `walked` up to where; or -1 and errno: ENOTTY where the kernel has no such ioctl.
int clinux_scan_pages(
    int pagemap, uint64_t start, uint64_t end, uint64_t categories, struct clinux_page_region *runs, uint64_t count,
    uint64_t *walked);

/// process_madvise(2) for one range. 0, or -1 and errno.
int clinux_advise(int pidfd, uint64_t start, uint64_t length, int advice);

/// Has the kernel sort the pages that were allocated last into its lists, on every CPU: until then they cannot be advised.
void clinux_drain_new_pages(void);

// Of linux/mman.h.
enum { CLINUX_MADV_COLD = 20 };

/// Has a page of a process mapped, as a load by that would, and the bytes forgotten; an end by SIGKILL need not wait for it.
void clinux_touch_page(pid_t process, uint64_t address);

/// Gives pages of the heap that nothing is on back to the host (malloc_trim(3)).
void clinux_trim_heap(void);

/// The nodes of the host that this process may have memory of, a bit each. 0, or -1 and errno: ENOSYS where it knows of none.
int clinux_allowed_nodes(unsigned long *mask, unsigned long bits);

/// Has pages of a range of a file's mapping that are made from now on taken from a node of the host, as far as that has any
/// (mbind(2)); the file keeps that. -1 for any node. 0, or -1 and errno.
int clinux_prefer_node(void *start, size_t length, int node);

/// Moves pages that this process maps to a node of the host, even if others map them, too. 0, or -1 and errno.
///
/// - `moved`, `failed`: get added how many were elsewhere and are there now, or are not.
int clinux_move_to_node(void *start, size_t pages, int node, uint64_t *moved, uint64_t *failed);

/// Gives up every capability that has no bit in `kept`, for good (the bounding set, too, as far as CAP_SETPCAP allows it), and
/// the inheritable and ambient ones. Of the calling thread, and those that it starts. 0, or -1 and errno.
int clinux_keep_capabilities(uint64_t kept);

/// PR_SET_DUMPABLE and PR_SET_NO_NEW_PRIVS of prctl(2), which Swift cannot call. 0, or -1 and errno.
int clinux_set_dumpable(int is_dumpable);
int clinux_set_no_new_privs(void);

/// Overwrites the environment, which /proc/PID/environ shows, and empties it. Before there is another thread.
void clinux_clear_environment(void);

/// Sends a datagram to a Unix socket; a name that begins with `@` is an abstract one. 0, or -1 and errno.
int clinux_send_datagram(const char *socket, const char *text);

/// The device that a path is on, and its inode there, without asking its file system. 0, or -1 and errno.
int clinux_cached_inode(const char *path, uint32_t *major, uint32_t *minor, uint64_t *inode);

/// The number that the caller has for a task of a PID namespace; or -1 and errno: ESRCH for none, ENOTTY before Linux 6.11.
int clinux_pid_from_namespace(int pid_namespace, int task);

/// The number of a task in a PID namespace, by the caller's; or -1 and errno as above.
int clinux_pid_in_namespace(int pid_namespace, int task);

/// A descriptor of the PID namespace so many levels above one; or -1 and errno.
int clinux_ancestor_namespace(int pid_namespace, int levels);

/// Whether two descriptors are of one file: 1 or 0; or -1 and errno.
int clinux_is_same_file(int first, int second);

/// Has the calling process get a signal when the one that started it ends (PR_SET_PDEATHSIG).
static inline int clinux_signal_with_parent(int signal) { return prctl(PR_SET_PDEATHSIG, signal); }

/// Sends bytes and an open file over a Unix socket (SCM_RIGHTS, whose macros Swift cannot import). 0, or -1 and errno.
int clinux_send_file(int socket, int file, const void *bytes, size_t length);

/// Receives what clinux_send_file() sends; `*file` is -1 where no file came, and is closed on exec. How many bytes came, 0 where the
/// other end is closed, or -1 and errno.
ssize_t clinux_receive_file(int socket, int *file, void *bytes, size_t length);

/// The cells of a terminal that a character takes, by glibc's tables for UTF-8 (wcwidth(3)); -1 for one that has none.
int clinux_character_width(uint32_t character);

/// Has a terminal send each key at once and without echo, and writes `enter` to it, until clinux_leave_terminal(), which writes
/// `leave` and undoes it. A signal by which a program crashes does so, too, and then ends the process as it would have. Of one
/// terminal at a time; the texts must last. 0, or -1 and errno.
int clinux_enter_terminal(int terminal, const char *enter, const char *leave);
void clinux_leave_terminal(void);

#endif
