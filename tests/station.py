# SPDX-License-Identifier: MIT
"""The board on which the wheel's plugin runs the files of tests/target.

It is the firmware that stands in build/, without what the wheel's has for the plugin, which is sent
to it, and without the wheel's disk and folder. It has, in this order, these devices:

    disk 0   8 MiB, no filesystem, sector n is struct.pack("<I", n) * 128
    disk 1   8 MiB, FAT with one file, hello.txt: b"Hello from the host.\\n"
    disk 2   1 MiB of zeros, read-only
    an entropy device

What files and tests ask for they say by the plugin's marks. Those that say nothing of the virtio
interface run on both. The other files of the folder are modules that a test can import.

A board serves all files that ask for the same. Every file begins after a soft reset with fresh
disks, and so does the test after one that failed.
"""

import ast
import os
import shlex
import struct
import tempfile
from pathlib import Path

import fat
import overlay
import pytest
from emulator import IMAGES, ROOT, Disk, Machine
from micropython_virt import collect, station
from micropython_virt.board import Board, Raised
from micropython_virt.process import BoardError
from micropython_virt.rewrite import rewrite
from micropython_virt.settings import INTERFACES, Configuration

HELLO = b"Hello from the host.\n"
SECTORS = 16384
HARNESS = Path(__file__).with_name("harness.py")
AGENT = [
    ROOT / "host/board" / f"{name}.py"
    for name in ("_micropython_virt", "_micropython_virt_test", "pytest")
]
INJECT = ROOT / "build/sweep/firmware.elf"  # with the module inject
IMAGES["inject"] = lambda: ["-kernel", INJECT]
POINT = "/host"  # where the plugin takes the project's folder to be
START = """
mount_sources({point!r}).update({files!r})
__import__("_micropython_virt")"""


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.stash[station.STATIONS] = Stations(config)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path, parent):
    if module_path.parent.name == "target" and not parent.own_markers:
        parent.add_marker(pytest.mark.board(interface=INTERFACES))


class Stations(station.Stations):
    def start(self, configuration):
        return Station(configuration)


class Station:
    """The board of one configuration, its disks, and the test file that is loaded on it."""

    def __init__(self, configuration=Configuration(), rom=os.environ.get("LIBRARY")):
        self.configuration = configuration
        self.folder = tempfile.TemporaryDirectory(prefix="station-")
        self.disks = [Path(self.folder.name, name) for name in ("pattern", "fat", "readonly")]
        self.fresh = make_disks(self.folder.name)
        self.machine = self.make_machine(
            modern=configuration.interface == "modern",
            disks=[Disk(path, readonly=path.name == "readonly") for path in self.disks],
            rom=rom,
            more=list(configuration.qemu_args),
        )
        self.board = self.loaded = None
        try:
            self.refresh()
        except BaseException:
            self.folder.cleanup()
            raise

    def make_machine(self, **fields):
        machine = Machine(**fields)
        if self.configuration.firmware:
            machine.boot = ["-kernel", self.configuration.firmware]
        return machine

    def refresh(self):
        """Make the board as after its start; false if it does not come back."""
        self.loaded = None
        for disk, content in zip(self.disks, self.fresh):
            disk.write_bytes(content)
        try:
            self.bring_up()
        except BoardError:
            self.close()
            if self.board is None:
                raise
            return False
        return True

    def bring_up(self):
        if self.board is None or self.board.process.is_over():
            self.board = Board(self.machine)
        else:
            self.board.soft_reset()

    def load(self, path, seconds=collect.SECONDS):
        """Import a test file on a board that is fresh."""
        self.loaded = path
        folder = path.parent.relative_to(ROOT)
        self.begin(path, folder)
        station.load(self.board, path, f"{POINT}/{folder}", seconds)

    def begin(self, path, folder):
        """Send the board the agent and the file with what it may import."""
        files = {file.name: file.read_bytes() for file in AGENT}
        for file in [path, *support(path)]:
            files[str(folder / file.name)] = rewrite(file.read_bytes())
        start = HARNESS.read_text() + START.format(point=POINT, files=files)
        code = overlay.USE if self.machine.rom else ""
        self.board.ask("execute", code, what=f"sending {path.name}", agent=start)

    def run(self, path, name, seconds=collect.SECONDS):
        """Run one test, after its file has been loaded if it was not, and return what it printed."""
        if self.loaded != path:
            self.refresh()
            self.load(path)
        try:
            return station.run(self.board, path, name, seconds)
        except Raised:
            self.loaded = None
            raise
        except BoardError:
            self.loaded = None
            self.board.close()
            raise

    def close(self):
        if self.board:
            self.board.close()
        self.folder.cleanup()


def cases(path):
    """The tests of a file: what each asks of its board, in each interface, its name and its seconds.

    For those who run them without pytest.
    """
    tree = ast.parse(path.read_bytes())
    asked = {"interface": INTERFACES, "qemu_args": "", "firmware": ""}
    for mark in collect.marks(path, collect.module_marks(tree)):
        asked |= mark.kwargs
    for interface in asked["interface"]:
        configuration = Configuration(
            interface=interface,
            qemu_args=tuple(shlex.split(asked["qemu_args"])),
            firmware=asked["firmware"] and str(ROOT / asked["firmware"]),
        )
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                marks = collect.marks(path, node.decorator_list)
                (seconds,) = [m.args[0] for m in marks if m.name == "timeout"] or [collect.SECONDS]
                yield configuration, node.name, seconds


def support(path):
    return [file for file in sorted(path.parent.glob("*.py")) if not file.match("test_*.py")]


def make_disks(folder):
    """Return the contents of the three disks."""
    image = Path(folder, "new.img")
    fat.make(image, SECTORS // 2048, {"hello.txt": HELLO})
    pattern = b"".join(struct.pack("<I", n) * 128 for n in range(SECTORS))
    return [pattern, image.read_bytes(), bytes(1 << 20)]
