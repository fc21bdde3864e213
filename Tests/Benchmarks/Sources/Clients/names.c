#define _GNU_SOURCE
#include "clients.h"
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int act_on(int directory, enum clients_act act, const char *name) {
    struct stat status;
    int fd;
    switch (act) {
    case clients_create:
        fd = openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        return fd < 0 || close(fd) != 0 ? errno : 0;
    case clients_stat:
        return fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
    case clients_open:
        fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
        return fd < 0 || close(fd) != 0 ? errno : 0;
    case clients_unlink:
        return unlinkat(directory, name, 0) == 0 ? 0 : errno;
    }
    return EINVAL;
}

int clients_names(const char *directory, enum clients_act act, long first, long count, double *seconds) {
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int error = 0;
    double start = now();
    for (long i = first; !error && i < first + count; i++) {
        char name[32];
        snprintf(name, sizeof name, "file%07ld", i);
        error = act_on(fd, act, name);
    }
    *seconds = now() - start;
    close(fd);
    return error;
}

int clients_list(const char *directory, long *count, double *seconds) {
    double start = now();
    DIR *stream = opendir(directory);
    if (!stream)
        return errno;
    *count = 0;
    errno = 0;
    while (readdir(stream))
        ++*count;
    int error = errno;
    closedir(stream);
    *seconds = now() - start;
    return error;
}
