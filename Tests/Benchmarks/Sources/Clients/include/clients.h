#ifndef CLIENTS_H
#define CLIENTS_H

#include <stddef.h>

// What programs do to a file system, timed. Each function returns 0, or an errno; `seconds` gets the timed part.

// Mappings. SIGBUS is EFAULT.

/// Maps a file, shared, made or lengthened to `bytes` where need be, at an address that huge pages fit.
int clients_map(const char *path, size_t bytes, void **mapped, double *seconds);

/// Ends a mapping.
void clients_unmap(void *mapped, size_t bytes);

enum clients_touching {
    clients_ascending = 0,
    /// The same order each time; single pages are touched under MADV_RANDOM.
    clients_at_random = 1,
    /// By a load, not a store.
    clients_loading = 2,
};

/// Touches every page of the first `count` blocks of `block` bytes that an order goes through, a word of each.
int clients_touch(void *mapped, size_t bytes, size_t block, long count, unsigned kind, double *seconds);

/// Stores to every word of a mapping, `passes` times; whole passes until `budget` seconds are over, if `passes` is 0.
/// `rate` gets bytes a second.
int clients_store(void *mapped, size_t bytes, long passes, double budget, double *rate);

/// Stores to one word of each page, of another line in each, in whole passes until `budget` seconds are over: what the page
/// tables and write-back cost, rather than the memory. `seconds` gets the time of a store.
int clients_stride(void *mapped, size_t bytes, double budget, double *seconds);

/// Loads every word of a mapping in whole passes until `budget` seconds are over. `rate` gets bytes a second.
int clients_load(void *mapped, size_t bytes, double budget, double *rate);

/// `count` times loads 64 bytes at a random place, and stores to them if `is_storing`; each place depends on what was loaded
/// before.
int clients_hop(void *mapped, size_t bytes, long count, int is_storing, double *seconds);

/// msync(2) of the whole mapping with MS_SYNC.
int clients_sync(void *mapped, size_t bytes, double *seconds);

// Crowds

/// `threads` threads touch every page of new files, each page once, at random, and all begin at once: of `files` files of
/// together `bytes` bytes, whose names are `path` and a number. Both numbers of two powers, no more files than threads.
int clients_touch_by_threads(const char *path, size_t bytes, int files, int threads, double *seconds);

/// `count` processes, each of which has the file mapped, count in every page of it, all at once, and end. EILSEQ where a count got
/// lost. The time includes their ends.
int clients_touch_by_processes(const char *path, size_t bytes, int count, double *seconds);

struct clients_increments;

/// Begins to have `threads` threads increment words of a mapping, atomically, at random pages.
int clients_begin_increments(void *mapped, size_t bytes, int threads, struct clients_increments **begun);

/// Ends that; `rate` gets increments a second. EILSEQ where the words are not the sum of all increments.
int clients_end_increments(struct clients_increments *increments, double *rate);

/// Takes every frame of the node where a new file gets its pages, and gives every other one back: free frames, none beside another.
/// The file stays.
int clients_scatter(const char *path, size_t bytes);

// Descriptors

enum clients_transfer {
    clients_read = 0,
    clients_write = 1,
    /// Past the page cache.
    clients_direct = 2,
};

/// Makes a file of `bytes`, each 0x5a, and writes it past the page cache.
int clients_fill(const char *path, size_t bytes);

/// `count` times pread(2) or pwrite(2) of `size` bytes at random places, multiples of `size` below `bytes`, the same ones each
/// time. What is read and written is what clients_fill() has there.
int clients_transfer(const char *path, size_t bytes, size_t size, long count, unsigned kind, double *seconds);

/// `count` times pread(2) of 4 KiB with O_DIRECT; `seconds` gets what `percent` of them stay below.
int clients_read_percentile(const char *path, size_t bytes, long count, int percent, double *seconds);

// Names

enum clients_act { clients_create, clients_stat, clients_open, clients_unlink };

/// Does one thing to the files of a directory whose names have the numbers from `first` on, `count` of them.
int clients_names(const char *directory, enum clients_act act, long first, long count, double *seconds);

/// Reads a directory to its end, and counts what is in it.
int clients_list(const char *directory, long *count, double *seconds);

// Attributes

/// `count` times pread(2) of up to 4096 bytes from the start of an open file.
int clients_read_attribute(const char *path, long count, double *seconds);

/// `count` times pwrite(2) of `text` to the start of an open file.
int clients_write_attribute(const char *path, const char *text, long count, double *seconds);

/// Writes `text` to a file once; the write(2) is timed.
int clients_command(const char *path, const char *text, double *seconds);

// Devices

/// Has a device, whose queue is the directory, execute one command, which must succeed.
int clients_execute(const char *queue, const char *command, double *seconds);

/// CRC-32 of `bytes` of ordinary memory that is there already.
int clients_checksum(size_t bytes, double *seconds);

/// One memcpy(3) of `bytes` between ordinary memory that is there already.
int clients_copy_resident(size_t bytes, double *seconds);

/// Makes a file and loads `count` of its pages, each for the first time, through a mapping; `seconds` gets what `percent` of
/// them stay below. The file goes.
int clients_touch_percentile(const char *path, long count, int percent, double *seconds);

struct clients_recall;

/// Begins to have a device do a command that takes the first page of a file, and to read that page then, every 20 ms.
int clients_begin_recall(const char *queue, const char *path, const char *command, struct clients_recall **begun);

/// Ends that; `seconds` gets what half of the reads stay below.
int clients_end_recall(struct clients_recall *recall, double *seconds);

// The rest

/// One memcpy(3) of `bytes` from one memory file to another that has no pages yet.
int clients_copy(size_t bytes, double *seconds);

/// Has the host of a virtual machine, which may have taken back what was free, give it: touches `bytes` of memory of its own and
/// frees them. Whoever touches memory next finds it warm.
int clients_warm(size_t bytes);

/// Keeps the calling thread, and what it starts from now on, on one CPU; a negative number lifts that.
int clients_pin(int cpu);

#endif
