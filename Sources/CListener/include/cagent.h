#ifndef CDMFS_CAGENT_H
#define CDMFS_CAGENT_H

// The anonymous memory of programs: a task in each address space that executes system calls there, and a userfaultfd(2) that reports what is
// touched there for the first time. For x86-64.

#include <stddef.h>
#include <stdint.h>

#include "clistener.h"

/// The addresses that an agent takes in an address space.
extern const uint64_t clistener_agent_start, clistener_agent_end;

/// The page there whose first 8 bytes tell address spaces apart.
extern const uint64_t clistener_mark;

/// Whether this process may have agents: 0, or -1 and errno: ENOSYS for another architecture, else what the kernel says of userfaultfd(2).
int clistener_check_agents(void);

/// An agent, by the socket that it obeys, and the userfaultfd of its address space.
struct clistener_agent {
    int socket;
    int faults;
    /// Its memory, for clistener_release_agent().
    int memory;
};

/// What is to be done for a program that gets an agent.
struct clistener_program {
    /// Whether getcpu(2) of the vDSO becomes a system call there.
    int redirects_getcpu;
    /// Whether it is the first process of its PID namespace.
    int is_first;
    /// Whether the page at clistener_mark is there already: a fork has made the address space.
    int is_marked;
    /// How many seconds each command of its agent may take; one that takes longer is the last.
    int patience;
};

/// Has the thread that waits for an answer to a call make an agent, and repeat the call afterwards. It is to be the only one of its address
/// space, and waits until clistener_release_agent().
/// `stop` is a descriptor: once it is readable this waits no longer.
///
/// 0, or -1 and errno where the call still waits for its answer, or 1 where there is no agent and the call has been, or will be, repeated.
int clistener_inject(
    int listener, const struct clistener_call *call, int stop, const struct clistener_program *program,
    struct clistener_agent *agent);

/// Begins to be told of what happens in the address space of an agent. 0 or a negative error.
int clistener_begin_faults(int faults);

/// Takes the rights of the program from its agent, because a task that has the program's memory can have the agent execute anything. A
/// filter leaves it the system calls of clistener_command() that map, discard and lock memory. It keeps `locks_memory`, the right to
/// lock memory without a limit (CAP_IPC_LOCK). -1 where the agent still has others.
int clistener_strip_agent(const struct clistener_agent *agent, int locks_memory);

/// Lets the thread go on, and closes the memory.
void clistener_release_agent(struct clistener_agent *agent);

/// Has an agent execute a system call. What the call returns, as the kernel does, with errors negative; -EPIPE where the agent has ended.
int64_t clistener_command(int socket, long number, const uint64_t arguments[6]);

/// A system call of an agent, or of the thread of a program that makes it.
struct clistener_agent_call {
    int32_t number;
    /// As far as filters look at them.
    uint64_t arguments[6];
};

/// All of them, for who asks whether a filter lets them pass.
const struct clistener_agent_call *clistener_agent_calls(ptrdiff_t *count);

/// The system calls that agents execute.
enum {
#if defined(__x86_64__)
    CLISTENER_BRK = SYS_brk,
    CLISTENER_MMAP = SYS_mmap,
    CLISTENER_MREMAP = SYS_mremap,
    CLISTENER_MUNMAP = SYS_munmap,
    CLISTENER_MLOCK = SYS_mlock,
    CLISTENER_MLOCK2 = SYS_mlock2,
    CLISTENER_MUNLOCK = SYS_munlock,
    CLISTENER_MLOCKALL = SYS_mlockall,
    CLISTENER_MUNLOCKALL = SYS_munlockall,
#else
    CLISTENER_BRK = -1,
    CLISTENER_MMAP = -2,
    CLISTENER_MREMAP = -3,
    CLISTENER_MLOCK = -4,
    CLISTENER_MLOCK2 = -5,
    CLISTENER_MUNLOCK = -6,
    CLISTENER_MLOCKALL = -7,
    CLISTENER_MUNLOCKALL = -8,
    CLISTENER_MUNMAP = -9,
#endif
};

/// The bytes that the code takes which repeats a call.
enum { CLISTENER_REPEAT_LENGTH = 128 };

/// Has a process repeat a call, for which it waits, whenever a signal interrupts it before it is received (EINTR): code at `place`, which
/// is executable, does so, and a jump there takes the place of the instruction that loads the number of the call.
///
/// No other thread may be at that instruction. The code is no more than 2 GiB away from it.
///
/// 0; or -1 where the instruction before the call is another one, and nothing has changed.
int clistener_repeat(int listener, const struct clistener_call *call, uint64_t place);

/// A system call in the text of a process: its number, and the address of the instruction behind it.
struct clistener_place {
    int32_t number;
    uint64_t instruction;
};

/// Finds the calls that clistener_repeat() can have repeated, and that map memory, from `start` to `end` in a process: as many as there
/// are and have room. -1 where the text cannot be read.
int clistener_find_calls(int32_t task, uint64_t start, uint64_t end, struct clistener_place *places, int capacity);

