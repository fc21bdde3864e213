// What calls return.
#ifndef EXPECT_H
#define EXPECT_H

#include "client.h"

static inline void expect(const char *what, long value, long expected) {
    errno = 0;
    if (value != expected) fail("%s: %ld, not %ld", what, value, expected);
}

static inline void expect_error(const char *what, long value, int error) {
    int found = errno;
    if (value != -1 || found != error) fail("%s: %ld and errno %d, not %d", what, value, found, error);
}

#endif
