#define _GNU_SOURCE
#include "cagent.h"
#include "agent.h"
#include "wait.h"
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

const uint64_t clistener_agent_start = AGENT_CODE, clistener_agent_end = AGENT_MARK + 0x1000, clistener_mark = AGENT_MARK;

// Of linux/userfaultfd.h since 6.6.
#ifndef UFFDIO_POISON
#define UFFD_FEATURE_POISON (1 << 14)
struct uffdio_poison {
    struct uffdio_range range;
    __u64 mode;
    __s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef UFFD_FEATURE_EXACT_ADDRESS
#define UFFD_FEATURE_EXACT_ADDRESS (1 << 11)
#endif
// Of linux/fs.h since 6.7.
#ifndef PAGEMAP_SCAN
struct page_region {
    __u64 start, end, categories;
};
struct pm_scan_arg {
    __u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
    __u64 category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_WRITTEN (1 << 1)
#define PAGE_IS_PRESENT (1 << 3)
#endif

static int send_command(int socket, long number, const uint64_t arguments[6]) {
    uint64_t command[7] = {(uint64_t)number};
    memcpy(command + 1, arguments, 6 * sizeof *arguments);
    return send(socket, command, sizeof command, MSG_NOSIGNAL) == sizeof command ? 0 : -1;
}

static int64_t receive_result(int socket) {
    int64_t result;
    ssize_t count;
    while ((count = recv(socket, &result, sizeof result, 0)) < 0 && errno == EINTR)
        ;
    if (count == sizeof result) return result;
    // What it says later is not taken for the answer to another command.
    shutdown(socket, SHUT_RDWR);
    return -EPIPE;
}

#if defined(__x86_64__)
extern const char clistener_agent_code[], clistener_agent_code_end[];

struct agent_data {
    int32_t waits;
    uint32_t text_protection;
    uint64_t number, resume, text, text_page, text_length;
    int32_t device, socket;
    uint64_t all_signals, old_signals;
    struct msghdr message;
    struct iovec vector;
    // struct cmsghdr, whose data follow.
    struct {
        size_t length;
        int level, type;
    } control;
    int32_t faults, is_first;
    int64_t result;
    uint64_t command[7];
    char name[16];
    char root[4];
    int32_t is_marked;
    unsigned char saved[AGENT_STUB_LENGTH];
};

#define CHECK_OFFSET(member, offset) _Static_assert(offsetof(struct agent_data, member) == (offset), #member)
CHECK_OFFSET(text_protection, AGENT_TEXT_PROTECTION);
CHECK_OFFSET(number, AGENT_NUMBER);
CHECK_OFFSET(resume, AGENT_RESUME);
CHECK_OFFSET(text, AGENT_TEXT);
CHECK_OFFSET(text_page, AGENT_TEXT_PAGE);
CHECK_OFFSET(text_length, AGENT_TEXT_LENGTH);
CHECK_OFFSET(device, AGENT_DEVICE);
CHECK_OFFSET(socket, AGENT_SOCKET);
CHECK_OFFSET(all_signals, AGENT_ALL_SIGNALS);
CHECK_OFFSET(old_signals, AGENT_OLD_SIGNALS);
CHECK_OFFSET(message, AGENT_MESSAGE);
CHECK_OFFSET(vector, AGENT_VECTOR);
CHECK_OFFSET(control, AGENT_CONTROL);
CHECK_OFFSET(faults, AGENT_FAULTS);
CHECK_OFFSET(is_first, AGENT_IS_FIRST);
CHECK_OFFSET(result, AGENT_RESULT);
CHECK_OFFSET(command, AGENT_COMMAND);
CHECK_OFFSET(name, AGENT_NAME);
CHECK_OFFSET(root, AGENT_ROOT);
CHECK_OFFSET(is_marked, AGENT_IS_MARKED);
CHECK_OFFSET(saved, AGENT_SAVED);

static uint64_t in_data(size_t offset) { return AGENT_DATA + offset; }

// Below the red zone: pushes the registers of a call, maps a page of `memory` at AGENT_CODE and jumps there with `memory` in r8d.
static void write_stub(unsigned char stub[AGENT_STUB_LENGTH], int memory) {
    static const unsigned char instructions[AGENT_STUB_LENGTH] = {
        0x48, 0x8d, 0xa4, 0x24, 0x00, 0xff, 0xff, 0xff,              // lea -256(%rsp), %rsp
        0x57, 0x56, 0x52, 0x41, 0x52, 0x41, 0x50, 0x41, 0x51,        // push %rdi, %rsi, %rdx, %r10, %r8, %r9
        0x48, 0xbf, 0, 0, 0, 0, 0, 0, 0, 0,                          // movabs $AGENT_CODE, %rdi
        0xbe, 0x00, 0x10, 0x00, 0x00,                                // mov $0x1000, %esi
        0xba, 0x05, 0x00, 0x00, 0x00,                                // mov $(PROT_READ | PROT_EXEC), %edx
        0x41, 0xba, 0x11, 0x00, 0x00, 0x00,                          // mov $(MAP_SHARED | MAP_FIXED), %r10d
        0x41, 0xb8, 0, 0, 0, 0,                                      // mov $memory, %r8d
        0x45, 0x31, 0xc9,                                            // xor %r9d, %r9d
        0xb8, 0x09, 0x00, 0x00, 0x00,                                // mov $SYS_mmap, %eax
        0x0f, 0x05,                                                  // syscall
        0xff, 0xe0,                                                  // jmp *%rax
        0x90, 0x90, 0x90,                                            // nop
    };
    uint64_t code = AGENT_CODE;
    memcpy(stub, instructions, AGENT_STUB_LENGTH);
    memcpy(stub + 19, &code, sizeof code);
    memcpy(stub + 45, &memory, sizeof memory);
}

// The protection of the mapping of an address; 0 for none.
static uint32_t protection_at(int32_t task, uint64_t address) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/maps", task);
    FILE *maps = fopen(path, "re");
    if (!maps) return 0;
    uint32_t protection = 0;
    while (fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        char permissions[8];
        if (sscanf(line, "%lx-%lx %7s", &start, &end, permissions) != 3 || address < start || address >= end) continue;
        protection = (permissions[0] == 'r' ? PROT_READ : 0) | (permissions[1] == 'w' ? PROT_WRITE : 0) |
                     (permissions[2] == 'x' ? PROT_EXEC : 0);
        break;
    }
    fclose(maps);
    return protection;
}

// Opens a file in the process that waits. The number that it has there, or -1 and errno.
static int give(int listener, uint64_t id, int file) {
    struct seccomp_notif_addfd request = {.id = id, .srcfd = (uint32_t)file, .newfd_flags = O_CLOEXEC};
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &request);
}

