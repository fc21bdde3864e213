#include "curing.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

struct curing {
    struct io_uring ring;
};

int curing_open(struct curing **out, unsigned entries) {
    struct curing *ring = calloc(1, sizeof *ring);
    if (!ring)
        return -ENOMEM;
    int error = io_uring_queue_init(entries, &ring->ring, IORING_SETUP_SQE128);
    if (error < 0) {
        free(ring);
        return error;
    }
    *out = ring;
    return 0;
}

void curing_close(struct curing *ring) {
    io_uring_queue_exit(&ring->ring);
    free(ring);
}

static struct io_uring_sqe *next_sqe(struct io_uring *ring) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    if (!sqe && io_uring_submit(ring) >= 0)
        sqe = io_uring_get_sqe(ring);
    if (sqe)
        memset(sqe, 0, 128);
    return sqe;
}

bool curing_push_command(struct curing *ring, int device, unsigned command, unsigned queue, uint64_t commit_id,
                         const struct iovec *vectors, uint64_t data) {
    // struct fuse_uring_cmd_req
    const struct {
        uint64_t flags, commit_id;
        uint16_t queue;
        uint8_t padding[6];
    } request = {.commit_id = commit_id, .queue = (uint16_t)queue};
    struct io_uring_sqe *sqe = next_sqe(&ring->ring);
    if (!sqe)
        return false;
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = device;
    sqe->off = command; // cmd_op, and padding
    sqe->addr = (uint64_t)(uintptr_t)vectors;
    sqe->len = vectors ? 2 : 0;
    sqe->user_data = data;
    memcpy(sqe->cmd, &request, sizeof request);
    return true;
}

bool curing_push_read(struct curing *ring, int event, uint64_t *value, uint64_t data) {
    struct io_uring_sqe *sqe = next_sqe(&ring->ring);
    if (!sqe)
        return false;
    io_uring_prep_read(sqe, event, value, sizeof *value, 0);
    sqe->user_data = data;
    return true;
}

int curing_submit(struct curing *ring, unsigned count) {
    return count ? io_uring_submit_and_wait(&ring->ring, count) : io_uring_submit(&ring->ring);
}

bool curing_pop(struct curing *ring, uint64_t *data, int *result) {
    struct io_uring_cqe *cqe = NULL;
    if (io_uring_peek_cqe(&ring->ring, &cqe) != 0 || !cqe)
        return false;
    *data = cqe->user_data;
    *result = cqe->res;
    io_uring_cqe_seen(&ring->ring, cqe);
    return true;
}
