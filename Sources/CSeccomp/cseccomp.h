#ifndef CDMFS_CSECCOMP_H
#define CDMFS_CSECCOMP_H

// libseccomp, and functions for what Swift cannot import: macros with arguments or casts.

// First, so that what the headers include from glibc stays Glibc's in Swift's eyes.
#if __has_include(<SwiftGlibc.h>)
#include <SwiftGlibc.h>
#endif

#include <errno.h>
#include <seccomp.h>
#include <stdint.h>

static inline uint32_t cseccomp_allow(void) { return SCMP_ACT_ALLOW; }
static inline uint32_t cseccomp_refuse(void) { return SCMP_ACT_ERRNO(ENOSYS); }
static inline uint32_t cseccomp_kill(void) { return SCMP_ACT_KILL_PROCESS; }

// Adds a rule for a call whose argument has `value` in the bits of `mask`. 0, or a negated errno.
static inline int cseccomp_add_masked(
    scmp_filter_ctx filter, uint32_t action, int call, unsigned int argument, uint64_t mask, uint64_t value) {
    return seccomp_rule_add(filter, action, call, 1, SCMP_CMP64(argument, SCMP_CMP_MASKED_EQ, mask, value));
}

#endif
