#ifndef SUPPORT_H
#define SUPPORT_H

#include <stdint.h>
#include <time.h>

enum { page = 4096 };

static inline double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/// xorshift64; `state` is never 0.
static inline uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static const uint64_t seed = 0x9e3779b97f4a7c15;

#endif