/// What a userfaultfd reports (struct uffd_msg).
struct clistener_event {
    enum {
        /// A thread loads from a page that is not there.
        CLISTENER_LOAD,
        /// A thread stores to a page that is not there.
        CLISTENER_STORE,
        /// A thread stores to a page that is write-protected.
        CLISTENER_PROTECTED_STORE,
        /// A fork has made another address space, whose userfaultfd is `file`.
        CLISTENER_FORK,
        /// Addresses lose what they hold.
        CLISTENER_REMOVE,
        /// Addresses are no longer mapped.
        CLISTENER_UNMAP,
        CLISTENER_OTHER,
    } kind;
    int32_t thread;
    int file;
    uint64_t start, end;
};

/// Reads events. How many there were, 0 for none at present; or -1 and errno.
int clistener_read_events(int faults, struct clistener_event *events, int capacity);

/// Has first touches of addresses reported, and stores to pages that are write-protected if `can_protect` is not 0. 0 or a negative error.
int clistener_register(int faults, uint64_t start, uint64_t length, int can_protect);

/// Fills pages that are not there with zeros, write-protected if `is_protected` is not 0, and wakes who waits for them. How many bytes,
/// or a negative error: -EEXIST where the first page is there, -ENOENT where the addresses are not all of one mapping that is
/// registered, -EAGAIN where events are to be read first, -ESRCH where the address space has ended.
int64_t clistener_fill(int faults, uint64_t start, uint64_t length, int is_protected);

/// Write-protects pages that are there; or has stores to them go on, and wakes who waits for them. 0 or a negative error: -EAGAIN where
/// events are to be read first.
int clistener_protect(int faults, uint64_t start, uint64_t length, int is_protected);

/// Fills the page of the mark.
int64_t clistener_fill_mark(int faults, uint64_t mark);

/// Has touches of pages that are not there fail from now on. 0 or a negative error.
int clistener_poison(int faults, uint64_t start, uint64_t length);

/// Has first touches of addresses no longer reported: the kernel fills them. 0 or a negative error.
int clistener_unregister(int faults, uint64_t start, uint64_t length);

/// The page map of a process, for clistener_stored(). Its descriptor, or -1 and errno.
int clistener_open_page_map(int32_t process);

/// Addresses of a range whose pages are there and not write-protected (PAGEMAP_SCAN, of Linux 6.7), each as its start and its end. How many
/// there are, or a negative error: -ENOSPC for more than `capacity`. It waits for as long as the address space is locked.
int clistener_stored(int page_map, uint64_t start, uint64_t end, uint64_t *bounds, int capacity);

/// Addresses of a range whose pages two processes have in the same memory, as after a fork until one of them stores to a page; each as its
/// start and its end. Or, where `other` is negative, those that the one has and that are not write-protected. How many, at most `capacity`; `*end` is set to where
/// the search has stopped. Negative where a page map cannot be read.
int clistener_shared(int page_map, int other, uint64_t start, uint64_t *end, uint64_t *bounds, int capacity);

/// Has the touch for which a thread waits fail as that of memory whose hardware failed: SIGBUS with BUS_MCEERR_AR (force_sig_mceerr() of
/// kernel/signal.c), by ptrace(2). It waits for the thread, a second at most.
///
/// - `granularity` is the binary logarithm of the bytes that have failed: 12 for a page (si_addr_lsb).
/// - `fail` has the touch fail, by SIGBUS. It is called once. Anything but 0 says that the touch has failed already.
/// - `heal` takes what makes touches of the page fail away. It is called once the touch has failed, before the thread goes on; NULL for
///   nothing.
///
/// 0; or -1 where the signal keeps BUS_ADRERR, or is none: a system call has touched the page, another process traces the thread, or it may not be
/// traced. The calling thread may still trace the other one then, and is to end.
int clistener_fail_touch(
    int32_t thread, int granularity, int (*fail)(void *), void (*heal)(void *), void *context);

/// Whether threads of any process may be traced by this one: 1 or 0.
int clistener_may_trace(void);

/// Opens the shared memory without a name of a mapping of a process, as a file. Its descriptor, or -1 and errno: EINVAL where something else
/// is mapped.
int clistener_open_shared(int32_t process, uint64_t start, uint64_t end);

/// Takes a part away from such memory, and so from all who map it, also where they have locked it.
void clistener_punch(int file, uint64_t start, uint64_t length);

/// Finds the first part at or behind `*start` that such memory has nothing of, up to `*end`. 0, or -1 for none.
int clistener_find_hole(int file, uint64_t *start, uint64_t *end);

/// Wakes who waits for pages.
void clistener_wake(int faults, uint64_t start, uint64_t length);

/// Whether the address space has ended: 1 or 0.
int clistener_has_ended(int faults);

/// A descriptor that is readable once a process has ended, or -1 and errno.
int clistener_watch_end(int32_t process);

/// The number of the calling thread.
int32_t clistener_own_thread(void);

/// Waits on many descriptors (epoll(7)).
int clistener_make_poll(void);
int clistener_add_to_poll(int poll, int file, uint64_t token);
int clistener_remove_from_poll(int poll, int file);
/// The tokens of those that are readable; how many, 0 where `milliseconds` have passed. Negative: for ever.
/// `is_soon`: the next one is likely to come in a moment.
int clistener_poll(int poll, uint64_t *tokens, int capacity, int milliseconds, int is_soon);

#endif
