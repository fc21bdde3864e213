// openmany FILE COUNT: holds COUNT descriptors of the file open at once and reads through each. Prints opened=N.
#include "client.h"
#include <sys/resource.h>

int main(int argc, char **argv) {
    if (argc != 3) fail("usage: openmany FILE COUNT");
    uint64_t count = number(argv[2]);
    struct rlimit limit = {count + 64, count + 64};
    if (setrlimit(RLIMIT_NOFILE, &limit)) fail("setrlimit");
    int *descriptors = calloc(count, sizeof *descriptors);
    char byte;
    for (uint64_t i = 0; i < count; i++) descriptors[i] = open_file(argv[1], O_RDONLY);
    for (uint64_t i = 0; i < count; i++)
        if (pread(descriptors[i], &byte, 1, 0) < 0) fail("read of descriptor %lu", (unsigned long)i);
    printf("opened=%lu\n", (unsigned long)count);
    return 0;
}
