# SPDX-License-Identifier: MIT
"""A board with a scratch disk at /, the disks that were asked for, and a folder at /host."""

import tempfile
from contextlib import contextmanager
from pathlib import Path

from . import fat, folder
from .board import Board
from .machine import Disk, Machine

MIB = 1 << 20
SCRATCH = 8 * MIB
ROOM = 64 * MIB  # that a folder's disk has besides what the folder holds


class Share:
    """The disk that holds a folder, in a temporary folder of its own."""

    def __init__(self, path, top, readonly=True, change=None):
        self.path, self.top, self.readonly = Path(path), Path(top), readonly
        self.tree, self.left_out = folder.tree(top)
        if change:
            change(self.tree)
        fat.make(self.path, self.tree, 0 if readonly else ROOM)
        self.made = self.path.stat().st_mtime_ns

    def disk(self):
        return Disk(self.path, readonly=self.readonly)

    def bring_back(self):
        """Write to the folder what the board has written to the disk."""
        if not self.readonly and self.path.stat().st_mtime_ns != self.made:
            folder.bring_back(self.tree, fat.read(self.path), self.top)


@contextmanager
def scratch_folder():
    with tempfile.TemporaryDirectory(prefix="micropython-virt-") as name:
        yield Path(name)


# Moves the host's folder, which the start-up has mounted last, to /host, where its own code is
# found. Of /vdb to /vdz, and from there /vdA, the last is meant.
MOVE = """\
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
# Of the scratch disk, where the folder shall be at /host after each soft reset too.
BOOT = f"{MOVE}import os\nos.chdir('/host')\n".encode()


def start(machine, scratch, share, tree=None, seconds=30):
    """Start a board; its disks are the scratch disk, those of the machine, and the share.

    The scratch disk holds the tree.
    """
    board = _start(machine, scratch, share, tree or {}, seconds)
    board.after_reset = lambda: board.exec(MOVE)
    try:
        board.after_reset()
    except BaseException:
        board.close()
        raise
    return board


def start_for_a_person(machine, scratch, share, seconds=30):
    """The same, and the folder is at /host again after each reset."""
    return _start(machine, scratch, share, {"boot.py": BOOT}, seconds)


def _start(machine, scratch, share, files, seconds):
    fat.make(scratch, files, SCRATCH)
    disks = [Disk(scratch), *machine.disks, share.disk()]
    return Board(Machine(**(vars(machine) | {"disks": disks})), seconds)
