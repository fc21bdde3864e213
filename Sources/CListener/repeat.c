#define _GNU_SOURCE
#include "cagent.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// The bytes of a 32-bit number.
#define BYTES(number)                                                                                                                 \
    (unsigned char)(number), (unsigned char)((uint32_t)(number) >> 8), (unsigned char)((uint32_t)(number) >> 16),                      \
        (unsigned char)((uint32_t)(number) >> 24)

// How far a jump goes, from behind its instruction. Whether it can be so far.
static int reaches(uint64_t from, uint64_t to, int32_t *distance) {
    int64_t far = (int64_t)(to - from);
    *distance = (int32_t)far;
    return *distance == far;
}

int clistener_repeat(int listener, const struct clistener_call *call, uint64_t place) {
#if defined(__x86_64__)
    const unsigned char before[] = {0xb8, BYTES(call->number), 0x0f, 0x05}; // mov $number, %eax; syscall
    unsigned char there[sizeof before];
    uint64_t start = call->instruction - sizeof before;
    int32_t back, forth;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", call->task);
    int text = open(path, O_RDWR | O_CLOEXEC);
    int is_done = text >= 0 && pread(text, there, sizeof there, (off_t)start) == sizeof there &&
                  !memcmp(there, before, sizeof before) && reaches(place + 18, call->instruction, &back) &&
                  reaches(start + 5, place, &forth);
    if (is_done) {
        const unsigned char code[CLISTENER_REPEAT_LENGTH] = {
            0xb8, BYTES(call->number), // 0: mov $number, %eax
            0x0f, 0x05,                // syscall
            0x48, 0x83, 0xf8, -EINTR,  // cmp $-EINTR, %rax
            0x74, 0xf3,                // je 0
            0xe9, BYTES(back),         // jmp behind the call
        };
        // What a signal has the kernel repeat is the system call, which stays.
        const unsigned char jump[] = {0xe9, BYTES(forth)};
        is_done = pwrite(text, code, sizeof code, (off_t)place) == sizeof code && clistener_is_waiting(listener, call->id) &&
                  pwrite(text, jump, sizeof jump, (off_t)start) == sizeof jump;
    }
    if (text >= 0) close(text);
    return is_done ? 0 : -1;
#else
    errno = ENOSYS;
    return -1;
#endif
}
