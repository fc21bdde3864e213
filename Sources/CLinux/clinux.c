#include "clinux.h"

#include <string.h>

int clinux_open_fuse_inode(int directory, uint64_t inode, uint32_t generation, int flags) {
    // FILEID_INO64_GEN of linux/exportfs.h, as fuse_encode_fh() fills it.
    enum { inode_and_generation = 0x81, words = 3 };
    union {
        struct file_handle handle;
        unsigned char room[sizeof(struct file_handle) + words * sizeof(uint32_t)];
    } name;
    uint32_t number[words] = {(uint32_t)(inode >> 32), (uint32_t)inode, generation};
    name.handle.handle_bytes = sizeof number;
    name.handle.handle_type = inode_and_generation;
    memcpy(name.handle.f_handle, number, sizeof number);
    return open_by_handle_at(directory, &name.handle, flags);
}

int clinux_cached_device(const char *path, uint32_t *major, uint32_t *minor) {
    struct statx status;
    int result = statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_TYPE, &status);
    if (result == 0) {
        *major = status.stx_dev_major;
        *minor = status.stx_dev_minor;
    }
    return result;
}

enum { clinux_most_cpus = 8192 };

int clinux_allowed_cpus(int *cpus, int capacity) {
    size_t size = CPU_ALLOC_SIZE(clinux_most_cpus);
    cpu_set_t *set = CPU_ALLOC(clinux_most_cpus);
    if (!set)
        return -1;
    int count = sched_getaffinity(0, size, set) == 0 ? 0 : -1;
    for (int cpu = 0; count >= 0 && cpu < clinux_most_cpus && count < capacity; cpu++)
        if (CPU_ISSET_S(cpu, size, set))
            cpus[count++] = cpu;
    CPU_FREE(set);
    return count;
}

int clinux_stay_on_cpu(int cpu) {
    size_t size = CPU_ALLOC_SIZE(clinux_most_cpus);
    cpu_set_t *set = CPU_ALLOC(clinux_most_cpus);
    if (!set)
        return -1;
    CPU_ZERO_S(size, set);
    CPU_SET_S(cpu, size, set);
    int result = sched_setaffinity(0, size, set);
    CPU_FREE(set);
    return result;
}
