// stale DIRECTORY LENGTH ROUNDS: makes a file, looks for anything but zeros in it, fills it with bytes that are not
// zero and gives its memory back (unlink, truncate or punch), again and again. What is looked at through a mapping, with
// read(2) and around a short write changes from round to round. Prints rounds=N.
#include "client.h"

static uint64_t length;
static char *buffer;

static void expect_zeros(const char *bytes, uint64_t from, uint64_t to, unsigned long round) {
    for (uint64_t i = from; i < to; i++)
        if (bytes[i]) fail("round %lu: an old byte %#x at %#lx", round, bytes[i] & 0xff, (unsigned long)i);
}

static void look(int fd, unsigned long round) {
    if (round % 3 == 0) {
        char *bytes = map_file(fd, 0, length, PROT_READ, MAP_SHARED);
        expect_zeros(bytes, 0, length, round);
        munmap(bytes, length);
        return;
    }
    uint64_t from = 0;
    if (round % 3 == 1) {
        // Only a few bytes in the middle of a page are written: the rest of that page must be zeros, too.
        if (pwrite(fd, "abc", 3, 1000) != 3) fail("write");
        from = 1003;
    }
    if (pread(fd, buffer, length, 0) != (ssize_t)length) fail("read");
    expect_zeros(buffer, from, length, round);
    if (from) expect_zeros(buffer, 0, 1000, round);
}

static void soil(int fd, unsigned long round) {
    if (round & 1) {
        memset(buffer, 0x5a, length);
        if (pwrite(fd, buffer, length, 0) != (ssize_t)length) fail("write");
    } else {
        char *bytes = map_file(fd, 0, length, PROT_READ | PROT_WRITE, MAP_SHARED);
        memset(bytes, 0xa5, length);
        munmap(bytes, length);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) fail("usage: stale DIRECTORY LENGTH ROUNDS");
    length = number(argv[2]);
    buffer = malloc(length);
    unsigned long rounds = number(argv[3]);
    char path[4096];
    snprintf(path, sizeof path, "%s/stale", argv[1]);
    int fd = -1;
    for (unsigned long round = 0; round < rounds; round++) {
        if (fd < 0) fd = open_file(path, O_RDWR | O_CREAT | O_EXCL);
        if (ftruncate(fd, (off_t)length)) fail("ftruncate");
        look(fd, round);
        soil(fd, round);
        switch (round % 4) {
        case 0: case 1:
            if (unlink(path)) fail("unlink");
            close(fd);
            fd = -1;
            break;
        case 2:
            if (ftruncate(fd, 0)) fail("ftruncate");
            break;
        case 3:
            if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)length)) fail("punch");
        }
    }
    if (fd >= 0) unlink(path);
    printf("rounds=%lu\n", rounds);
    return 0;
}
