// fsx FILE ORDINARY SEED OPERATIONS: the same random operations on two files, one of them on an ordinary file system:
// writes, reads, stores and loads through mappings, truncation either way, allocation, holes and copies of ranges. Both must
// return the same and hold the same bytes. After A. Tevanian's fsx. Prints operations=N.
#include "client.h"

#define LARGEST (4UL << 20)

static int files[2];
static char contents[2][LARGEST];
static uint64_t seed, operation;
static const char *what;

static void expect_same(long first, long second) {
    if (first != second)
        fail("seed %lu, operation %lu, %s: %ld, on the ordinary file %ld", (unsigned long)seed, (unsigned long)operation,
             what, first, second);
}

static void compare(uint64_t from, uint64_t length) {
    for (uint64_t i = from; i < from + length; i++)
        if (contents[0][i] != contents[1][i])
            fail("seed %lu, operation %lu, %s: at %#lx %#x, on the ordinary file %#x", (unsigned long)seed,
                 (unsigned long)operation, what, (unsigned long)i, contents[0][i] & 0xff, contents[1][i] & 0xff);
}

static long both(long (*act)(int, uint64_t, uint64_t), uint64_t offset, uint64_t length) {
    long results[2];
    for (int i = 0; i < 2; i++) {
        results[i] = act(i, offset, length);
        if (results[i] < 0) results[i] = -errno;
    }
    expect_same(results[0], results[1]);
    return results[0];
}

static long size_of(int i, uint64_t offset, uint64_t length) {
    (void)offset, (void)length;
    struct stat status;
    return fstat(files[i], &status) ? -1 : status.st_size;
}
static char source[LARGEST];
static long put(int i, uint64_t at, uint64_t n) { return pwrite(files[i], source, n, (off_t)at); }
static long get(int i, uint64_t at, uint64_t n) { return pread(files[i], contents[i], n, (off_t)at); }
static long cut(int i, uint64_t at, uint64_t n) { (void)n; return ftruncate(files[i], (off_t)at); }
static long punch(int i, uint64_t at, uint64_t n) {
    return fallocate(files[i], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)n);
}
static long reserve(int i, uint64_t at, uint64_t n) { return fallocate(files[i], 0, (off_t)at, (off_t)n); }
static long reserve_beyond(int i, uint64_t at, uint64_t n) {
    return fallocate(files[i], FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)n);
}
static long store(int i, uint64_t at, uint64_t n) {
    char *bytes = map_file(files[i], 0, LARGEST, PROT_READ | PROT_WRITE, MAP_SHARED);
    memcpy(bytes + at, source, n);
    return munmap(bytes, LARGEST);
}
static long load(int i, uint64_t at, uint64_t n) {
    char *bytes = map_file(files[i], 0, LARGEST, PROT_READ, MAP_SHARED);
    memcpy(contents[i], bytes + at, n);
    return munmap(bytes, LARGEST);
}
static uint64_t destination;
static long copy(int i, uint64_t at, uint64_t n) {
    off_t from = (off_t)at, to = (off_t)destination;
    uint64_t done = 0;
    // It may do less than asked.
    while (done < n) {
        ssize_t count = copy_file_range(files[i], &from, files[i], &to, n - done, 0);
        if (count < 0) return -1;
        if (count == 0) break;
        done += (uint64_t)count;
    }
    return (long)done;
}
static long sync_file(int i, uint64_t at, uint64_t n) { (void)at, (void)n; return fsync(files[i]); }

static void step(uint64_t *random) {
    uint64_t choice = next_random(random) % 100, size = (uint64_t)both(size_of, 0, 0);
    uint64_t offset = next_random(random) % LARGEST, length = 1 + next_random(random) % (256 << 10);
    if (length > LARGEST - offset) length = LARGEST - offset;
    uint64_t inside = size ? offset % size : 0, within = size - inside < length ? size - inside : length;
    for (uint64_t i = 0; i < length; i += 8) {
        uint64_t word = next_random(random);
        memcpy(source + i, &word, 8);
    }
    if (choice < 14) what = "write", both(put, offset, length);
    else if (choice < 20) {
        // Half of them by whole pages, and no range into itself.
        if (choice < 17) offset &= -PAGE, inside &= -PAGE;
        destination = offset;
        if (inside < offset + length && offset < inside + length) length = inside < offset ? offset - inside : inside - offset;
        if (what = "copy", length) both(copy, inside, length);
    }
    else if (choice < 40) {
        what = "read";
        long n = both(get, offset, length);
        if (n > 0) compare(0, (uint64_t)n);
    } else if (choice < 60) { if (what = "store", within) both(store, inside, within); }
    else if (choice < 80) { if (what = "load", within) both(load, inside, within), compare(0, within); }
    else if (choice < 86) what = "truncate", both(cut, offset, 0);
    else if (choice < 92) what = "punch", both(punch, offset, length);
    else if (choice < 95) what = "fallocate", both(reserve, offset, length);
    else if (choice < 98) what = "fallocate beyond the end", both(reserve_beyond, offset, length);
    else what = "fsync", both(sync_file, 0, 0);
}

int main(int argc, char **argv) {
    if (argc != 5) fail("usage: fsx FILE ORDINARY SEED OPERATIONS");
    for (int i = 0; i < 2; i++) files[i] = open_file(argv[1 + i], O_RDWR | O_CREAT | O_TRUNC);
    seed = number(argv[3]);
    uint64_t random = mix(seed), operations = number(argv[4]);
    for (operation = 0; operation < operations; operation++) step(&random);
    what = "the whole file";
    long size = both(get, 0, LARGEST);
    if (size > 0) compare(0, (uint64_t)size);
    printf("operations=%lu\n", (unsigned long)operations);
    return 0;
}
