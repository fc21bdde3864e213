#ifndef CLIENTS_H
#define CLIENTS_H

#include <stddef.h>

// What programs do to a file system, timed. Each function returns 0, or an errno; `seconds` gets the timed part.

/// Makes a file of `bytes`, maps it shared, and stores one word to each page in ascending order; the stores are timed.
int clients_touch(const char *path, size_t bytes, double *seconds);

/// Makes a file of `bytes`, maps it shared, and fills it, so that its pages are resident and dirty; then fills it `passes` times
/// more, which is timed.
int clients_store(const char *path, size_t bytes, long passes, double *seconds);

/// Makes a file of `bytes` and writes it past the page cache.
int clients_fill(const char *path, size_t bytes);

/// `count` times pread(2) of 4 KiB with O_DIRECT, at page-aligned random places of the first `bytes`, the same ones each time.
int clients_read_direct(const char *path, size_t bytes, long count, double *seconds);

/// `count` times pread(2) of up to 4096 bytes from the start of an open file.
int clients_read_attribute(const char *path, long count, double *seconds);

/// `count` times pwrite(2) of `text` to the start of an open file.
int clients_write_attribute(const char *path, const char *text, long count, double *seconds);

/// Maps a file, shared, made or lengthened to `bytes` where need be.
int clients_map(const char *path, size_t bytes, void **mapped);

/// Stores to every byte of a mapping.
void clients_dirty(void *mapped, size_t bytes);

/// Ends a mapping.
void clients_unmap(void *mapped, size_t bytes);

/// Writes `text` to a file once; the write(2) is timed.
int clients_command(const char *path, const char *text, double *seconds);

/// One memcpy(3) of `bytes` from one memory file to another that has no pages yet.
int clients_copy(size_t bytes, double *seconds);

/// `count` times pread(2) of 4 KiB with O_DIRECT; `seconds` gets what `percent` of them stay below.
int clients_read_percentile(const char *path, size_t bytes, long count, int percent, double *seconds);

/// Keeps the calling thread, and what it starts from now on, on one CPU; a negative number lifts that.
int clients_pin(int cpu);

#endif
