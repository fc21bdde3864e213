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

const char *clinux_errno_name(int error) { return strerrorname_np(error); }