static int prepare(int memory, const struct clistener_call *call, struct agent_data *data) {
    size_t length = (size_t)(clistener_agent_code_end - clistener_agent_code);
    if (length > 0x1000 || ftruncate(memory, 0x2000)) return -1;
    if (pwrite(memory, clistener_agent_code, length, 0) != (ssize_t)length) return -1;
    data->waits = 1;
    data->number = (uint64_t)(int64_t)call->number;
    data->resume = call->instruction - 2;
    data->text = call->instruction;
    data->text_page = call->instruction & ~0xfffull;
    data->text_length = ((call->instruction + AGENT_STUB_LENGTH - 1) & ~0xfffull) + 0x1000 - data->text_page;
    data->text_protection = protection_at(call->task, call->instruction);
    data->all_signals = ~0ull;
    data->vector = (struct iovec){(void *)in_data(AGENT_ROOT), 1};
    data->message = (struct msghdr){
        .msg_iov = (void *)in_data(AGENT_VECTOR),
        .msg_iovlen = 1,
        .msg_control = (void *)in_data(AGENT_CONTROL),
        .msg_controllen = CMSG_SPACE(sizeof(int)),
    };
    data->control.length = CMSG_LEN(sizeof(int));
    data->control.level = SOL_SOCKET;
    data->control.type = SCM_RIGHTS;
    strcpy(data->name, "cdmfs-agent");
    strcpy(data->root, "/");
    return data->text_protection & PROT_EXEC ? 0 : (errno = EFAULT, -1);
}

// Receives the userfaultfd that the agent sends, or -1.
static int receive_faults(int socket, int stop) {
    struct pollfd entries[2] = {{.fd = socket, .events = POLLIN}, {.fd = stop, .events = POLLIN}};
    while (poll(entries, 2, -1) < 0)
        if (errno != EINTR) return -1;
    if (entries[1].revents) return -1;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1) return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
        header->cmsg_len != CMSG_LEN(sizeof(int)))
        return -1;
    int faults;
    memcpy(&faults, CMSG_DATA(header), sizeof faults);
    return faults;
}

