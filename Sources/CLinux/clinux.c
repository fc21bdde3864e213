#include "clinux.h"

#include <errno.h>
#include <locale.h>
#include <stddef.h>
#include <linux/capability.h>
#include <linux/ioctl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif
#include <sys/ioctl.h>
#include <termios.h>
#include <wchar.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

int clinux_open_fuse_inode(int directory, uint64_t inode, uint32_t generation, int flags) {
    // FILEID_INO64_GEN of linux/exportfs.h, as fuse_encode_fh() fills it.
    enum { inode_and_generation = 0x81, words = 3 };
    union {
        struct file_handle handle;
        unsigned char room[sizeof(struct file_handle) + words * sizeof(uint32_t)];
    } name;
    uint32_t number[words] = {(uint32_t)(inode >> 32), (uint32_t)inode, generation};
    name.handle.handle_bytes = sizeof number;
    name.handle.handle_type = inode_and_generation;
    memcpy(name.handle.f_handle, number, sizeof number);
    return open_by_handle_at(directory, &name.handle, flags);
}

int clinux_scan_pages(
    int pagemap, uint64_t start, uint64_t end, uint64_t categories, struct clinux_page_region *runs, uint64_t count,
    uint64_t *walked) {
    // struct pm_scan_arg of linux/fs.h, which older headers do not have.
    struct {
        uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
        uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
    } scan = {
        .size = sizeof scan,
        .start = start,
        .end = end,
        .vec = (uint64_t)runs,
        .vec_len = count,
        .category_anyof_mask = categories,
        .return_mask = categories,
    };
    int found = ioctl(pagemap, _IOWR('f', 16, scan), &scan);
    *walked = scan.walk_end;
    return found;
}

int clinux_advise(int pidfd, uint64_t start, uint64_t length, int advice) {
    struct iovec range = {.iov_base = (void *)start, .iov_len = length};
    return syscall(SYS_process_madvise, pidfd, &range, 1, advice, 0) < 0 ? -1 : 0;
}

void clinux_touch_page(pid_t process, uint64_t address) {
    char byte;
    struct iovec here = {.iov_base = &byte, .iov_len = 1}, there = {.iov_base = (void *)address, .iov_len = 1};
    syscall(SYS_process_vm_readv, process, &here, 1L, &there, 1L, 0L);
}

void clinux_drain_new_pages(void) {
    // Of all calls that do it, move_pages(2) does least beside it: a page that is where it should be stays there.
    static volatile char here;
    // Where nothing has been stored there is no page, and such a call does nothing.
    here = 1;
    void *page = (void *)&here;
    int node = -1;
    if (syscall(SYS_move_pages, 0, 1L, &page, NULL, &node, 0) == 0 && node >= 0) {
        int status;
        syscall(SYS_move_pages, 0, 1L, &page, &node, &status, 2 /* MPOL_MF_MOVE */);
    }
}

int clinux_cached_inode(const char *path, uint32_t *major, uint32_t *minor, uint64_t *inode) {
    struct statx status;
    int result = statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &status);
    if (result == 0) {
        *major = status.stx_dev_major;
        *minor = status.stx_dev_minor;
        *inode = status.stx_ino;
    }
    return result;
}

// Of linux/nsfs.h since 6.11: NS_GET_PID_FROM_PIDNS and NS_GET_PID_IN_PIDNS; NS_GET_PARENT since 4.9. The number is the
// argument itself, not a pointer to it.
int clinux_pid_from_namespace(int pid_namespace, int task) { return ioctl(pid_namespace, _IOR(0xb7, 6, int), task); }

int clinux_pid_in_namespace(int pid_namespace, int task) { return ioctl(pid_namespace, _IOR(0xb7, 8, int), task); }

int clinux_ancestor_namespace(int pid_namespace, int levels) {
    int found = fcntl(pid_namespace, F_DUPFD_CLOEXEC, 0);
    for (; found >= 0 && levels > 0; levels--) {
        int parent = ioctl(found, _IO(0xb7, 2));
        int error = errno;
        close(found);
        errno = error;
        found = parent;
    }
    return found;
}

