#include "curing.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// A ring that is mapped from its file keeps that file for as long as there is the address space, and so the connection in being
// for as long as a killed daemon has one thread that waits for an answer of its own mount: for ever. So the memory is ours
// (IORING_SETUP_NO_MMAP, Linux 6.5), which liburing can only from 2.5 on.

enum { no_mmap = 1u << 14, sqe_size = 128, cqe_size = 16, page = 4096 };

struct curing {
    struct io_uring ring;
    char *memory;
    size_t size;
};

// The last field of io_sqring_offsets and io_cqring_offsets, called resv2 before it was user_addr.
static void set_address(void *offsets, size_t size, const void *address) {
    uint64_t value = (uint64_t)(uintptr_t)address;
    memcpy((char *)offsets + size - sizeof value, &value, sizeof value);
}

static unsigned power_of_two(unsigned number) {
    unsigned power = 1;
    while (power < number)
        power <<= 1;
    return power;
}

// As io_uring_queue_mmap() does.
static void find_fields(struct curing *ring, const struct io_uring_params *params, void *sqes, char *rings) {
    struct io_uring_sq *sq = &ring->ring.sq;
    sq->khead = (unsigned *)(rings + params->sq_off.head);
    sq->ktail = (unsigned *)(rings + params->sq_off.tail);
    sq->kflags = (unsigned *)(rings + params->sq_off.flags);
    sq->kdropped = (unsigned *)(rings + params->sq_off.dropped);
    sq->array = (unsigned *)(rings + params->sq_off.array);
    sq->ring_mask = *(unsigned *)(rings + params->sq_off.ring_mask);
    sq->ring_entries = *(unsigned *)(rings + params->sq_off.ring_entries);
    sq->sqes = sqes;
    for (unsigned index = 0; index < sq->ring_entries; index++)
        sq->array[index] = index;
    struct io_uring_cq *cq = &ring->ring.cq;
    cq->khead = (unsigned *)(rings + params->cq_off.head);
    cq->ktail = (unsigned *)(rings + params->cq_off.tail);
    cq->kflags = (unsigned *)(rings + params->cq_off.flags);
    cq->koverflow = (unsigned *)(rings + params->cq_off.overflow);
    cq->cqes = (struct io_uring_cqe *)(rings + params->cq_off.cqes);
    cq->ring_mask = *(unsigned *)(rings + params->cq_off.ring_mask);
    cq->ring_entries = *(unsigned *)(rings + params->cq_off.ring_entries);
    ring->ring.flags = params->flags;
    ring->ring.features = params->features;
}

int curing_open(struct curing **out, unsigned entries) {
    struct curing *ring = calloc(1, sizeof *ring);
    if (!ring)
        return -ENOMEM;
    entries = power_of_two(entries);
    size_t sqes = ((size_t)entries * sqe_size + page - 1) & ~(size_t)(page - 1);
    // Twice as many completions, the array of indices, and one page for the heads and tails.
    size_t rings = ((size_t)entries * (2 * cqe_size + sizeof(unsigned)) + 2 * page - 1) & ~(size_t)(page - 1);
    ring->size = sqes + rings;
    ring->memory = mmap(NULL, ring->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    int error = ENOMEM;
    if (ring->memory != MAP_FAILED) {
        struct io_uring_params params;
        memset(&params, 0, sizeof params);
        params.flags = IORING_SETUP_SQE128 | no_mmap;
        set_address(&params.sq_off, sizeof params.sq_off, ring->memory);
        set_address(&params.cq_off, sizeof params.cq_off, ring->memory + sqes);
        int fd = (int)syscall(SYS_io_uring_setup, entries, &params);
        if (fd >= 0) {
            ring->ring.ring_fd = ring->ring.enter_ring_fd = fd;
            find_fields(ring, &params, ring->memory, ring->memory + sqes);
            *out = ring;
            return 0;
        }
        error = errno;
        munmap(ring->memory, ring->size);
    }
    free(ring);
    return -error;
}

void curing_close(struct curing *ring) {
    close(ring->ring.ring_fd);
    munmap(ring->memory, ring->size);
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
