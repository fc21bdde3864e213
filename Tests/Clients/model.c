// model THREADS STEPS SEED: random programs beside a model of their pages, in a `cdmfs run` of a machine with CPUs at node 0, the nodes 0
// and 1, and a fault_around of one page.
//
// The threads share an address space. Each maps, loads, stores, gives policies, moves, forks and unmaps in mappings of its own. After each step
// every page of the mapping has the node and the byte that the model has; `ok`.
#include "client.h"
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { LIMIT = 48, SLOTS = 6 };

struct policy {
    int mode;
    unsigned long nodes;
};

struct page {
    struct policy policy;
    // -ENOENT before the first touch, -EFAULT for a page of zeros, before the first store; where an interleaved one may be on several nodes,
    // what it was found on.
    int node;
    char byte;
};

struct mapping {
    char *start;
    int count;
    struct page pages[LIMIT];
};

struct thread {
    unsigned seed;
    long steps;
    struct policy policy;
    struct mapping mappings[SLOTS];
};

static __thread const char *step = "begin";
// The policy that a fork hands down is that of the first thread.
static __thread int is_first;

static int below(struct thread *thread, int limit) { return rand_r(&thread->seed) % limit; }

static struct policy draw(struct thread *thread) {
    static const struct policy all[] = {
        {MPOL_DEFAULT, 0}, {MPOL_BIND, 1},      {MPOL_BIND, 2},      {MPOL_BIND, 3},
        {MPOL_PREFERRED, 1}, {MPOL_PREFERRED, 2}, {MPOL_INTERLEAVE, 3}, {MPOL_LOCAL, 0},
    };
    return all[below(thread, sizeof all / sizeof *all)];
}

// The nodes where the first store puts a page.
static unsigned long places(struct thread *thread, const struct page *page) {
    struct policy policy = page->policy.mode == MPOL_DEFAULT ? thread->policy : page->policy;
    switch (policy.mode) {
    case MPOL_DEFAULT:
    case MPOL_LOCAL: return 1;
    // The nearest one to the CPU.
    case MPOL_BIND: return policy.nodes & 1 ? 1 : policy.nodes;
    default: return policy.nodes;
    }
}

static void check(struct mapping *mapping) {
    void *addresses[LIMIT];
    int nodes[LIMIT];
    for (int i = 0; i < mapping->count; i++) addresses[i] = mapping->start + i * PAGE;
    if (syscall(SYS_move_pages, 0, (unsigned long)mapping->count, addresses, NULL, nodes, 0)) fail("%s: move_pages", step);
    for (int i = 0; i < mapping->count; i++) {
        struct page *page = mapping->pages + i;
        errno = 0;
        if (nodes[i] != page->node)
            fail("%s: page %d of %d is on node %d, not %d (policy %d %lx)", step, i, mapping->count, nodes[i], page->node,
                 page->policy.mode, page->policy.nodes);
        if (page->node != -ENOENT && mapping->start[i * PAGE] != page->byte)
            fail("%s: page %d has %d, not %d", step, i, mapping->start[i * PAGE], page->byte);
    }
}

// Notes where the policy has put a page, which is to be where it may.
static void find(struct thread *thread, struct mapping *mapping, int i) {
    struct page *page = mapping->pages + i;
    unsigned long allowed = places(thread, page);
    int before = page->node;
    void *address = mapping->start + i * PAGE;
    if (syscall(SYS_move_pages, 0, 1UL, &address, NULL, &page->node, 0)) fail("%s: move_pages", step);
    errno = 0;
    if (page->node < 0 || !(allowed >> page->node & 1))
        fail("%s: page %d of %d, before %d, is on node %d, not one of %lx (policy %d %lx, thread's %d %lx)", step, i, mapping->count,
             before, page->node, allowed, page->policy.mode, page->policy.nodes, thread->policy.mode, thread->policy.nodes);
}

static void store(struct thread *thread, struct mapping *mapping, int first, int end) {
    char byte = (char)below(thread, 256);
    for (int i = first; i < end; i++) {
        struct page *page = mapping->pages + i;
        mapping->start[i * PAGE] = page->byte = byte;
        if (page->node < 0) find(thread, mapping, i);
    }
}

static void load(struct mapping *mapping, int first, int end) {
    for (int i = first; i < end; i++) {
        struct page *page = mapping->pages + i;
        if (page->node == -ENOENT) page->node = -EFAULT, page->byte = 0;
        if (((volatile char *)mapping->start)[i * PAGE] != page->byte) fail("%s: page %d is not %d", step, i, page->byte);
    }
}

static void bind_to(struct thread *thread, struct mapping *mapping, int first, int end) {
    struct policy policy = draw(thread);
    unsigned flags = below(thread, 2) ? MPOL_MF_MOVE : 0;
    if (syscall(SYS_mbind, mapping->start + first * PAGE, (end - first) * PAGE, policy.mode, &policy.nodes, 64UL, flags))
        fail("%s: mbind", step);
    for (int i = first; i < end; i++) {
        struct page *page = mapping->pages + i;
        page->policy = policy;
        // Pages outside the nodes that the policy names move to where it puts them (queue_pages_range()).
        if (flags && page->node >= 0 && !(policy.nodes >> page->node & 1)) find(thread, mapping, i);
    }
}