int clinux_is_same_file(int first, int second) {
    struct stat a, b;
    if (fstat(first, &a) < 0 || fstat(second, &b) < 0)
        return -1;
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

enum { clinux_most_cpus = 8192 };

int clinux_allowed_cpus(int *cpus, int capacity) {
    size_t size = CPU_ALLOC_SIZE(clinux_most_cpus);
    cpu_set_t *set = CPU_ALLOC(clinux_most_cpus);
    if (!set)
        return -1;
    int count = sched_getaffinity(0, size, set) == 0 ? 0 : -1;
    for (int cpu = 0; count >= 0 && cpu < clinux_most_cpus && count < capacity; cpu++)
        if (CPU_ISSET_S(cpu, size, set))
            cpus[count++] = cpu;
    CPU_FREE(set);
    return count;
}

int clinux_stay_on_cpu(int cpu) { return clinux_put_on_cpu(0, cpu); }

int clinux_put_on_cpu(int thread, int cpu) {
    size_t size = CPU_ALLOC_SIZE(clinux_most_cpus);
    cpu_set_t *set = CPU_ALLOC(clinux_most_cpus);
    if (!set)
        return -1;
    CPU_ZERO_S(size, set);
    CPU_SET_S(cpu, size, set);
    int result = sched_setaffinity(thread, size, set);
    CPU_FREE(set);
    return result;
}

int clinux_leave_cpu(void) {
    size_t size = CPU_ALLOC_SIZE(clinux_most_cpus);
    cpu_set_t *set = CPU_ALLOC(clinux_most_cpus);
    if (!set)
        return -1;
    int result = sched_getaffinity(getpid(), size, set) < 0 ? -1 : sched_setaffinity(0, size, set);
    CPU_FREE(set);
    return result;
}

int clinux_set_idle(int is_idle) {
    struct sched_param none = {0};
    return sched_setscheduler(0, is_idle ? SCHED_IDLE : SCHED_OTHER, &none);
}

int clinux_cpu(void) {
    int cpu = sched_getcpu();
    return cpu < 0 ? 0 : cpu;
}

void clinux_be_like_first(void) {
    static __thread int is_done;
    if (is_done)
        return;
    is_done = 1;
    clinux_leave_cpu();
    if (sched_getscheduler(getpid()) == SCHED_OTHER)
        clinux_set_idle(0);
}

static void *go_and_return(void *may) {
    *(int *)may = sched_getscheduler(0) == SCHED_OTHER && clinux_set_idle(1) == 0 && clinux_set_idle(0) == 0;
    return NULL;
}

int clinux_may_be_idle(void) {
    // It takes CAP_SYS_NICE or RLIMIT_NICE to return: a thread that can be lost finds out.
    int may = 0;
    pthread_t thread;
    if (pthread_create(&thread, NULL, go_and_return, &may) == 0)
        pthread_join(thread, NULL);
    return may;
}

void clinux_trim_heap(void) { malloc_trim(0); }

const char *clinux_errno_name(int error) { return strerrorname_np(error); }

#ifdef __SSE2__
static inline void stream_line(char *target, const char *source) {
    __m128i part[4];
    for (int i = 0; i < 4; i++) part[i] = _mm_loadu_si128((const __m128i *)source + i);
    for (int i = 0; i < 4; i++) _mm_stream_si128((__m128i *)target + i, part[i]);
}

// Eight pages at a time, where glibc takes four, so that more of the memory's banks are at work.
void clinux_copy_streaming(void *target, const void *source, size_t length) {
    enum { page = 4096, pages = 8, line = 64 };
    char *to = target;
    const char *from = source;
    if ((uintptr_t)to % 16 == 0) {
        for (; length >= pages * page; to += pages * page, from += pages * page, length -= pages * page)
            for (size_t i = 0; i < page; i += 2 * line)
                for (size_t at = i; at < pages * page; at += page) {
                    _mm_prefetch(from + at + 4 * line, _MM_HINT_T0);
                    _mm_prefetch(from + at + 5 * line, _MM_HINT_T0);
                    stream_line(to + at, from + at);
                    stream_line(to + at + line, from + at + line);
                }
        _mm_sfence();
    }
    memcpy(to, from, length);
}
#else
void clinux_copy_streaming(void *target, const void *source, size_t length) { memcpy(target, source, length); }
#endif

int clinux_allowed_nodes(unsigned long *mask, unsigned long bits) {
    enum { mems_allowed = 4 };  // MPOL_F_MEMS_ALLOWED
    // The kernel leaves the last of the bits out.
    return syscall(SYS_get_mempolicy, NULL, mask, bits + 1, NULL, mems_allowed) < 0 ? -1 : 0;
}

int clinux_prefer_node(void *start, size_t length, int node) {
    enum { any = 0, preferred = 1, local = 4, nodes = 1024, word = 8 * sizeof(unsigned long) };
    unsigned long mask[nodes / word] = {0};
    if (node >= nodes) {
        errno = EINVAL;
        return -1;
    }
    if (node < 0) {
        // The kernel tells the file nothing that the mapping has by itself.
        if (syscall(SYS_mbind, start, length, local, NULL, 0UL, 0UL) < 0) return -1;
        return syscall(SYS_mbind, start, length, any, NULL, 0UL, 0UL) < 0 ? -1 : 0;
    }
    mask[node / word] = 1UL << node % word;
    return syscall(SYS_mbind, start, length, preferred, mask, nodes + 1UL, 0UL) < 0 ? -1 : 0;
}

int clinux_move_to_node(void *start, size_t pages, int node, uint64_t *moved, uint64_t *failed) {
    enum { some = 512, move = 2, move_all = 4 };  // MPOL_MF_MOVE, MPOL_MF_MOVE_ALL
    for (size_t done = 0; done < pages; done += some) {
        unsigned long count = pages - done < some ? pages - done : some, wanted = 0;
        void *addresses[some];
        int targets[some], status[some];
        for (unsigned long page = 0; page < count; page++) {
            addresses[page] = (char *)start + (done + page) * 4096;
            targets[page] = node;
        }
        if (syscall(SYS_move_pages, 0, count, addresses, NULL, status, 0) < 0) return -1;
        for (unsigned long page = 0; page < count; page++) {
            // What was never touched will be made there.
            if (status[page] >= 0 && status[page] != node) addresses[wanted++] = addresses[page];
        }
        if (wanted == 0) continue;
        long result = syscall(SYS_move_pages, 0, wanted, addresses, targets, status, move_all);
        // Without CAP_SYS_NICE only what no other process maps.
        if (result < 0 && errno == EPERM) result = syscall(SYS_move_pages, 0, wanted, addresses, targets, status, move);
        // What was left alone has no status.
        if (syscall(SYS_move_pages, 0, wanted, addresses, NULL, status, 0) < 0) return -1;
        for (unsigned long page = 0; page < wanted; page++) *(status[page] == node ? moved : failed) += 1;
    }
    return 0;
}

int clinux_keep_capabilities(uint64_t kept) {
    for (unsigned long number = 0; prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; number++) {
        // Who may not narrow the bounding set still gives up what is in force.
        if (!(kept >> number & 1)) prctl(PR_CAPBSET_DROP, number, 0, 0, 0);
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, data) < 0) return -1;
    for (int word = 0; word < _LINUX_CAPABILITY_U32S_3; word++) {
        data[word].permitted &= (uint32_t)(kept >> 32 * word);
        data[word].effective = data[word].permitted;
        data[word].inheritable = 0;
    }
    return syscall(SYS_capset, &header, data) < 0 ? -1 : 0;
}

