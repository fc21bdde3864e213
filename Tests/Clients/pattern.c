// pattern store|write|verify|read|private|zeros FILE OFFSET LENGTH SEED
//   store, write    put the pattern of SEED through a shared mapping, or with write(2)
//   verify, read    find it there through a shared mapping, or with read(2)
//   private         find it through a private mapping, store over it, and see that the file keeps it
//   zeros           find nothing but zeros through a shared mapping
// Prints pages=N.
#include "client.h"

enum { CHUNK = 1 << 20 };
static uint64_t seed;

static void fill(uint64_t *words, uint64_t offset, uint64_t length) {
    for (uint64_t i = 0; i < length / 8; i++) words[i] = mix(seed + offset / 8 + i);
}

static void check(const volatile uint64_t *words, uint64_t offset, uint64_t length, int zeros) {
    for (uint64_t i = 0; i < length / 8; i++) {
        uint64_t expected = zeros ? 0 : mix(seed + offset / 8 + i), found = words[i];
        if (found != expected)
            fail("at %#lx: found %#lx, expected %#lx", (unsigned long)(offset + i * 8), (unsigned long)found,
                 (unsigned long)expected);
    }
}

static void transfer(int fd, uint64_t offset, uint64_t length, int writing) {
    static uint64_t chunk[CHUNK / 8];
    for (uint64_t done = 0; done < length;) {
        uint64_t size = length - done < CHUNK ? length - done : CHUNK;
        if (writing) fill(chunk, offset + done, size);
        ssize_t moved = writing ? pwrite(fd, chunk, size, (off_t)(offset + done))
                                : pread(fd, chunk, size, (off_t)(offset + done));
        if (moved != (ssize_t)size) fail("%s at %#lx", writing ? "write" : "read", (unsigned long)(offset + done));
        if (!writing) check(chunk, offset + done, size, 0);
        done += size;
    }
}

static void check_private(int fd, uint64_t offset, uint64_t length) {
    uint64_t *words = map_file(fd, offset, length, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    check(words, offset, length, 0);
    for (uint64_t i = 0; i < length / 8; i += PAGE / 8) words[i] = i;
    for (uint64_t i = 0; i < length / 8; i += PAGE / 8)
        if (words[i] != i) fail("the private copy lost a store at %#lx", (unsigned long)(offset + i * 8));
    transfer(fd, offset, length, 0);
}

int main(int argc, char **argv) {
    if (argc != 6) fail("usage: pattern store|write|verify|read|private|zeros FILE OFFSET LENGTH SEED");
    const char *mode = argv[1];
    uint64_t offset = number(argv[3]), length = number(argv[4]);
    seed = number(argv[5]);
    int fd = open_file(argv[2], O_RDWR);

    if (!strcmp(mode, "write")) transfer(fd, offset, length, 1);
    else if (!strcmp(mode, "read")) transfer(fd, offset, length, 0);
    else if (!strcmp(mode, "private")) check_private(fd, offset, length);
    else {
        uint64_t *words = map_file(fd, offset, length, PROT_READ | PROT_WRITE, MAP_SHARED);
        if (!strcmp(mode, "store")) fill(words, offset, length);
        else if (!strcmp(mode, "verify")) check(words, offset, length, 0);
        else if (!strcmp(mode, "zeros")) check(words, offset, length, 1);
        else fail("unknown mode %s", mode);
    }
    printf("pages=%lu\n", (unsigned long)((length + PAGE - 1) / PAGE));
    return 0;
}