// Where __vdso_getcpu is in the vDSO, which is the same for every process; 0 for nowhere.
static uint64_t find_getcpu(void) {
    const char *image = (const char *)getauxval(AT_SYSINFO_EHDR);
    if (!image) return 0;
    const ElfW(Ehdr) *header = (const void *)image;
    const ElfW(Phdr) *segments = (const void *)(image + header->e_phoff);
    const ElfW(Dyn) *dynamic = NULL;
    const char *base = NULL;
    for (int i = 0; i < header->e_phnum; i++) {
        if (segments[i].p_type == PT_LOAD && !base) base = image + segments[i].p_offset - segments[i].p_vaddr;
        if (segments[i].p_type == PT_DYNAMIC) dynamic = (const void *)(image + segments[i].p_offset);
    }
    if (!base || !dynamic) return 0;
    const ElfW(Sym) *symbols = NULL;
    const char *names = NULL;
    for (; dynamic->d_tag != DT_NULL; dynamic++) {
        if (dynamic->d_tag == DT_SYMTAB) symbols = (const void *)(base + dynamic->d_un.d_ptr);
        if (dynamic->d_tag == DT_STRTAB) names = base + dynamic->d_un.d_ptr;
    }
    // The names stand behind the symbols.
    for (; symbols && names && (const char *)symbols < names; symbols++)
        if (!strcmp(names + symbols->st_name, "__vdso_getcpu")) return (uint64_t)(base + symbols->st_value - image);
    return 0;
}

// Makes a system call, which is reported, of the getcpu(2) of a process's vDSO, which would tell of the host.
static void redirect_getcpu(int memory, int32_t task) {
    static const unsigned char call[] = {0xb8, 0x35, 0x01, 0x00, 0x00, 0x0f, 0x05, 0xc3}; // mov $SYS_getcpu, %eax; syscall; ret
    uint64_t offset = find_getcpu(), entries[64][2];
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/auxv", task);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    ssize_t length = read(file, entries, sizeof entries);
    close(file);
    for (ssize_t i = 0; offset && i < length / (ssize_t)sizeof *entries; i++) {
        unsigned char there[64], here[64];
        if (entries[i][0] != AT_SYSINFO_EHDR) continue;
        uint64_t place = entries[i][1] + offset;
        // Only what is the same there as here.
        memcpy(here, (const void *)(getauxval(AT_SYSINFO_EHDR) + offset), sizeof here);
        if (pread(memory, there, sizeof there, (off_t)place) != sizeof there || memcmp(there, here, sizeof here)) return;
        if (pwrite(memory, call, sizeof call, (off_t)place) != sizeof call) return;
    }
}

int clistener_inject(
    int listener, const struct clistener_call *call, int stop, const struct clistener_program *program,
    struct clistener_agent *agent) {
    int result = -1, ends[2] = {-1, -1}, text = -1;
    int memory = memfd_create("cdmfs-agent", MFD_CLOEXEC);
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    struct agent_data data;
    memset(&data, 0, sizeof data);
    if (memory < 0 || device < 0 || prepare(memory, call, &data)) goto failed;
    data.is_first = program->is_first;
    data.is_marked = program->is_marked;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) goto failed;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", call->task);
    text = open(path, O_RDWR | O_CLOEXEC);
    if (text < 0 || pread(text, data.saved, AGENT_STUB_LENGTH, (off_t)call->instruction) != AGENT_STUB_LENGTH) goto failed;
    // The instruction of the call, which is to be repeated.
    unsigned char instruction[2];
    if (pread(text, instruction, 2, (off_t)data.resume) != 2 || instruction[0] != 0x0f || instruction[1] != 0x05) {
        errno = EFAULT;
        goto failed;
    }
    int there = give(listener, call->id, memory);
    data.device = there < 0 ? -1 : give(listener, call->id, device);
    data.socket = data.device < 0 ? -1 : give(listener, call->id, ends[1]);
    if (data.socket < 0) goto failed;
    unsigned char stub[AGENT_STUB_LENGTH];
    write_stub(stub, there);
    if (pwrite(memory, &data, sizeof data, 0x1000) != sizeof data) goto failed;
    // The memory is that of the thread that waits if it still does.
    if (!clistener_is_waiting(listener, call->id) ||
        pwrite(text, stub, AGENT_STUB_LENGTH, (off_t)call->instruction) != AGENT_STUB_LENGTH)
        goto failed;
    if (program->redirects_getcpu) redirect_getcpu(text, call->task);
    if (clistener_answer(listener, call->id, call->number, 0)) {
        // Killed meanwhile.
        if (pwrite(text, data.saved, AGENT_STUB_LENGTH, (off_t)call->instruction) < 0) errno = EFAULT;
        goto failed;
    }
    result = 1;
    close(ends[1]);
    ends[1] = -1;
    int faults = receive_faults(ends[0], stop);
    if (faults < 0) goto failed;
    // One that is frozen with its program does not hold the server up for ever.
    struct timeval limit = {.tv_sec = program->patience};
    setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    *agent = (struct clistener_agent){.socket = ends[0], .faults = faults, .memory = memory};
    close(device);
    close(text);
    return 0;