int clinux_set_dumpable(int is_dumpable) { return prctl(PR_SET_DUMPABLE, is_dumpable, 0, 0, 0); }

int clinux_set_no_new_privs(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }

void clinux_clear_environment(void) {
    for (char **variable = environ; variable && *variable; variable++)
        explicit_bzero(*variable, strlen(*variable));
    clearenv();
}

int clinux_send_datagram(const char *name, const char *text) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof address.sun_path) {
        errno = EINVAL;
        return -1;
    }
    memcpy(address.sun_path, name, length);
    if (name[0] == '@') address.sun_path[0] = 0;
    int file = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (file < 0) return -1;
    socklen_t size = offsetof(struct sockaddr_un, sun_path) + length;
    ssize_t sent = sendto(file, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, size);
    int error = errno;
    close(file);
    errno = error;
    return sent < 0 ? -1 : 0;
}

// Room for one descriptor beside the message, aligned as the header is.
union file_message {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
};

int clinux_send_file(int socket, int file, const void *bytes, size_t length) {
    union file_message control = {0};
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = length};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof file);
    memcpy(CMSG_DATA(header), &file, sizeof file);
    return sendmsg(socket, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

ssize_t clinux_receive_file(int socket, int *file, void *bytes, size_t length) {
    union file_message control = {0};
    struct iovec part = {.iov_base = bytes, .iov_len = length};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    *file = -1;
    ssize_t count = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = count < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
        memcpy(file, CMSG_DATA(header), sizeof *file);
    return count;
}

static locale_t utf8_locale;

static void make_utf8_locale(void) { utf8_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0); }

