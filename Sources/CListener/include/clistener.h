#ifndef CDMFS_CLISTENER_H
#define CDMFS_CLISTENER_H

// System calls of programs that another process answers: a filter with a listener (seccomp_unotify(2)), whose structures and macros
// Swift cannot import.

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>

// Which calls a filter reports.
enum {
    /// The calls of NUMA policies, of pages' places and of the node of a CPU.
    CLISTENER_MEMORY = 1 << 0,
    /// Files that are opened to be read.
    CLISTENER_FILES = 1 << 1,
    /// The calls of CPUs, for a machine that has others than the host.
    CLISTENER_PROCESSORS = 1 << 2,
    /// The calls that make, grow and move anonymous memory; see cagent.h.
    CLISTENER_ANONYMOUS = 1 << 3,
};

/// A call that waits for its answer (struct seccomp_notif).
struct clistener_call {
    uint64_t id;
    /// The thread, by the number that it has for who receives it; 0 where it has none there.
    int32_t task;
    int32_t number;
    /// The address behind its instruction.
    uint64_t instruction;
    uint64_t arguments[6];
};

// Numbers of calls, of this architecture.
enum {
    CLISTENER_MADVISE = SYS_madvise,
    CLISTENER_MBIND = SYS_mbind,
    CLISTENER_SET_MEMPOLICY = SYS_set_mempolicy,
    CLISTENER_GET_MEMPOLICY = SYS_get_mempolicy,
    CLISTENER_MIGRATE_PAGES = SYS_migrate_pages,
    CLISTENER_MOVE_PAGES = SYS_move_pages,
    /// Of Linux 5.17; the same on every architecture.
    CLISTENER_SET_MEMPOLICY_HOME_NODE = 450,
    CLISTENER_SCHED_SETAFFINITY = SYS_sched_setaffinity,
    CLISTENER_SCHED_GETAFFINITY = SYS_sched_getaffinity,
    CLISTENER_GETCPU = SYS_getcpu,
    CLISTENER_IOCTL = SYS_ioctl,
    CLISTENER_SECCOMP = SYS_seccomp,
    CLISTENER_PRCTL = SYS_prctl,
    CLISTENER_OPENAT = SYS_openat,
#ifdef SYS_open
    CLISTENER_OPEN = SYS_open,
#else
    CLISTENER_OPEN = -1,
#endif
};

/// Has calls of the calling thread, and of what it becomes and makes, reported to a listener. Its descriptor, closed on exec; or -1
/// and errno: EBUSY where there is a listener already, EACCES where it takes PR_SET_NO_NEW_PRIVS, EINVAL or ENOSYS where the kernel
/// has no listeners.
int clistener_install(int calls);

/// Whether a descriptor is of a listener: 1 or 0.
int clistener_is_listener(int file);

/// Has who makes a call run on the CPU of who answers it (Linux 6.6), which is much faster; elsewhere nothing changes.
void clistener_wake_in_place(int listener);

/// Waits for a call and receives it. 0, or -1 and errno: ENOENT where its thread has been killed meanwhile, ENOTCONN once no thread
/// is left that may make one, or `stop`, a descriptor or -1, is readable.
int clistener_receive(int listener, int stop, struct clistener_call *call);

/// Whether a call still waits for its answer, and its thread so is still that: 1 or 0.
int clistener_is_waiting(int listener, uint64_t id);

/// Has a call return a value, or fail with `error` if that is not 0. 0, or -1 and errno: ENOENT where its thread waits no more.
int clistener_answer(int listener, uint64_t id, int64_t value, int error);

/// Has the kernel do a call as if it had not been reported. 0, or -1 and errno as above.
int clistener_pass(int listener, uint64_t id);

/// Has a call return a descriptor of its own of `file`. 0, or -1 and errno as above.
int clistener_answer_file(int listener, uint64_t id, int file, int closes_on_exec);

/// A file without a name with some contents, open to be read only. Its descriptor, or -1 and errno.
int clistener_text_file(const void *bytes, size_t length);

/// Reads memory of a task as its own thread would. How many bytes there were, which may be fewer, or -1 and errno. They are of that task
/// if its call still waits afterwards.
ssize_t clistener_peek(int32_t task, uint64_t address, void *bytes, size_t length);

/// Writes memory of the thread that waits for the answer to a call, and of no other thread that may get its number. It is to be readable. How many
/// bytes were written, which may be fewer, or -1 and errno.
ssize_t clistener_poke(int listener, uint64_t id, int32_t task, uint64_t address, const void *bytes, size_t length);

/// Whether the mappings of a task let it store to all of some addresses: 1 or 0; or -1 and errno, ENOTTY before Linux 6.11. The answer is
/// of that task if its call still waits afterwards.
int clistener_may_store(int32_t task, uint64_t start, uint64_t end);

/// Lets a thread run on some CPUs of the host, if a call still waits. 0, or -1 and errno.
int clistener_run_on(int listener, uint64_t id, int32_t thread, const int32_t *cpus, int32_t count);

/// Takes a descriptor of another process (pidfd_getfd(2)), closed on exec. Or -1 and errno.
int clistener_take_file(int32_t process, int file);

/// The calls that a server is about to answer, shared with the keeper of its listener.
enum { CLISTENER_SLOTS = 16 };

/// Makes the memory for them and hands it to the other end of a socket. Its address, or NULL and errno.
uint64_t *clistener_share_slots(int socket);

/// Ends the sharing.
void clistener_unshare_slots(uint64_t *slots);

/// The most bytes of a line that a server says.
enum { CLISTENER_LINE = 200 };

/// Has the keeper at the other end of a socket say a line to the user of the run. It waits for nothing: the line may be lost.
void clistener_tell(int socket, const char *line);

/// Starts the keeper of a listener that is yet to come: a process that hands it to a server, and has the kernel do the calls once the
/// server has gone, or where it takes none. The other end of its socket, or -1 and errno.
///
/// Before there is a second thread. It ends when no program is left, or without a listener when the other end of the socket is closed.
int clistener_start_keeper(void);

/// Installs the filter and hands its listener to the keeper, with an open file to which the server takes the number of a descriptor
/// written. Makes no call that is reported before a server answers. 0, or -1 and errno as clistener_install() has it.
int clistener_begin(int keeper, int file, int calls);

#endif