static void move(struct thread *thread, struct mapping *mapping, int first, int end) {
    void *addresses[LIMIT];
    int targets[LIMIT], status[LIMIT], count = 0;
    for (int i = first; i < end; i++, count++) {
        addresses[count] = mapping->start + i * PAGE;
        targets[count] = below(thread, 2);
    }
    if (syscall(SYS_move_pages, 0, (unsigned long)count, addresses, targets, status, MPOL_MF_MOVE) < 0) fail("%s: move_pages", step);
    for (int i = 0; i < count; i++) {
        struct page *page = mapping->pages + first + i;
        int expected = page->node < 0 ? page->node : targets[i];
        errno = 0;
        if (status[i] != expected) fail("%s: page %d is %d, not %d", step, first + i, status[i], expected);
        page->node = expected;
    }
}

// The child has what the parent had, and stores of its own, which the parent does not see.
static void fork_once(struct thread *thread, struct mapping *mapping, int first, int end) {
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (!child) {
        step = "the child's view";
        check(mapping);
        if (!is_first && syscall(SYS_set_mempolicy, thread->policy.mode, &thread->policy.nodes, 64UL)) fail("set_mempolicy");
        step = "the child's stores";
        store(thread, mapping, first, end);
        bind_to(thread, mapping, first, end);
        check(mapping);
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child) fail("waitpid");
    errno = 0;
    if (status) fail("a child ends with %x", status);
}

static int is_one(const struct mapping *mapping) {
    for (int i = 1; i < mapping->count; i++)
        if (memcmp(&mapping->pages[i].policy, &mapping->pages[0].policy, sizeof(struct policy))) return 0;
    return 1;
}

static void grow(struct thread *thread, struct mapping *mapping) {
    // What has several policies is several mappings to the kernel, which mremap(2) refuses.
    if (!is_one(mapping)) return;
    int count = 1 + below(thread, LIMIT);
    char *moved = mremap(mapping->start, mapping->count * PAGE, count * PAGE, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) fail("%s: mremap", step);
    mapping->start = moved;
    for (int i = mapping->count; i < count; i++)
        mapping->pages[i] = (struct page){.policy = mapping->pages[0].policy, .node = -ENOENT};
    mapping->count = count;
}

static void map(struct thread *thread, struct mapping *mapping) {
    mapping->count = 1 + below(thread, LIMIT);
    mapping->start = mmap(NULL, mapping->count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping->start == MAP_FAILED) fail("mmap");
    for (int i = 0; i < mapping->count; i++) mapping->pages[i] = (struct page){.node = -ENOENT};
}

static void discard(struct mapping *mapping, int first, int end) {
    if (madvise(mapping->start + first * PAGE, (end - first) * PAGE, MADV_DONTNEED)) fail("%s: madvise", step);
    for (int i = first; i < end; i++) mapping->pages[i].node = -ENOENT;
}

// The front or the back of it, or all.
static void unmap(struct mapping *mapping, int first, int end) {
    if (first > 0 && end < mapping->count) end = mapping->count;
    if (munmap(mapping->start + first * PAGE, (end - first) * PAGE)) fail("%s: munmap", step);
    if (first > 0) {
        mapping->count = first;
    } else {
        mapping->start += end * PAGE;
        mapping->count -= end;
        memmove(mapping->pages, mapping->pages + end, mapping->count * sizeof *mapping->pages);
    }
}

static void set_policy(struct thread *thread) {
    thread->policy = draw(thread);
    if (syscall(SYS_set_mempolicy, thread->policy.mode, &thread->policy.nodes, 64UL)) fail("%s: set_mempolicy", step);
}

static void *run(void *argument) {
    struct thread *thread = argument;
    for (long number = 0; number < thread->steps; number++) {
        struct mapping *mapping = thread->mappings + below(thread, SLOTS);
        if (!mapping->count) map(thread, mapping);
        int first = below(thread, mapping->count), end = first + 1 + below(thread, mapping->count - first);
        switch (below(thread, 20)) {
        case 0: step = "munmap", unmap(mapping, first, end); break;
        case 1:
        case 2: step = "madvise", discard(mapping, first, end); break;
        case 3:
        case 4: step = "mremap", grow(thread, mapping); break;
        case 5:
        case 6: step = "mbind", bind_to(thread, mapping, first, end); break;
        case 7:
        case 8: step = "move_pages", move(thread, mapping, first, end); break;
        case 9: step = "set_mempolicy", set_policy(thread); break;
        case 10:
            step = "fork";
            if (!below(thread, 8)) fork_once(thread, mapping, first, end);
            break;
        case 11:
        case 12:
        case 13:
        case 14: step = "load", load(mapping, first, end); break;
        default: step = "store", store(thread, mapping, first, end);
        }
        check(mapping);
    }
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 4) fail("model THREADS STEPS SEED");
    pthread_t ids[16];
    static struct thread threads[16];
    int number = atoi(arguments[1]);
    if (number < 1 || number > 16) fail("threads: %d", number);
    for (int i = 0; i < number; i++)
        threads[i] = (struct thread){.seed = (unsigned)(atoi(arguments[3]) * 16 + i), .steps = atol(arguments[2])};
    for (int i = 1; i < number; i++)
        if (pthread_create(ids + i, NULL, run, threads + i)) fail("pthread_create");
    is_first = 1;
    run(threads);
    for (int i = 1; i < number; i++) pthread_join(ids[i], NULL);
    printf("ok\n");
    return 0;
}
