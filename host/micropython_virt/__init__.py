# SPDX-License-Identifier: MIT
"""MicroPython on a board that QEMU emulates: to run programs on, and tests.

from micropython_virt import Board, Machine

with Board(Machine()) as board:
    print(board.eval("1 + 1"))
"""

from importlib.metadata import PackageNotFoundError, version

from .board import Board, Raised
from .machine import Disk, Folder, Machine, Unusable
from .process import BoardError, Ended, Faulted, Hung, Reset

try:
    __version__ = version("micropython-virt")
except PackageNotFoundError:  # from the source tree
    __version__ = "0"
