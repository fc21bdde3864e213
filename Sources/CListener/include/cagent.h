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

/// Has the thread that waits for an answer to a call make an agent, and repeat the call afterwards. It is to be the only one of its address
/// space, and waits until clistener_release_agent().
///
/// - `stop` is a descriptor: once it is readable this waits no longer.
///
/// 0, or -1 and errno where the call still waits for its answer, or 1 where there is no agent and the call has been, or will be, repeated.
int clistener_inject(int listener, const struct clistener_call *call, int stop, struct clistener_agent *agent);

/// Begins to be told of what happens in the address space of an agent. 0 or a negative error.
int clistener_begin_faults(int faults);

/// Takes the rights of the program from its agent, which anybody who has the program's memory can have execute anything. It keeps
/// `locks_memory`, the right to lock memory without a limit (CAP_IPC_LOCK). -1 where the agent still has the others.
int clistener_strip_agent(const struct clistener_agent *agent, int locks_memory);

/// Lets the thread go on, and closes the memory.
void clistener_release_agent(struct clistener_agent *agent);

/// Has an agent execute a system call. What the call returns, as the kernel does, with errors negative; -EPIPE where the agent has ended.
int64_t clistener_command(int socket, long number, const uint64_t arguments[6]);

/// The system calls that agents execute.
enum {
#if defined(__x86_64__)
    CLISTENER_BRK = SYS_brk,
    CLISTENER_MMAP = SYS_mmap,
    CLISTENER_MREMAP = SYS_mremap,
    CLISTENER_MADVISE = SYS_madvise,
#else
    CLISTENER_BRK = -1,
    CLISTENER_MMAP = -2,
    CLISTENER_MREMAP = -3,
    CLISTENER_MADVISE = -4,
#endif
};

/// What a userfaultfd reports (struct uffd_msg).
struct clistener_event {
    enum {
        /// A page that is not there was touched by a thread.
        CLISTENER_FAULT,
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

/// Has first touches of addresses reported. 0 or a negative error.
int clistener_register(int faults, uint64_t start, uint64_t length);

/// Fills pages that are not there with zeros, and wakes who waits for them. How many bytes, or a negative error: -EEXIST where the first page is
/// there, -ENOENT where the addresses are not all of one mapping that is registered, -EAGAIN where events are to be read first, -ESRCH
/// where the address space has ended.
int64_t clistener_fill(int faults, uint64_t start, uint64_t length);

/// Fills the page of the mark.
int64_t clistener_fill_mark(int faults, uint64_t mark);

/// Has touches of pages that are not there fail from now on. 0 or a negative error.
int clistener_poison(int faults, uint64_t start, uint64_t length);

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
int clistener_poll(int poll, uint64_t *tokens, int capacity, int milliseconds);

#endif
