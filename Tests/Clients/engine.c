// engine FILE LENGTH NAME ROUNDS QUEUE...: a program and devices at work on one buffer, against a sequential model. Loads, stores
// and changes words and bytes all over FILE, through a mapping, atomically, and with read(2) and write(2), and has the devices of
// the directories QUEUE fill and copy parts of the buffer NAME and compute checksums, ROUNDS times. All must be as in memory of
// its own. Prints rounds=N.
#include "client.h"
#include <poll.h>
#include <stdatomic.h>

static uint32_t table[256];

static uint32_t checksum(const unsigned char *bytes, uint64_t length) {
    uint32_t sum = ~0u;
    for (uint64_t i = 0; i < length; i++) sum = table[(sum ^ bytes[i]) & 255] ^ sum >> 8;
    return ~sum;
}

static struct { int submit, results; uint64_t sequence; } queues[8], *queue;

// Submits a command and waits for its result.
static uint64_t command(const char *format, ...) {
    char line[256], text[8192];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (write(queue->submit, line, (size_t)length) != length) fail("submit %s", line);
    queue->sequence++;
    for (;;) {
        ssize_t count = pread(queue->results, text, sizeof text - 1, 0);
        if (count < 0) fail("results");
        text[count] = 0;
        for (char *at = text; *at; at = strchr(at, '\n') + 1) {
            char status[32];
            unsigned long number, value;
            if (sscanf(at, "%lu %31s %lu", &number, status, &value) != 3) fail("results say %s", at);
            if (number != queue->sequence) continue;
            if (strcmp(status, "ok")) fail("%s: %s", line, status);
            return value;
        }
        struct pollfd entry = {queue->results, POLLPRI, 0};
        if (poll(&entry, 1, 20000) != 1) fail("nothing came of %s", line);
    }
}

static unsigned char *bytes, *model;
static uint64_t length, random_state = 1;

static uint64_t below(uint64_t limit) { return next_random(&random_state) % limit; }

static void same(uint64_t start, uint64_t part, const char *when) {
    if (!memcmp(bytes + start, model + start, part)) return;
    for (uint64_t i = start; i < start + part; i++)
        if (bytes[i] != model[i]) fail("%s: byte %lu is %u, not %u", when, (unsigned long)i, bytes[i], model[i]);
}

// One thing that a program does with a word or a byte; what it finds is as in the model.
static void touch(int fd) {
    uint64_t at = below(length / 8), value = next_random(&random_state), found, expected, byte = 8 * at + below(8);
    _Atomic uint64_t *word = (_Atomic uint64_t *)bytes + at;
    memcpy(&expected, model + 8 * at, 8);
    found = expected;
    switch (below(64)) {
    case 0 ... 19: atomic_store_explicit(word, value, memory_order_relaxed); break;
    case 20 ... 29: found = atomic_fetch_add(word, value); value += expected; break;
    case 30 ... 36: found = atomic_exchange(word, value); break;
    case 37 ... 43:
        if (!atomic_compare_exchange_strong(word, &found, value)) fail("word %lu is another one", (unsigned long)at);
        break;
    case 44 ... 48:
        if (atomic_compare_exchange_strong(word, &(uint64_t){~expected}, value)) fail("a wrong word %lu", (unsigned long)at);
        value = expected;
        break;
    case 49 ... 54: found = atomic_load(word); value = expected; break;
    case 55 ... 60: ((volatile unsigned char *)bytes)[byte] = model[byte] = (unsigned char)value; return;
    case 61:
        if (pread(fd, &found, 8, (off_t)(8 * at)) != 8) fail("pread");
        value = expected;
        break;
    default:
        if (pwrite(fd, &value, 8, (off_t)(8 * at)) != 8) fail("pwrite");
    }
    if (found != expected) fail("word %lu was %lx, not %lx", (unsigned long)at, (unsigned long)found, (unsigned long)expected);
    memcpy(model + 8 * at, &value, 8);
}

int main(int argc, char **argv) {
    if (argc < 6 || argc > 13) fail("usage: engine FILE LENGTH NAME ROUNDS QUEUE...");
    uint64_t rounds = number(argv[4]), devices = (uint64_t)argc - 5;
    length = number(argv[2]);
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t sum = i;
        for (int bit = 0; bit < 8; bit++) sum = sum & 1 ? sum >> 1 ^ 0xedb88320 : sum >> 1;
        table[i] = sum;
    }
    char path[4096];
    for (uint64_t i = 0; i < devices; i++) {
        snprintf(path, sizeof path, "%s/submit", argv[5 + i]);
        queues[i].submit = open_file(path, O_WRONLY);
        snprintf(path, sizeof path, "%s/results", argv[5 + i]);
        queues[i].results = open_file(path, O_RDONLY);
    }
    int fd = open_file(argv[1], O_RDWR);
    bytes = map_file(fd, 0, length, PROT_READ | PROT_WRITE, MAP_SHARED);
    if (!(model = calloc(1, length))) fail("no memory");
    const char *name = argv[3];
    for (uint64_t round = 0; round < rounds; round++) {
        for (int i = 0; i < 1000; i++) touch(fd);
        queue = &queues[below(devices)];
        uint64_t start = below(length), part = 1 + below(length - start), to = below(length - part + 1);
        switch (below(5)) {
        case 0: part = command("crc32 %s 0 %lu", name, (unsigned long)length);
            if (part != checksum(model, length)) fail("round %lu: another checksum", (unsigned long)round);
            break;
        case 1:
            if (command("fill %s %lu %lu %u", name, (unsigned long)start, (unsigned long)part, (unsigned)(round & 255)) != part)
                fail("a part of a fill");
            memset(model + start, (int)(round & 255), part);
            same(start, part, "filled");
            break;
        case 2:
            if (command("copy %s %lu %s %lu %lu", name, (unsigned long)start, name, (unsigned long)to, (unsigned long)part) != part)
                fail("a part of a copy");
            memmove(model + to, model + start, part);
            same(to, part, "copied");
            break;
        case 3: command("write %s %lu %lu", name, (unsigned long)start, (unsigned long)part); break;
        case 4: command("read %s %lu %lu", name, (unsigned long)start, (unsigned long)part); break;
        }
    }
    same(0, length, "in the end");
    printf("rounds=%lu\n", (unsigned long)rounds);
    return 0;
}
