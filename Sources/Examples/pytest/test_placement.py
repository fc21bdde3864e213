"""What a program's tests look like: where memory is, whether a move loses anything, and what failing memory does."""
import errno
import mmap
import os

import pytest

SIZE = 1 << 20
PAGE = mmap.PAGESIZE


def device_node(machine):
    return int((machine.path / "sys/class/cdm/cdm0/numa_node").read_text())


def test_memory_is_where_it_was_asked_for(machine):
    node = device_node(machine)
    file = machine.buffer("a", SIZE, f"bind:{node}")
    with open(file, "r+b") as opened, mmap.mmap(opened.fileno(), SIZE) as memory:
        memory[:] = bytes(range(256)) * (SIZE // 256)
        assert machine.placement("a") == {node: SIZE // PAGE}


def test_a_move_loses_nothing(machine):
    node = device_node(machine)
    file = machine.buffer("a", SIZE, f"bind:{node}")
    with open(file, "r+b") as opened, mmap.mmap(opened.fileno(), SIZE) as memory:
        memory[:] = os.urandom(SIZE)
        before = bytes(memory)
        machine.control("a", "migrate").write_text("0")
        assert machine.placement("a") == {0: SIZE // PAGE}
        assert bytes(memory) == before


def test_poisoned_memory_is_an_error_and_no_wrong_data(machine):
    file = machine.buffer("a", SIZE, f"bind:{device_node(machine)}")
    file.write_bytes(b"x" * SIZE)
    machine.control("a", "poison").write_text(hex(3 * PAGE))
    with open(file, "rb", buffering=0) as opened:
        assert os.pread(opened.fileno(), PAGE, 2 * PAGE) == b"x" * PAGE
        with pytest.raises(OSError) as failure:
            os.pread(opened.fileno(), PAGE, 3 * PAGE)
        assert failure.value.errno == errno.EIO
