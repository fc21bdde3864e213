#!/usr/bin/env python3
"""copies.py MOUNT: copy_file_range(2) between buffers of either kind, with everything else that changes them around it.

Both files must hold what a model of bytes holds. Prints copies=N."""
import mmap
import os
import random
import sys

mount = sys.argv[1]
SIZE = 1 << 20
PAGE = 4096
rng = random.Random(11)


def buffer(name, mapping):
    path = f"{mount}/buffers/{name}"
    os.close(os.open(path, os.O_CREAT | os.O_RDWR))
    with open(f"{mount}/sys/kernel/cdm/buffers/{name}/mapping", "w") as control:
        control.write(mapping)
    file = os.open(path, os.O_RDWR)
    os.ftruncate(file, SIZE)
    return file, mmap.mmap(file, SIZE), bytearray(SIZE)


def copy(source, target, start, offset, length):
    done = 0
    while done < length:
        count = os.copy_file_range(source, target, length - done, start + done, offset + done)
        if count == 0:
            break
        done += count
    return done


def check(name, file, memory, model):
    for how, found in ("mapping", memory[:]), ("read(2)", os.pread(file, SIZE, 0)):
        if found != model:
            place = next(i for i in range(SIZE) if found[i] != model[i])
            sys.exit(f"{name}: through the {how}, at {place:#x} {found[place]}, not {model[place]}")


count = 0
for source_kind in "tracked", "direct":
    for target_kind in "tracked", "direct":
        name = f"{source_kind} to {target_kind}"
        source = buffer("s", source_kind)
        target = buffer("t", target_kind)
        for turn in range(40):
            # What is stored through a mapping is copied, and is not written over by what the page cache has.
            for file, memory, model in source, target:
                place = rng.randrange(SIZE - 9000)
                some = rng.randbytes(rng.randrange(1, 9000))
                memory[place:place + len(some)] = some
                model[place:place + len(some)] = some
            length = rng.choice([1, 511, PAGE, 3 * PAGE + 5, 200000, 300 << 10])
            start, offset = (rng.randrange(SIZE - length) for _ in range(2))
            if turn % 2:
                start, offset = start & -PAGE, offset & -PAGE
            if copy(source[0], target[0], start, offset, length) != length:
                sys.exit(f"{name}: less than was there")
            target[2][offset:offset + length] = source[2][start:start + length]
            if turn % 8 == 0:
                check(name, *target)
            count += 1
        check(name, *source)
        check(name, *target)
        # At the end of the source there is less, behind it nothing; the target grows.
        if copy(source[0], target[0], SIZE - 100, SIZE + 1000, 4096) != 100:
            sys.exit(f"{name}: at the end")
        if copy(source[0], target[0], SIZE + 5, 0, 4096):
            sys.exit(f"{name}: behind the end")
        if os.fstat(target[0]).st_size != SIZE + 1100 or os.pread(target[0], 2000, SIZE) != bytes(1000) + source[2][-100:]:
            sys.exit(f"{name}: beyond the end")
        for file, memory, _ in source, target:
            memory.close()
            os.close(file)
        for file in "s", "t":
            os.unlink(f"{mount}/buffers/{file}")
print(f"copies={count}")
