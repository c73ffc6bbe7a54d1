# SPDX-License-Identifier: MIT
"""Collect and run the test files of tests/target, whose functions run on the board.

Each function `test_…` of such a file is a test by that name, in each configuration that the file
asks for. What a file may say at its top level, all of it constants:

    CONFIGS = ("legacy", "modern")   the virtio interfaces to run on; both if left out
    QEMU_ARGS = "…"                  more arguments for QEMU
    IMAGE = "inject"                 the firmware with the module inject; "elf" if left out
    TIMEOUTS = {"test_name": 120}    seconds for a test that needs more than 60

A test passes if it returns, fails if it raises, and skips by raising harness.Skip. The other
files of the folder are modules that a test can import, as is harness.

The board of a configuration has, in this order, these devices:

    disk 0   8 MiB, no filesystem, sector n is struct.pack("<I", n) * 128
    disk 1   8 MiB, FAT with one file, hello.txt: b"Hello from the host.\\n"
    disk 2   1 MiB of zeros, read-only
    an entropy device

A board serves all files that ask for the same configuration. Every file begins after a soft reset
with fresh disks, and so does the test after one that failed. A test that hangs is failed at the
end of its time, and the next one gets a new board.
"""

import ast
import os
import shlex
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import fat
import overlay
import pytest
from emulator import IMAGES, ROOT, Board, BoardError, Disk, Ended, Hung, Machine, Raised

CONFIGS = ("legacy", "modern")
SECONDS = 60
HELLO = b"Hello from the host.\n"
SECTORS = 16384
HARNESS = Path(__file__).with_name("harness.py")
BOARDS = pytest.StashKey["Boards"]()
IMAGES["inject"] = lambda: ["-kernel", ROOT / "build/sweep/firmware.elf"]


def pytest_pycollect_makemodule(module_path, parent):
    if module_path.parent.name == "target":
        return TargetFile.from_parent(parent, path=module_path)
    return None


def pytest_sessionfinish(session):
    boards = session.config.stash.get(BOARDS, None)
    if boards:
        boards.close()


class TargetFile(pytest.File):
    def collect(self):
        tree = ast.parse(self.path.read_bytes(), str(self.path))
        says = constants(tree)
        configs = says.get("CONFIGS", CONFIGS)
        unknown = set(configs) - set(CONFIGS)
        if unknown:
            raise self.CollectError(f"{self.path}: CONFIGS has unknown names {sorted(unknown)}")
        tests = [node for node in tree.body if is_test(node)]
        lost = set(says.get("TIMEOUTS", {})) - {node.name for node in tests}
        if lost:
            raise self.CollectError(f"{self.path}: TIMEOUTS names no tests: {sorted(lost)}")
        for interface in configs:
            for node in tests:
                item = TargetTest.from_parent(self, name=f"{node.name}[{interface}]")
                item.called = node.name
                item.line = node.lineno - 1
                item.seconds = says.get("TIMEOUTS", {}).get(node.name, SECONDS)
                item.configuration = (
                    interface,
                    says.get("QEMU_ARGS", ""),
                    says.get("IMAGE", "elf"),
                )
                yield item


def is_test(node):
    return isinstance(node, ast.FunctionDef) and node.name.startswith("test_")


def constants(tree):
    """What the file says for the host, by name."""
    says = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id in ("CONFIGS", "IMAGE", "QEMU_ARGS", "TIMEOUTS"):
                says[node.targets[0].id] = ast.literal_eval(node.value)
    return says


class TargetTest(pytest.Item):
    def runtest(self):
        boards = self.config.stash.setdefault(BOARDS, Boards())
        station = boards.get(self.configuration)
        output = station.run(self.path, self.called, self.seconds)
        self.add_report_section("call", "board", output)

    def repr_failure(self, excinfo, style=None):
        if isinstance(excinfo.value, BoardError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self):
        return self.path, self.line, self.name


@dataclass
class Loaded:
    """A test file that has been imported on the board, or what that raised."""

    path: Path
    error: Exception | None = None


class Station:
    """The board of one configuration, its disks, and the test file that is loaded on it."""

    def __init__(self, configuration):
        interface, arguments, image = configuration
        self.folder = tempfile.TemporaryDirectory(prefix="station-")
        self.disks = [Path(self.folder.name, name) for name in ("pattern", "fat", "readonly")]
        self.machine = Machine(
            image=image,
            modern=interface == "modern",
            disks=[Disk(path, readonly=path.name == "readonly") for path in self.disks],
            rom=os.environ.get("LIBRARY"),
            more=shlex.split(arguments),
        )
        self.fresh = make_disks(self.folder.name)
        self.board = None
        self.loaded = None

    def run(self, path, function, seconds):
        """Run one test and return what it printed."""
        try:
            if self.loaded is None or self.loaded.path != path:
                self.load(path)
            if self.loaded.error:
                raise self.loaded.error
            return self.board.exec(f"{path.stem}.{function}()", seconds, function)
        except Raised as raised:
            if self.loaded and not self.loaded.error:
                self.loaded = None
            skip_if_asked(raised)
            raise
        except (Hung, Ended, BoardError):
            self.close_board()
            raise

    def load(self, path):
        """Import a test file on a board that is as fresh as after its start."""
        for disk, content in zip(self.disks, self.fresh):
            disk.write_bytes(content)
        if self.board is None:
            self.board = Board(self.machine)
            self.board.wait_for_prompt()
        else:
            self.board.soft_reset()
        if self.machine.rom:
            self.board.exec(overlay.USE, what="importing the library of the files")
        self.board.exec(HARNESS.read_bytes(), what="loading harness.py")
        sources = [HARNESS, path, *support(path)]
        code = "files = mount_sources()\n"
        code += "".join(f"files[{file.name!r}] = {file.read_bytes()!r}\n" for file in sources)
        self.loaded = Loaded(path)
        try:
            self.board.exec(code + f"import {path.stem}\n", what=f"importing {path.name}")
        except Raised as raised:
            self.loaded.error = raised

    def close_board(self):
        self.loaded = None
        if self.board:
            self.board.close()
            self.board = None

    def close(self):
        self.close_board()
        self.folder.cleanup()


def support(path):
    return [file for file in sorted(path.parent.glob("*.py")) if not file.match("test_*.py")]


def skip_if_asked(raised):
    last = str(raised).strip().rpartition("\n")[2]
    name, _, why = last.partition(": ")
    if name == "Skip":
        pytest.skip(why)


def make_disks(folder):
    """Return the contents of the three disks."""
    image = Path(folder, "new.img")
    fat.make(image, SECTORS // 2048, {"hello.txt": HELLO})
    pattern = b"".join(struct.pack("<I", n) * 128 for n in range(SECTORS))
    return [pattern, image.read_bytes(), bytes(1 << 20)]


class Boards:
    """The stations in use, by configuration."""

    def __init__(self):
        self.stations = {}

    def get(self, configuration):
        if configuration not in self.stations:
            self.stations[configuration] = Station(configuration)
        return self.stations[configuration]

    def close(self):
        for station in self.stations.values():
            station.close()
