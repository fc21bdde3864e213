// rename FROM TO FLAGS: renameat2(2), which Swift's Glibc does not have. Prints errno=N.
#include "client.h"

int main(int argc, char **argv) {
    if (argc != 4) fail("usage: rename FROM TO FLAGS");
    int status = renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], (unsigned)number(argv[3]));
    printf("errno=%d\n", status ? errno : 0);
    return 0;
}
