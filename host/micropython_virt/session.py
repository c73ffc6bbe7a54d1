# SPDX-License-Identifier: MIT
"""A board with a scratch disk at /, the disks that were asked for, and a folder at /host."""

import tempfile
from contextlib import contextmanager
from pathlib import Path

from . import fat, folder
from .board import Board
from .machine import Disk, Folder, Machine

MIB = 1 << 20
SCRATCH = 8 * MIB
ROOM = 64 * MIB  # that a folder's disk has besides what the folder holds
PROGRAM = "program"  # what the board sees the folder of a program from elsewhere as


class Shared:
    """The folder itself, by 9P: what either side writes, the other one reads."""

    # After a reset, to find the folder's code.
    move = "import sys; sys.path.insert(0, '/host'); del sys\n"

    def __init__(self, top, readonly=False, program=None, more=()):
        self.folders = [Folder(top, "host", readonly), *more]
        if program:
            self.folders.append(Folder(program, PROGRAM, readonly=True))
        self.tree = {}  # what the scratch disk holds for it

    def add_to(self, machine):
        machine.folders = self.folders

    def bring_back(self):
        """It is there already."""


class Copied:
    """A disk that holds a copy of the folder, for a QEMU that cannot share one."""

    # Moves the disk, which the start-up has mounted last, to /host. Of /vdb to /vdz, and from there
    # /vdA, the last is meant.
    move = """\
def move():
    import sys, vfs, virtio
    points = [point for _, point in vfs.mount() if point[:3] == "/vd"]
    vfs.umount(max(points, key=lambda point: (point[3].isupper(), point)))
    disk = [disk for disk in virtio.opened() if isinstance(disk, virtio.Block)][-1]
    virtio.mount(disk, "/host")
    sys.path.insert(0, "/host")
move()
del move
"""

    def __init__(self, path, top, readonly=False, program=None, change=None):
        self.path, self.top, self.readonly = Path(path), Path(top), readonly
        self.copied, self.left_out = folder.tree(top)
        self.tree = {PROGRAM: folder.tree(program)[0]} if program else {}
        if change:
            change(self.copied)
        fat.make(self.path, self.copied, 0 if readonly else ROOM)
        self.made = self.path.stat().st_mtime_ns

    def add_to(self, machine):
        machine.disks = [*machine.disks, Disk(self.path, readonly=self.readonly)]

    def bring_back(self):
        """Write to the folder what the board has written to the disk."""
        if not self.readonly and self.path.stat().st_mtime_ns != self.made:
            folder.bring_back(self.copied, fat.read(self.path), self.top)


@contextmanager
def scratch_folder():
    with tempfile.TemporaryDirectory(prefix="micropython-virt-") as name:
        yield Path(name)


def start(machine, scratch, share, seconds=30):
    """Start a board; its disks are the scratch disk, those of the machine, and the share."""
    board = _start(machine, scratch, share, share.tree, seconds)
    board.after_reset = lambda: board.exec(share.move)
    try:
        board.after_reset()
    except BaseException:
        board.close()
        raise
    return board


def start_for_a_person(machine, scratch, share, seconds=30):
    """The same, and the folder is at /host again after each reset, and the current one."""
    boot = f"import os\n{share.move}os.chdir('/host')\n".encode()  # os before the folder's own
    return _start(machine, scratch, share, {"boot.py": boot}, seconds)


def _start(machine, scratch, share, files, seconds):
    fat.make(scratch, files, SCRATCH)
    whole = Machine(**(vars(machine) | {"disks": [Disk(scratch), *machine.disks]}))
    share.add_to(whole)
    return Board(whole, seconds)