failed:;
    int error = errno;
    if (memory >= 0) close(memory);
    if (device >= 0) close(device);
    if (text >= 0) close(text);
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0) close(ends[i]);
    errno = error;
    return result;
}

// What an agent needs beside its commands (agent.S) is in the first line.
static const int agents_calls[] = {
    SYS_read, SYS_write, SYS_futex,  SYS_exit_group,
    SYS_brk,  SYS_mmap,  SYS_mremap, SYS_munmap,     SYS_madvise,
    SYS_mlock, SYS_mlock2, SYS_munlock, SYS_mlockall, SYS_munlockall,
};
enum { agents_call_count = sizeof agents_calls / sizeof *agents_calls };

int clistener_strip_agent(const struct clistener_agent *agent, int locks_memory) {
    struct {
        struct __user_cap_header_struct header;
        struct __user_cap_data_struct data[2];
        struct sock_fprog filter;
        struct sock_filter code[agents_call_count + 3];
    } rights = {
        .header = {.version = _LINUX_CAPABILITY_VERSION_3},
        .filter = {.len = agents_call_count + 3, .filter = (void *)(in_data(AGENT_SAVED) + offsetof(typeof(rights), code))},
    };
    // The text that was kept there is in order again.
    _Static_assert(AGENT_SAVED + sizeof rights <= AGENT_STACK_LIMIT, "room");
    if (locks_memory) rights.data[0].effective = rights.data[0].permitted = 1 << CAP_IPC_LOCK;
    rights.code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < agents_call_count; i++)
        rights.code[i + 1] = (struct sock_filter)BPF_JUMP(
            BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)agents_calls[i], (uint8_t)(agents_call_count - i), 0);
    rights.code[agents_call_count + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    rights.code[agents_call_count + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    if (pwrite(agent->memory, &rights, sizeof rights, 0x1000 + AGENT_SAVED) != sizeof rights) return -1;
    // The ids stay: with others the program would leave no core dump (commit_creds(), suid_dumpable).
    const uint64_t calls[][7] = {
        {SYS_capset, in_data(AGENT_SAVED), in_data(AGENT_SAVED) + offsetof(typeof(rights), data)},
        {SYS_prctl, PR_SET_NO_NEW_PRIVS, 1},
        {SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, in_data(AGENT_SAVED) + offsetof(typeof(rights), filter)},
    };
    // All at once: the agent does not wait until each answer is read.
    const size_t count = sizeof calls / sizeof *calls;
    for (size_t i = 0; i < count; i++)
        if (send_command(agent->socket, (long)calls[i][0], calls[i] + 1)) return -1;
    int result = 0;
    for (size_t i = 0; i < count; i++)
        if (receive_result(agent->socket)) result = -1;
    return result;
}

const struct clistener_agent_call *clistener_agent_calls(ptrdiff_t *count) {
    static const struct clistener_agent_call calls[] = {
        {SYS_mmap, {AGENT_CODE, 0x1000, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED}},
        {SYS_mmap, {AGENT_DATA, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED}},
        {SYS_mmap, {AGENT_MARK, 0x1000, PROT_READ, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1ull}},
        {SYS_mprotect, {0x1000, 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC}},
        {SYS_mprotect, {0x1000, 0x1000, PROT_READ | PROT_EXEC}},
        {SYS_madvise, {AGENT_MARK, 0x1000, MADV_WIPEONFORK}},
        {SYS_rt_sigprocmask, {SIG_BLOCK}},
        {SYS_rt_sigprocmask, {SIG_SETMASK}},
        {SYS_clone, {CLONE_VM | CLONE_UNTRACED}},
        {SYS_clone, {CLONE_VM | CLONE_UNTRACED | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID}},
        {SYS_wait4, {1, 0, __WALL}},
        {SYS_close},
        {SYS_futex, {AGENT_DATA, 0}},
        {SYS_futex, {AGENT_DATA, 1}},
        {SYS_exit},
        {SYS_exit_group},
        {SYS_setsid},
        {SYS_prctl, {PR_SET_NAME}},
        {SYS_prctl, {PR_SET_NO_NEW_PRIVS, 1}},
        {SYS_chdir},
        {SYS_ioctl, {3, USERFAULTFD_IOC_NEW}},
        {SYS_sendmsg},
        {SYS_close_range},
        {SYS_read},
        {SYS_write},
        {SYS_capset},
        {SYS_seccomp, {SECCOMP_SET_MODE_FILTER}},
        {SYS_brk},
        {SYS_munmap},
        {SYS_mremap},
        {SYS_mlock},
        {SYS_mlock2},
        {SYS_munlock},
        {SYS_mlockall},
        {SYS_munlockall},
    };
    *count = sizeof calls / sizeof *calls;
    return calls;
}

void clistener_release_agent(struct clistener_agent *agent) {
    int32_t waits = 0;
    if (pwrite(agent->memory, &waits, sizeof waits, 0x1000 + AGENT_WAITS) == sizeof waits) {
        uint64_t arguments[6] = {in_data(AGENT_WAITS), 1, 1};
        clistener_command(agent->socket, SYS_futex, arguments);
    }
    close(agent->memory);
    agent->memory = -1;
}
#else
int clistener_inject(
    int listener, const struct clistener_call *call, int stop, const struct clistener_program *program,
    struct clistener_agent *agent) {
    errno = ENOSYS;
    return -1;
}

int clistener_strip_agent(const struct clistener_agent *agent, const struct clistener_rights *kept) { return -1; }

const struct clistener_agent_call *clistener_agent_calls(ptrdiff_t *count) {
    *count = 0;
    return NULL;
}

void clistener_release_agent(struct clistener_agent *agent) {}
#endif

static int begin(int faults) {
    struct uffdio_api request = {
        .api = UFFD_API,
        .features = UFFD_FEATURE_EXACT_ADDRESS | UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMOVE |
                    UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_POISON | UFFD_FEATURE_PAGEFAULT_FLAG_WP,
    };
    return ioctl(faults, UFFDIO_API, &request);
}

int clistener_check_agents(void) {
#if defined(__x86_64__)
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device < 0) return -1;
    int faults = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    int result = faults < 0 ? -1 : begin(faults);
    int error = errno;
    close(device);
    if (faults >= 0) close(faults);
    errno = error;
    return result ? -1 : 0;
#else
    errno = ENOSYS;
    return -1;
#endif
}

