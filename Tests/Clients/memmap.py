"""memmap.py fill|verify FILE BYTES SEED: numpy.memmap over the first BYTES of FILE. Prints words=N."""

import sys

import numpy

mode, path, size, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
array = numpy.memmap(path, dtype=numpy.uint64, mode="r+", shape=(size // 8,))
expected = numpy.arange(size // 8, dtype=numpy.uint64) * numpy.uint64(2654435761) + numpy.uint64(seed)
if mode == "fill":
    array[:] = expected
    array.flush()
elif not numpy.array_equal(array, expected):
    wrong = numpy.flatnonzero(array != expected)
    sys.exit(f"{wrong.size} words differ, the first is word {wrong[0]}")
print(f"words={array.size}")