int clinux_character_width(uint32_t character) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_utf8_locale);
    if (utf8_locale == (locale_t)0)
        return -1;
    locale_t before = uselocale(utf8_locale);
    int width = wcwidth((wchar_t)character);
    uselocale(before);
    return width;
}

static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS, SIGQUIT};
enum { CRASH_SIGNALS = sizeof crash_signals / sizeof crash_signals[0] };
static struct sigaction crash_actions[CRASH_SIGNALS];
static volatile sig_atomic_t entered_terminal = -1;
static struct termios terminal_before;
static const char *leave_text;
static size_t leave_length;

// Async-signal-safe.
void clinux_leave_terminal(void) {
    int terminal = entered_terminal;
    if (terminal < 0)
        return;
    entered_terminal = -1;
    ssize_t written = write(terminal, leave_text, leave_length);
    (void)written;
    // Not TCSADRAIN: one that the user has stopped (Ctrl-S) would hold the process.
    tcsetattr(terminal, TCSANOW, &terminal_before);
}

static void crash(int signal) {
    clinux_leave_terminal();
    for (int i = 0; i < CRASH_SIGNALS; i++)
        if (crash_signals[i] == signal)
            sigaction(signal, &crash_actions[i], NULL);
    // It waits until this handler returns.
    raise(signal);
}

int clinux_enter_terminal(int terminal, const char *enter, const char *leave) {
    static int has_handlers;
    static char stack[64 << 10];
    if (tcgetattr(terminal, &terminal_before) != 0)
        return -1;
    leave_text = leave;
    leave_length = strlen(leave);
    entered_terminal = terminal;
    if (!has_handlers) {
        has_handlers = 1;
        // The stack may be what has run out.
        stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
        sigaltstack(&alternate, NULL);
        struct sigaction action = {.sa_handler = crash, .sa_flags = SA_ONSTACK};
        for (int i = 0; i < CRASH_SIGNALS; i++)
            sigaction(crash_signals[i], &action, &crash_actions[i]);
    }
    struct termios keys = terminal_before;
    keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO | IEXTEN);
    keys.c_cc[VMIN] = 1;
    keys.c_cc[VTIME] = 0;
    if (tcsetattr(terminal, TCSANOW, &keys) != 0) {
        int error = errno;
        entered_terminal = -1;
        errno = error;
        return -1;
    }
    ssize_t written = write(terminal, enter, strlen(enter));
    (void)written;
    return 0;
}
