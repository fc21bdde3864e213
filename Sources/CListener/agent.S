// Code that runs in the address spaces of programs: it makes a task there that executes system calls for the server, its agent.
//
// The server has written a few instructions over the text behind a system call of the program (clistener_inject()). They have mapped
// this page at CODE and jumped to its start, with the descriptor of the memory in r8d and the registers of the system call on the
// stack. The program's own thread then puts its text in order again, makes the agent, waits for it, and repeats its call. It does all
// that by itself, so that the end of another process cannot leave it half done.

#if defined(__x86_64__)
#include "agent.h"

#define NUMBER_READ 0
#define NUMBER_WRITE 1
#define NUMBER_CLOSE 3
#define NUMBER_MMAP 9
#define NUMBER_MPROTECT 10
#define NUMBER_RT_SIGPROCMASK 14
#define NUMBER_IOCTL 16
#define NUMBER_MADVISE 28
#define NUMBER_SENDMSG 46
#define NUMBER_CLONE 56
#define NUMBER_EXIT 60
#define NUMBER_WAIT4 61
#define NUMBER_CHDIR 80
#define NUMBER_SETSID 112
#define NUMBER_PRCTL 157
#define NUMBER_FUTEX 202
#define NUMBER_EXIT_GROUP 231
#define NUMBER_CLOSE_RANGE 436

// Makes the agent; the caller goes on with what clone(2) returns in eax.
.macro clone_agent
    mov $0x01a00100, %edi               // CLONE_CHILD_SETTID | CLONE_UNTRACED | CLONE_CHILD_CLEARTID | CLONE_VM
    lea 0x1000(%rbp), %rsi
    xor %edx, %edx
    lea AGENT_WAITS(%rbp), %r10
    xor %r8d, %r8d
    mov $NUMBER_CLONE, %eax
    syscall
    test %eax, %eax
    jz agent
.endm

    .section .rodata
    .balign 16
    .globl clistener_agent_code
    .hidden clistener_agent_code
    .globl clistener_agent_code_end
    .hidden clistener_agent_code_end
clistener_agent_code:
    push %rbx
    push %rbp
    mov %r8d, %ebx

    // The data that the server has prepared.
    movabs $AGENT_DATA, %rdi
    mov $0x1000, %esi
    mov $3, %edx                        // PROT_READ | PROT_WRITE
    mov $0x11, %r10d                    // MAP_SHARED | MAP_FIXED
    mov $0x1000, %r9d
    mov $NUMBER_MMAP, %eax
    syscall
    movabs $AGENT_DATA, %rbp

    // The text as it was.
    mov AGENT_TEXT_PAGE(%rbp), %rdi
    mov AGENT_TEXT_LENGTH(%rbp), %rsi
    mov $7, %edx                        // PROT_READ | PROT_WRITE | PROT_EXEC
    mov $NUMBER_MPROTECT, %eax
    syscall
    test %eax, %eax
    jnz 1f
    lea AGENT_SAVED(%rbp), %rsi
    mov AGENT_TEXT(%rbp), %rdi
    mov $AGENT_STUB_LENGTH, %ecx
    rep movsb
    mov AGENT_TEXT_PAGE(%rbp), %rdi
    mov AGENT_TEXT_LENGTH(%rbp), %rsi
    mov AGENT_TEXT_PROTECTION(%rbp), %edx
    mov $NUMBER_MPROTECT, %eax
    syscall
1:
    // A page that tells address spaces apart, and is empty in one that a fork has made. There it stays as it is: a process that shares
    // the address space and makes a call meanwhile is to find the mark.
    cmpl $0, AGENT_IS_MARKED(%rbp)
    jne 10f
    movabs $AGENT_MARK, %rdi
    mov $0x1000, %esi
    mov $1, %edx                        // PROT_READ
    mov $0x32, %r10d                    // MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
    mov $-1, %r8
    xor %r9d, %r9d
    mov $NUMBER_MMAP, %eax
    syscall
    movabs $AGENT_MARK, %rdi
    mov $0x1000, %esi
    mov $18, %edx                       // MADV_WIPEONFORK
    mov $NUMBER_MADVISE, %eax
    syscall
10:
    // No handler of the program runs in the agent.
    xor %edi, %edi                      // SIG_BLOCK
    lea AGENT_ALL_SIGNALS(%rbp), %rsi
    lea AGENT_OLD_SIGNALS(%rbp), %rdx
    mov $8, %r10d
    mov $NUMBER_RT_SIGPROCMASK, %eax
    syscall

    // A helper that makes the agent and ends: so the agent has no parent here. In the first process of a PID namespace it would be one
    // that wait(2) waits for, as everybody's there whose parent has ended; a child that sends no signal at its end is none of these.
    cmpl $0, AGENT_IS_FIRST(%rbp)
    jne first
    mov $0x00800100, %edi               // CLONE_UNTRACED | CLONE_VM
    lea 0x1000(%rbp), %rsi
    xor %edx, %edx
    xor %r10d, %r10d
    xor %r8d, %r8d
    mov $NUMBER_CLONE, %eax
    syscall
    test %eax, %eax
    jz helper
    js 2f
    mov %eax, %edi
    xor %esi, %esi
    mov $0x40000000, %edx               // __WALL
    xor %r10d, %r10d
    mov $NUMBER_WAIT4, %eax
    syscall
    jmp 3f
