// sparse FILE LENGTH: makes the file LENGTH bytes of hole with three islands of data, and sees that SEEK_DATA,
// SEEK_HOLE, st_blocks and hole punching agree on where they are. Islands are aligned to 1 MiB, so that no step of
// a fault-around reaches beyond them. Prints islands=3.
#include "client.h"

#define ISLAND (1UL << 20)

static void expect(int fd, int whence, uint64_t from, uint64_t expected) {
    off_t found = lseek(fd, (off_t)from, whence);
    if (found != (off_t)expected)
        fail("lseek(%#lx, %s) is %#lx, expected %#lx", (unsigned long)from, whence == SEEK_DATA ? "SEEK_DATA" : "SEEK_HOLE",
             (unsigned long)found, (unsigned long)expected);
}

static void expect_end(int fd, uint64_t from) {
    if (lseek(fd, (off_t)from, SEEK_DATA) != -1 || errno != ENXIO)
        fail("lseek(%#lx, SEEK_DATA) beyond the last data must be ENXIO", (unsigned long)from);
}

static void expect_blocks(int fd, uint64_t bytes) {
    struct stat status;
    if (fstat(fd, &status)) fail("fstat");
    if ((uint64_t)status.st_blocks * 512 != bytes)
        fail("st_blocks is %lu, expected %lu", (unsigned long)status.st_blocks, (unsigned long)(bytes / 512));
}

int main(int argc, char **argv) {
    if (argc != 3) fail("usage: sparse FILE LENGTH");
    uint64_t length = number(argv[2]), islands[3] = {2 * ISLAND, (length / 2) & -ISLAND, length - ISLAND};
    static char data[ISLAND];
    memset(data, 0xa5, sizeof data);
    int fd = open_file(argv[1], O_RDWR | O_CREAT | O_TRUNC);
    if (ftruncate(fd, (off_t)length)) fail("ftruncate");
    expect_end(fd, 0);
    expect(fd, SEEK_HOLE, 0, 0);
    for (int i = 0; i < 3; i++)
        if (pwrite(fd, data, ISLAND, (off_t)islands[i]) != (ssize_t)ISLAND) fail("write of island %d", i);

    expect(fd, SEEK_DATA, 0, islands[0]);
    expect(fd, SEEK_HOLE, islands[0], islands[0] + ISLAND);
    expect(fd, SEEK_DATA, islands[0] + ISLAND, islands[1]);
    expect(fd, SEEK_HOLE, islands[1] + 5, islands[1] + ISLAND);
    expect(fd, SEEK_DATA, islands[1] + ISLAND, islands[2]);
    expect(fd, SEEK_HOLE, islands[2], length);
    expect_blocks(fd, 3 * ISLAND);

    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)islands[1], ISLAND)) fail("punch");
    expect(fd, SEEK_DATA, islands[0] + ISLAND, islands[2]);
    expect_blocks(fd, 2 * ISLAND);
    if (ftruncate(fd, (off_t)islands[2])) fail("ftruncate");
    expect_end(fd, islands[0] + ISLAND);
    expect_blocks(fd, ISLAND);
    if (lseek(fd, (off_t)length, SEEK_HOLE) != -1 || errno != ENXIO) fail("SEEK_HOLE past the end must be ENXIO");
    if (ftruncate(fd, (off_t)length)) fail("ftruncate");
    char byte = 1;
    // Last, for to read is to touch, and gives the pages around their frames.
    if (pread(fd, &byte, 1, (off_t)islands[1] + 7) != 1 || byte) fail("a punched page must read as zero");
    puts("islands=3");
    return 0;
}
