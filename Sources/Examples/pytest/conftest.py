"""Fixtures that mount simulated machines. `pytest --machine two-socket` chooses a preset, or a file ending in .toml."""
import pathlib
import subprocess

import pytest


def pytest_addoption(parser):
    parser.addoption("--machine", default="default", help="a preset of cdmfs, or a topology file")


class Machine:
    """A mounted machine."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def buffer(self, name, size, policy=None):
        """A new file of `size` bytes, whose pages are placed by `policy`, as in numa_maps."""
        file = self.path / "buffers" / name
        with open(file, "wb") as new:
            new.truncate(size)
        if policy:
            self.control(name, "policy").write_text(policy)
        return file

    def control(self, name, attribute):
        """A control file of a buffer, such as `placement` or `migrate`."""
        return self.path / "sys/kernel/cdm/buffers" / name / attribute

    def placement(self, name):
        """How many pages of a buffer are on each node."""
        words = self.control(name, "placement").read_text().split()
        return {int(word[1:].split("=")[0]): int(word.split("=")[1]) for word in words}


@pytest.fixture
def machine(request, tmp_path):
    """A machine for one test, mounted for as long as that runs."""
    choice = request.config.getoption("--machine")
    path = tmp_path / "machine"
    path.mkdir()
    option = "--topology" if choice.endswith(".toml") else "--preset"
    subprocess.run(["cdmfs", "mount", option, choice, path], check=True)
    yield Machine(path)
    # Not lazily: a file that the test left open is a mistake of its own.
    subprocess.run(["cdmfs", "unmount", path], check=True)
