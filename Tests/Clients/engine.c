// engine FILE LENGTH NAME QUEUE ROUNDS: a program and a device at work on one buffer. Stores words all over FILE through a
// mapping, has the device of the directory QUEUE compute the checksum of the buffer NAME, which must be that of what was
// stored, and fill a part of it, which must be seen by loads; ROUNDS times. Prints rounds=N.
#include "client.h"
#include <poll.h>

static uint32_t table[256];

static uint32_t checksum(const unsigned char *bytes, uint64_t length) {
    uint32_t sum = ~0u;
    for (uint64_t i = 0; i < length; i++) sum = table[(sum ^ bytes[i]) & 255] ^ sum >> 8;
    return ~sum;
}

static int submit, results;
static uint64_t sequence;

// Submits a command and waits for its result.
static uint64_t command(const char *format, ...) {
    char line[256], text[8192];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (write(submit, line, (size_t)length) != length) fail("submit %s", line);
    sequence++;
    for (;;) {
        ssize_t count = pread(results, text, sizeof text - 1, 0);
        if (count < 0) fail("results");
        text[count] = 0;
        for (char *at = text; *at; at = strchr(at, '\n') + 1) {
            char status[32];
            unsigned long number, value;
            if (sscanf(at, "%lu %31s %lu", &number, status, &value) != 3) fail("results say %s", at);
            if (number != sequence) continue;
            if (strcmp(status, "ok")) fail("%s: %s", line, status);
            return value;
        }
        struct pollfd entry = {results, POLLPRI, 0};
        if (poll(&entry, 1, 20000) != 1) fail("nothing came of %s", line);
    }
}

int main(int argc, char **argv) {
    if (argc != 6) fail("usage: engine FILE LENGTH NAME QUEUE ROUNDS");
    uint64_t length = number(argv[2]), rounds = number(argv[5]), random = 1;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t sum = i;
        for (int bit = 0; bit < 8; bit++) sum = sum & 1 ? sum >> 1 ^ 0xedb88320 : sum >> 1;
        table[i] = sum;
    }
    char path[4096];
    snprintf(path, sizeof path, "%s/submit", argv[4]);
    submit = open_file(path, O_WRONLY);
    snprintf(path, sizeof path, "%s/results", argv[4]);
    results = open_file(path, O_RDONLY);
    int fd = open_file(argv[1], O_RDWR);
    unsigned char *bytes = map_file(fd, 0, length, PROT_READ | PROT_WRITE, MAP_SHARED);
    for (uint64_t round = 0; round < rounds; round++) {
        for (int store = 0; store < 1000; store++) {
            uint64_t at = next_random(&random) % (length / 8);
            ((volatile uint64_t *)bytes)[at] = next_random(&random);
        }
        uint64_t found = command("crc32 %s 0 %lu", argv[3], (unsigned long)length);
        uint32_t expected = checksum(bytes, length);
        if (found != expected) fail("round %lu: the device says %lu, not %u", (unsigned long)round, (unsigned long)found, expected);
        uint64_t start = next_random(&random) % length, part = next_random(&random) % (length - start + 1);
        unsigned value = (unsigned)(round & 255);
        if (command("fill %s %lu %lu %u", argv[3], (unsigned long)start, (unsigned long)part, value) != part)
            fail("a part of a fill");
        for (uint64_t i = 0; i < part; i++)
            if (bytes[start + i] != value) fail("round %lu: byte %lu is %u", (unsigned long)round, (unsigned long)(start + i), bytes[start + i]);
        if (round % 2) continue;
        // Past the page cache's back: read(2) and write(2) see the same.
        unsigned char byte = (unsigned char)(value + 1);
        if (pwrite(fd, &byte, 1, (off_t)start) != 1) fail("pwrite");
        if (command("crc32 %s %lu 1", argv[3], (unsigned long)start) != checksum(&byte, 1)) fail("a written byte");
        command("fill %s %lu 1 %u", argv[3], (unsigned long)start, value);
        if (pread(fd, &byte, 1, (off_t)start) != 1 || byte != value) fail("a read byte is %u", byte);
    }
    printf("rounds=%lu\n", (unsigned long)rounds);
    return 0;
}
