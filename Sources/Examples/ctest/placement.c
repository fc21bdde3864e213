// placement [MOUNTPOINT]: maps a buffer on the device's node, and fails unless its pages are there. Without an argument the machine is
// the one of `cdmfs run`.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE (1 << 20)

static void check(int is_right, const char *what) {
    if (is_right)
        return;
    perror(what);
    exit(EXIT_FAILURE);
}

int main(int count, char **arguments) {
    const char *machine = count > 1 ? arguments[1] : getenv("CDMFS_MOUNTPOINT");
    char path[4096], text[256] = "";
    int node;

    if (!machine) {
        fprintf(stderr, "usage: placement MOUNTPOINT, or under cdmfs run\n");
        return 2;
    }
    snprintf(path, sizeof(path), "%s/sys/class/cdm/cdm0/numa_node", machine);
    FILE *file = fopen(path, "r");
    check(file && fscanf(file, "%d", &node) == 1, path);
    fclose(file);

    snprintf(path, sizeof(path), "%s/buffers/placement", machine);
    int buffer = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
    check(buffer >= 0 && ftruncate(buffer, SIZE) == 0, path);
    snprintf(path, sizeof(path), "%s/sys/kernel/cdm/buffers/placement/policy", machine);
    file = fopen(path, "w");
    check(file && fprintf(file, "bind:%d", node) > 0 && fclose(file) == 0, path);

    char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, buffer, 0);
    check(memory != MAP_FAILED, "mmap");
    memset(memory, 1, SIZE);
    snprintf(path, sizeof(path), "%s/sys/kernel/cdm/buffers/placement/placement", machine);
    file = fopen(path, "r");
    check(file && fgets(text, sizeof(text), file), path);
    fclose(file);
    munmap(memory, SIZE);
    close(buffer);

    char wanted[64];
    snprintf(wanted, sizeof(wanted), "N%d=%ld", node, SIZE / sysconf(_SC_PAGESIZE));
    text[strcspn(text, " \n")] = '\0';
    printf("%s, expected %s\n", text, wanted);
    return strcmp(text, wanted) != 0;
}