int clistener_begin_faults(int faults) { return begin(faults) ? -errno : 0; }

int64_t clistener_command(int socket, long number, const uint64_t arguments[6]) {
    return send_command(socket, number, arguments) ? -EPIPE : receive_result(socket);
}

int clistener_read_events(int faults, struct clistener_event *events, int capacity) {
    struct uffd_msg messages[16];
    if (capacity > 16) capacity = 16;
    ssize_t count = read(faults, messages, sizeof *messages * (size_t)capacity);
    if (count < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
    int number = (int)((size_t)count / sizeof *messages);
    for (int i = 0; i < number; i++) {
        struct clistener_event event = {.kind = CLISTENER_OTHER, .file = -1};
        switch (messages[i].event) {
        case UFFD_EVENT_PAGEFAULT:
            event.kind = messages[i].arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP      ? CLISTENER_PROTECTED_STORE
                         : messages[i].arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE ? CLISTENER_STORE
                                                                                       : CLISTENER_LOAD;
            event.start = messages[i].arg.pagefault.address;
            event.thread = (int32_t)messages[i].arg.pagefault.feat.ptid;
            break;
        case UFFD_EVENT_FORK:
            event.kind = CLISTENER_FORK;
            event.file = (int)messages[i].arg.fork.ufd;
            fcntl(event.file, F_SETFD, FD_CLOEXEC);
            fcntl(event.file, F_SETFL, O_NONBLOCK);
            break;
        case UFFD_EVENT_REMOVE:
        case UFFD_EVENT_UNMAP:
            event.kind = messages[i].event == UFFD_EVENT_REMOVE ? CLISTENER_REMOVE : CLISTENER_UNMAP;
            event.start = messages[i].arg.remove.start;
            event.end = messages[i].arg.remove.end;
            break;
        }
        events[i] = event;
    }
    return number;
}

int clistener_register(int faults, uint64_t start, uint64_t length, int can_protect) {
    struct uffdio_register request = {
        .range = {start, length}, .mode = UFFDIO_REGISTER_MODE_MISSING | (can_protect ? UFFDIO_REGISTER_MODE_WP : 0)};
    return ioctl(faults, UFFDIO_REGISTER, &request) ? -errno : 0;
}

int clistener_unregister(int faults, uint64_t start, uint64_t length) {
    struct uffdio_range range = {start, length};
    return ioctl(faults, UFFDIO_UNREGISTER, &range) ? -errno : 0;
}

static int64_t copy(int faults, uint64_t start, const void *bytes, uint64_t length, uint64_t mode) {
    struct uffdio_copy request = {.dst = start, .src = (uint64_t)(uintptr_t)bytes, .len = length, .mode = mode};
    if (!ioctl(faults, UFFDIO_COPY, &request)) return (int64_t)length;
    return request.copy > 0 ? request.copy : -errno;
}

int64_t clistener_fill(int faults, uint64_t start, uint64_t length, int is_protected) {
    static const char zeros[1 << 20] __attribute__((aligned(4096)));
    return copy(faults, start, zeros, length < sizeof zeros ? length : sizeof zeros, is_protected ? UFFDIO_COPY_MODE_WP : 0);
}

int clistener_protect(int faults, uint64_t start, uint64_t length, int is_protected) {
    struct uffdio_writeprotect request = {.range = {start, length}, .mode = is_protected ? UFFDIO_WRITEPROTECT_MODE_WP : 0};
    return ioctl(faults, UFFDIO_WRITEPROTECT, &request) ? -errno : 0;
}

int64_t clistener_fill_mark(int faults, uint64_t mark) {
    uint64_t page[512] __attribute__((aligned(4096))) = {mark};
    return copy(faults, clistener_mark, page, sizeof page, 0);
}

int clistener_poison(int faults, uint64_t start, uint64_t length) {
    struct uffdio_poison request = {.range = {start, length}};
    return ioctl(faults, UFFDIO_POISON, &request) ? -errno : 0;
}

int clistener_open_page_map(int32_t process) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/pagemap", process);
    return open(path, O_RDONLY | O_CLOEXEC);
}

