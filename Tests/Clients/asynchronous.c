// asynchronous COMMAND FILE …: reads and writes by io_uring(7) and aio(7), which the kernel answers while their caller goes on.
//
// read FILE LENGTH [direct]: at several places, and of several lengths up to LENGTH, both find what pread(2) finds: as many
// bytes, and the same. Prints reads=N.
// write FILE OFFSET LENGTH [direct]: both write, as many bytes as pwrite(2) does, or fail alike; pread(2) finds the bytes.
// store FILE TEXT: both write a text to a file that takes one at a time.
// wait FILE: both wait for something to read, which the first line tells; prints what they found, or result=ERRNO.
// flood FILE COUNT REFUSED: of COUNT reads that nobody answers at least so many are refused with ENOBUFS; says so and waits to be
// killed.
#include "client.h"
#include <liburing.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>

enum { URING, AIO, ENGINES };
static const char *names[] = {"io_uring", "aio"};
static struct io_uring ring;
static aio_context_t context;

static void submit(int engine, int is_write, int fd, void *bytes, uint64_t count, uint64_t offset) {
    if (engine == URING) {
        struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
        if (!entry) fail("no entry");
        if (is_write) io_uring_prep_write(entry, fd, bytes, (unsigned)count, offset);
        else io_uring_prep_read(entry, fd, bytes, (unsigned)count, offset);
        if (io_uring_submit(&ring) != 1) fail("io_uring_submit");
        return;
    }
    struct iocb block = {.aio_lio_opcode = is_write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD, .aio_fildes = (unsigned)fd,
                         .aio_buf = (uintptr_t)bytes, .aio_nbytes = count, .aio_offset = (int64_t)offset};
    struct iocb *list = &block;
    if (syscall(SYS_io_submit, context, 1, &list) != 1) fail("io_submit");
}

static long outcome(int engine) {
    if (engine == URING) {
        struct io_uring_cqe *entry;
        if (io_uring_wait_cqe(&ring, &entry)) fail("io_uring_wait_cqe");
        long result = entry->res;
        io_uring_cqe_seen(&ring, entry);
        return result;
    }
    struct io_event event;
    if (syscall(SYS_io_getevents, context, 1, 1, &event, NULL) != 1) fail("io_getevents");
    return (long)event.res;
}

static long act(int engine, int is_write, int fd, void *bytes, uint64_t count, uint64_t offset) {
    submit(engine, is_write, fd, bytes, count, offset);
    return outcome(engine);
}

static long plain(long result) { return result < 0 ? -errno : result; }

static char *room(uint64_t length) {
    char *bytes = aligned_alloc(PAGE, (length + PAGE) & -PAGE);
    if (!bytes) fail("memory");
    return bytes;
}

static void reads(int fd, uint64_t longest) {
    struct stat status;
    if (fstat(fd, &status)) fail("fstat");
    uint64_t size = (uint64_t)status.st_size, count = 0;
    uint64_t places[] = {0, 2, 512, size / 2 & -512UL, size > 512 ? (size - 1) & -512UL : 0, size, size + PAGE};
    uint64_t lengths[] = {1, 512, PAGE, longest / 3, longest};
    char *expected = room(longest), *found = room(longest);
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++)
        for (unsigned j = 0; j < sizeof lengths / sizeof *lengths; j++)
            for (int engine = 0; engine < ENGINES; engine++) {
                long there = plain(pread(fd, expected, lengths[j], (off_t)places[i]));
                memset(found, 'x', lengths[j]);
                long n = act(engine, 0, fd, found, lengths[j], places[i]);
                errno = 0;
                if (n != there || (n > 0 && memcmp(found, expected, (size_t)n)))
                    fail("%s: %lu bytes at %lu: %ld, pread(2) has %ld", names[engine], (unsigned long)lengths[j],
                         (unsigned long)places[i], n, there);
                count++;
            }
    printf("reads=%lu\n", (unsigned long)count);
}

static void writes(int fd, uint64_t offset, uint64_t length) {
    char *bytes = room(length), *found = room(length);
    memset(bytes, 'p', length);
    long expected = plain(pwrite(fd, bytes, length, (off_t)offset));
    for (int engine = 0; engine < ENGINES; engine++) {
        for (uint64_t i = 0; i < length; i++) bytes[i] = (char)mix(i + (uint64_t)engine);
        long n = act(engine, 1, fd, bytes, length, offset);
        errno = 0;
        // fuse_get_res_by_io(): of what is written in part the kernel says EIO.
        if (n != expected && !(expected >= 0 && (uint64_t)expected < length && n == -EIO))
            fail("%s: %ld, pwrite(2) has %ld", names[engine], n, expected);
        if (n <= 0) continue;
        if (pread(fd, found, length, (off_t)offset) != n || memcmp(found, bytes, (size_t)n))
            fail("%s: other bytes", names[engine]);
    }
    printf("written=%ld\n", expected);
}

int main(int argc, char **argv) {
    if (argc < 3) fail("usage: asynchronous COMMAND FILE …");
    const char *command = argv[1];
    uint64_t count = !strcmp(command, "flood") ? number(argv[3]) : 8;
    if (io_uring_queue_init(8, &ring, 0)) fail("io_uring_queue_init");
    if (syscall(SYS_io_setup, count, &context)) fail("io_setup");
    int direct = argc > 3 && !strcmp(argv[argc - 1], "direct") ? O_DIRECT : 0;
    int mode = !strcmp(command, "write") ? O_RDWR : !strcmp(command, "store") ? O_WRONLY : O_RDONLY;
    int fd = open_file(argv[2], mode | direct);
    if (!strcmp(command, "read")) reads(fd, number(argv[3]));
    else if (!strcmp(command, "write")) writes(fd, number(argv[3]), number(argv[4]));
    else if (!strcmp(command, "store")) {
        for (int engine = 0; engine < ENGINES; engine++) {
            long n = act(engine, 1, fd, argv[3], strlen(argv[3]), 0);
            printf("%s=%ld ", names[engine], n);
        }
        puts("");
    } else if (!strcmp(command, "wait")) {
        static char texts[ENGINES][65536];
        for (int engine = 0; engine < ENGINES; engine++) submit(engine, 0, fd, texts[engine], sizeof *texts - 1, 0);
        puts("waiting");
        fflush(stdout);
        // Each event is for one of them.
        for (int engine = 0; engine < ENGINES; engine++) printf("%s=%ld %s", names[engine], outcome(engine), texts[engine]);
    } else if (!strcmp(command, "flood")) {
        static char byte;
        // io_uring would poll first, and not ask before there is something.
        for (uint64_t i = 0; i < count; i++) submit(AIO, 0, fd, &byte, 1, 0);
        for (uint64_t i = 0, refused = number(argv[4]); i < refused; i++) {
            long result = outcome(AIO);
            if (result != -ENOBUFS) fail("%ld, not ENOBUFS", result);
        }
        puts("waiting");
        fflush(stdout);
        pause();
    } else fail("no such command: %s", command);
    return 0;
}
