# SPDX-License-Identifier: MIT
"""MicroPython on a board that QEMU emulates: to run programs on, and tests.

from micropython_virt import Board, Machine

with Board(Machine()) as board:
    print(board.eval("1 + 1"))
"""

from .board import Board, Raised
from .machine import Disk, Folder, Machine, Unusable
from .process import BoardError, Ended, Faulted, Hung, Reset


def __getattr__(name):
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # As long in coming as the rest of the package, so only for who asks.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("micropython-virt")
    except PackageNotFoundError:  # from the source tree
        return "0"