2:
    movl $0, AGENT_WAITS(%rbp)
3:
    mov %ebx, %edi
    mov $NUMBER_CLOSE, %eax
    syscall
    mov AGENT_DEVICE(%rbp), %edi
    mov $NUMBER_CLOSE, %eax
    syscall
    mov AGENT_SOCKET(%rbp), %edi
    mov $NUMBER_CLOSE, %eax
    syscall
    // Until the server is ready, or the agent has ended.
4:
    mov AGENT_WAITS(%rbp), %edx
    test %edx, %edx
    jz 5f
    lea AGENT_WAITS(%rbp), %rdi
    xor %esi, %esi                      // FUTEX_WAIT
    xor %r10d, %r10d
    mov $NUMBER_FUTEX, %eax
    syscall
    jmp 4b
5:
    mov $2, %edi                        // SIG_SETMASK
    lea AGENT_OLD_SIGNALS(%rbp), %rsi
    xor %edx, %edx
    mov $8, %r10d
    mov $NUMBER_RT_SIGPROCMASK, %eax
    syscall
    mov AGENT_RESUME(%rbp), %rcx
    mov AGENT_NUMBER(%rbp), %rax
    pop %rbp
    pop %rbx
    pop %r9
    pop %r8
    pop %r10
    pop %rdx
    pop %rsi
    pop %rdi
    lea 256(%rsp), %rsp
    jmp *%rcx

first:
    clone_agent
    js 2b
    jmp 3b

helper:
    clone_agent
    jns 6f
    movl $0, AGENT_WAITS(%rbp)
6:
    xor %edi, %edi
    mov $NUMBER_EXIT, %eax
    syscall

agent:
    mov $NUMBER_SETSID, %eax
    syscall
    mov $15, %edi                       // PR_SET_NAME
    lea AGENT_NAME(%rbp), %rsi
    mov $NUMBER_PRCTL, %eax
    syscall
    lea AGENT_ROOT(%rbp), %rdi
    mov $NUMBER_CHDIR, %eax
    syscall
    mov AGENT_DEVICE(%rbp), %edi
    mov $0xaa00, %esi                   // USERFAULTFD_IOC_NEW
    mov $0x80800, %edx                  // O_CLOEXEC | O_NONBLOCK
    mov $NUMBER_IOCTL, %eax
    syscall
    mov %eax, AGENT_FAULTS(%rbp)
    mov AGENT_SOCKET(%rbp), %edi
    lea AGENT_MESSAGE(%rbp), %rsi
    mov $0x4000, %edx                   // MSG_NOSIGNAL
    mov $NUMBER_SENDMSG, %eax
    syscall
    cmp $1, %rax
    jne 9f
    // What the program had open is open no longer than there.
    mov AGENT_SOCKET(%rbp), %esi
    sub $1, %esi
    js 7f
    xor %edi, %edi
    xor %edx, %edx
    mov $NUMBER_CLOSE_RANGE, %eax
    syscall
7:
    mov AGENT_SOCKET(%rbp), %edi
    add $1, %edi
    mov $-1, %esi
    xor %edx, %edx
    mov $NUMBER_CLOSE_RANGE, %eax
    syscall
8:
    mov AGENT_SOCKET(%rbp), %edi
    lea AGENT_COMMAND(%rbp), %rsi
    mov $56, %edx
    mov $NUMBER_READ, %eax
    syscall
    cmp $56, %rax
    jne 9f
    mov AGENT_COMMAND+8(%rbp), %rdi
    mov AGENT_COMMAND+16(%rbp), %rsi
    mov AGENT_COMMAND+24(%rbp), %rdx
    mov AGENT_COMMAND+32(%rbp), %r10
    mov AGENT_COMMAND+40(%rbp), %r8
    mov AGENT_COMMAND+48(%rbp), %r9
    mov AGENT_COMMAND(%rbp), %rax
    syscall
    mov %rax, AGENT_RESULT(%rbp)
    mov AGENT_SOCKET(%rbp), %edi
    lea AGENT_RESULT(%rbp), %rsi
    mov $8, %edx
    mov $NUMBER_WRITE, %eax
    syscall
    cmp $8, %rax
    je 8b
9:
    xor %edi, %edi
    mov $NUMBER_EXIT_GROUP, %eax
    syscall
    ud2
clistener_agent_code_end:
#endif
    .section .note.GNU-stack,"",%progbits
