#ifndef CDMFS_CURING_H
#define CDMFS_CURING_H

// An io_uring that carries FUSE (Linux 6.14), by liburing. Behind functions: Swift has a linux/io_uring.h of another age already,
// and half of liburing is inline.

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

// struct fuse_uring_req_header, younger than many a linux/fuse.h: what kernel and daemon share of an entry beside its payload.
struct curing_header {
    char in_out[128]; // struct fuse_in_header, then struct fuse_out_header
    char operation[128]; // what follows the header in a request of this operation
    uint64_t flags;
    uint64_t commit_id;
    uint32_t payload_size; // of the request, then of the answer
    uint32_t padding;
    uint64_t reserved;
};

enum {
    CURING_REGISTER = 1, // FUSE_IO_URING_CMD_REGISTER
    CURING_COMMIT_AND_FETCH = 2, // FUSE_IO_URING_CMD_COMMIT_AND_FETCH
};

struct curing;

/// Makes a ring, which one thread uses at a time. 0, or a negated errno.
int curing_open(struct curing **ring, unsigned entries);

/// Ends a ring: what it has in the kernel is given up.
void curing_close(struct curing *ring);

/// Queues a command of FUSE; `vectors` are the header and the payload of an entry that is registered. False: the ring is full.
bool curing_push_command(struct curing *ring, int device, unsigned command, unsigned queue, uint64_t commit_id,
                         const struct iovec *vectors, uint64_t data);

/// Queues a read(2) of an eventfd.
bool curing_push_read(struct curing *ring, int event, uint64_t *value, uint64_t data);

/// Gives the kernel what is queued, and waits until `count` have completed. A negated errno, or how many it took.
int curing_submit(struct curing *ring, unsigned count);

/// Takes what has completed next; false where nothing has.
bool curing_pop(struct curing *ring, uint64_t *data, int *result);

#endif