int clistener_stored(int page_map, uint64_t start, uint64_t end, uint64_t *bounds, int capacity) {
    struct page_region found[64];
    int count = 0;
    while (start < end) {
        int room = capacity - count < 64 ? capacity - count : 64;
        if (!room) return -ENOSPC;
        struct pm_scan_arg request = {
            .size = sizeof request,
            .start = start,
            .end = end,
            .vec = (uint64_t)(uintptr_t)found,
            .vec_len = (uint64_t)room,
            .category_mask = PAGE_IS_WRITTEN | PAGE_IS_PRESENT,
            .return_mask = PAGE_IS_WRITTEN,
        };
        int number = ioctl(page_map, PAGEMAP_SCAN, &request);
        if (number < 0) return -errno;
        for (int i = 0; i < number; i++, count++) {
            bounds[2 * count] = found[i].start;
            bounds[2 * count + 1] = found[i].end;
        }
        if (request.walk_end <= start) break;
        start = request.walk_end;
    }
    return count;
}

int clistener_shared(int page_map, int other, uint64_t start, uint64_t *end, uint64_t *bounds, int capacity) {
    // Documentation/admin-guide/mm/pagemap.rst
    const uint64_t present = 1ull << 63, swapped = 1ull << 62, protected = 1ull << 57, frame = (1ull << 55) - 1;
    uint64_t one[512], two[512];
    int count = 0;
    for (uint64_t position = start; position < *end;) {
        uint64_t pages = (*end - position) >> 12;
        size_t length = (pages < 512 ? pages : 512) * sizeof *one;
        if (!length) break;
        ssize_t got = pread(page_map, one, length, (off_t)((position >> 12) * sizeof *one));
        if (got > 0 && other >= 0) got = pread(other, two, (size_t)got, (off_t)((position >> 12) * sizeof *two));
        if (got <= 0) return got ? -errno : count;
        for (size_t i = 0; i < (size_t)got / sizeof *one; i++, position += 0x1000) {
            int is_meant = other < 0 ? one[i] & (present | swapped) && !(one[i] & protected)
                                     : one[i] & two[i] & present && one[i] & frame && !((one[i] ^ two[i]) & frame);
            if (!is_meant) continue;
            if (count && bounds[2 * count - 1] == position) {
                bounds[2 * count - 1] += 0x1000;
                continue;
            }
            if (count == capacity) {
                *end = position;
                return count;
            }
            bounds[2 * count] = position;
            bounds[2 * count + 1] = position + 0x1000;
            count++;
        }
    }
    return count;
}

