#define _GNU_SOURCE
#include "clients.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { huge = 2 << 20 };

static sigjmp_buf way_out;

static void leave(int number) {
    (void)number;
    siglongjmp(way_out, 1);
}

// A page that a server cannot give ends a sample, not the run: between these two, SIGBUS makes the function return EFAULT.
#define BEGIN_TOUCHING                                                                                                 \
    struct sigaction before, during = {.sa_handler = leave};                                                           \
    sigaction(SIGBUS, &during, &before);                                                                               \
    if (sigsetjmp(way_out, 1)) {                                                                                       \
        sigaction(SIGBUS, &before, NULL);                                                                              \
        return EFAULT;                                                                                                 \
    }
#define END_TOUCHING sigaction(SIGBUS, &before, NULL)

// Addresses for a mapping, a multiple of 2 MiB.
static void *reserve(size_t bytes) {
    char *start = mmap(NULL, bytes + huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED)
        return MAP_FAILED;
    size_t before = (huge - (uintptr_t)start % huge) % huge;
    if (before)
        munmap(start, before);
    munmap(start + before + bytes, huge - before);
    return start + before;
}

int clients_map(const char *path, size_t bytes, void **mapped, double *seconds) {
    double start = now();
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    struct stat status;
    int error = fstat(fd, &status) == 0 ? 0 : errno;
    if (!error && (size_t)status.st_size < bytes && ftruncate(fd, (off_t)bytes) != 0)
        error = errno;
    void *place = error ? MAP_FAILED : reserve(bytes);
    if (!error && place == MAP_FAILED)
        error = errno;
    if (!error && mmap(place, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
        error = errno;
        munmap(place, bytes);
    }
    close(fd);
    *mapped = error ? NULL : place;
    *seconds = now() - start;
    return error;
}

void clients_unmap(void *mapped, size_t bytes) { munmap(mapped, bytes); }

static size_t *order_of(size_t count, int is_random) {
    size_t *order = malloc(count * sizeof *order);
    if (!order)
        return NULL;
    for (size_t i = 0; i < count; i++)
        order[i] = i;
    uint64_t state = seed;
    for (size_t i = count; is_random && i > 1; i--) {
        size_t other = next_random(&state) % i;
        size_t moved = order[i - 1];
        order[i - 1] = order[other];
        order[other] = moved;
    }
    return order;
}

int clients_touch(void *mapped, size_t bytes, size_t block, long count, unsigned kind, double *seconds) {
    size_t blocks = bytes / block;
    int is_random = (kind & clients_at_random) != 0;
    size_t *order = order_of(blocks, is_random);
    if (!order)
        return ENOMEM;
    if (is_random && block == page)
        madvise(mapped, bytes, MADV_RANDOM);
    BEGIN_TOUCHING
    double start = now();
    for (size_t i = 0; i < (size_t)count && i < blocks; i++) {
        char *at = (char *)mapped + order[i] * block;
        for (size_t offset = 0; offset < block; offset += page) {
            volatile uint64_t *word = (volatile uint64_t *)(at + offset);
            if (kind & clients_loading)
                (void)*word;
            else
                *word = order[i] + 1;
        }
    }
    *seconds = now() - start;
    END_TOUCHING;
    free(order);
    return 0;
}

static void fill(uint64_t *words, size_t count, uint64_t value) {
    for (size_t i = 0; i < count; i++)
        words[i] = value + i;
    // The stores happen, all of them, before the next pass.
    __asm__ volatile("" : : "r"(words) : "memory");
}

int clients_store(void *mapped, size_t bytes, long passes, double budget, double *rate) {
    BEGIN_TOUCHING
    long done = 0;
    double start = now(), seconds;
    do {
        fill(mapped, bytes / sizeof(uint64_t), (uint64_t)done++);
        seconds = now() - start;
    } while (passes ? done < passes : seconds < budget);
    *rate = (double)bytes * (double)done / seconds;
    END_TOUCHING;
    return 0;
}

int clients_stride(void *mapped, size_t bytes, double budget, double *seconds) {
    size_t pages = bytes / page;
    BEGIN_TOUCHING
    long done = 0;
    double start = now(), passed;
    do {
        for (size_t i = 0; i < pages; i++)
            ((volatile uint64_t *)((char *)mapped + i * page))[i % 64 * 8] = (uint64_t)done;
        done++;
        passed = now() - start;
    } while (passed < budget);
    *seconds = passed / ((double)pages * (double)done);
    END_TOUCHING;
    return 0;
}

int clients_load(void *mapped, size_t bytes, double budget, double *rate) {
    const uint64_t *words = mapped;
    BEGIN_TOUCHING
    long done = 0;
    double start = now(), seconds;
    do {
        uint64_t sum = 0;
        for (size_t i = 0; i < bytes / sizeof *words; i++)
            sum += words[i];
        __asm__ volatile("" : : "r"(sum) : "memory");
        done++;
        seconds = now() - start;
    } while (seconds < budget);
    *rate = (double)bytes * (double)done / seconds;
    END_TOUCHING;
    return 0;
}

int clients_hop(void *mapped, size_t bytes, long count, int is_storing, double *seconds) {
    struct line {
        uint64_t words[8];
    } *lines = mapped;
    BEGIN_TOUCHING
    uint64_t state = seed;
    double start = now();
    for (long i = 0; i < count; i++) {
        struct line *line = &lines[next_random(&state) % (bytes / sizeof *lines)];
        uint64_t sum = 0;
        for (int word = 0; word < 8; word++)
            sum += line->words[word];
        // The same lines hold the same in every file, so all of them are gone through in one order.
        if (is_storing)
            line->words[1] += 1;
        state += sum;
        state |= state == 0;
    }
    *seconds = now() - start;
    END_TOUCHING;
    return 0;
}

int clients_sync(void *mapped, size_t bytes, double *seconds) {
    double start = now();
    int error = msync(mapped, bytes, MS_SYNC) == 0 ? 0 : errno;
    *seconds = now() - start;
    return error;
}

int clients_copy(size_t bytes, double *seconds) {
    static int files[2];
    static void *memory[2];
    static size_t size;
    if (size != bytes) {
        for (int i = 0; i < 2; i++) {
            files[i] = memfd_create("copy", MFD_CLOEXEC);
            if (files[i] < 0 || ftruncate(files[i], (off_t)bytes) != 0)
                return errno;
            memory[i] = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, files[i], 0);
            if (memory[i] == MAP_FAILED)
                return errno;
        }
        fill(memory[0], bytes / sizeof(uint64_t), 1);
        size = bytes;
    }
    if (fallocate(files[1], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) != 0)
        return errno;
    double start = now();
    __builtin_memcpy(memory[1], memory[0], bytes);
    __asm__ volatile("" : : "r"(memory[1]) : "memory");
    *seconds = now() - start;
    return 0;
}

int clients_warm(size_t bytes) {
    char *memory = reserve(bytes);
    if (memory == MAP_FAILED)
        return errno;
    if (mprotect(memory, bytes, PROT_READ | PROT_WRITE) != 0) {
        int error = errno;
        munmap(memory, bytes);
        return error;
    }
    madvise(memory, bytes, MADV_HUGEPAGE);
    for (size_t at = 0; at < bytes; at += page)
        ((volatile char *)memory)[at] = 1;
    munmap(memory, bytes);
    return 0;
}
