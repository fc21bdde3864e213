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

int clistener_find_calls(int32_t task, uint64_t start, uint64_t end, struct clistener_place *places, int capacity) {
    int count = 0;
#if defined(__x86_64__)
    // One byte before mov $number, %eax, and syscall: a prefix there makes it another register's.
    enum { LENGTH = 8 };
    unsigned char bytes[0x10000];
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", task);
    int text = open(path, O_RDONLY | O_CLOEXEC);
    if (text < 0) return -1;
    for (uint64_t from = start; from < end && end - from >= LENGTH;) {
        size_t wanted = end - from < sizeof bytes ? (size_t)(end - from) : sizeof bytes;
        ssize_t length = pread(text, bytes, wanted, (off_t)from);
        if (length < LENGTH) {
            count = -1;
            break;
        }
        const unsigned char *at = bytes, *last = bytes + length;
        while (count < capacity && (at = memmem(at, (size_t)(last - at), "\x0f\x05", 2))) {
            at += 2;
            if (at - bytes < LENGTH || at[-7] != 0xb8 || (at[-8] & 0xf0) == 0x40) continue;
            int32_t number;
            memcpy(&number, at - 6, sizeof number);
            if (number == CLISTENER_BRK || number == CLISTENER_MMAP || number == CLISTENER_MREMAP)
                places[count++] = (struct clistener_place){number, from + (uint64_t)(at - bytes)};
        }
        if (count == capacity) break;
        // What lies across the end is found in the next part.
        from += (uint64_t)length - (LENGTH - 1);
    }
    close(text);
#endif
    return count;
}