int clistener_open_shared(int32_t process, uint64_t start, uint64_t end) {
    // As shmem_zero_setup() names it.
    static const char expected[] = "/dev/zero (deleted)";
    char path[96], name[sizeof expected];
    snprintf(path, sizeof path, "/proc/%d/map_files/%llx-%llx", process, (unsigned long long)start, (unsigned long long)end);
    // What is opened may do something, so the name comes first.
    if (readlink(path, name, sizeof name) != sizeof expected - 1 || memcmp(name, expected, sizeof expected - 1)) {
        errno = EINVAL;
        return -1;
    }
    int file = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return -1;
    struct stat status;
    struct statfs system;
    if (!fstat(file, &status) && S_ISREG(status.st_mode) && !status.st_nlink && !fstatfs(file, &system) &&
        system.f_type == TMPFS_MAGIC)
        return file;
    close(file);
    errno = EINVAL;
    return -1;
}

void clistener_punch(int file, uint64_t start, uint64_t length) {
    fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start, (off_t)length);
}

int clistener_find_hole(int file, uint64_t *start, uint64_t *end) {
    struct stat status;
    off_t hole = lseek(file, (off_t)*start, SEEK_HOLE);
    if (hole < 0 || fstat(file, &status) || hole >= status.st_size) return -1;
    off_t data = lseek(file, hole, SEEK_DATA);
    *start = (uint64_t)hole;
    *end = (uint64_t)(data < 0 ? status.st_size : data);
    return 0;
}

void clistener_wake(int faults, uint64_t start, uint64_t length) {
    struct uffdio_range range = {start, length};
    ioctl(faults, UFFDIO_WAKE, &range);
}

int clistener_has_ended(int faults) {
    // Addresses that are never registered: who still has them says ENOENT.
    struct uffdio_zeropage request = {.range = {clistener_agent_start, 0x1000}};
    return ioctl(faults, UFFDIO_ZEROPAGE, &request) && errno == ESRCH;
}

int clistener_watch_end(int32_t process) { return (int)syscall(SYS_pidfd_open, process, 0); }

int32_t clistener_own_thread(void) { return (int32_t)syscall(SYS_gettid); }

int clistener_make_poll(void) { return epoll_create1(EPOLL_CLOEXEC); }

int clistener_add_to_poll(int poll, int file, uint64_t token) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = token};
    return epoll_ctl(poll, EPOLL_CTL_ADD, file, &event);
}

int clistener_remove_from_poll(int poll, int file) { return epoll_ctl(poll, EPOLL_CTL_DEL, file, NULL); }

int clistener_poll(int poll, uint64_t *tokens, int capacity, int milliseconds, int is_soon) {
    struct epoll_event events[16];
    if (is_soon) wait_soon(&(struct pollfd){.fd = poll, .events = POLLIN}, 1);
    int count = epoll_wait(poll, events, capacity < 16 ? capacity : 16, milliseconds);
    if (count < 0) return 0;
    for (int i = 0; i < count; i++) tokens[i] = events[i].data.u64;
    return count;
}
