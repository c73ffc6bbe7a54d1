# SPDX-License-Identifier: MIT
"""Type lines to a board, and see after each what its queues are: as the board has them, and as QEMU has.

Run by `make watch`. A line is Python for the board, an empty one only looks again; the end of the input,
or Ctrl-C, ends it. The queues are those of the drivers that are open, and of what is made by hand. QEMU's
side is asked by its monitor (x-query-virtio-status, x-query-virtio-queue-status and -queue-element).
"""

import ast
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from emulator import Board, BoardError, Disk, Machine, Raised

# On the board. Lines are of one program, and an expression's value is shown, as at the prompt.
LINES = """
import virtio
from virtio.ring.base import _live
def _line(text):
    try:
        value = eval(text, globals())
    except SyntaxError:
        exec(text, globals())
    else:
        if value is not None:
            print(repr(value))
def _where():
    print([(n, queue._state[0]) for n, queue in enumerate(_live) if queue._shared])
"""
INTERESTING = (
    "inuse",
    "vring-num",
    "last-avail-idx",
    "shadow-avail-idx",
    "used-idx",
    "signalled-used",
    "signalled-used-valid",
)


def qemu_queues(monitor):
    """QEMU's queues by the address of their descriptors: {address: (path, number, status)}."""
    found = {}
    for device in monitor.cmd("x-query-virtio"):
        path = device["path"]
        with suppress(Exception):  # the device has no further queue
            for number in range(64):
                status = monitor.cmd("x-query-virtio-queue-status", path=path, queue=number)
                if status.get("vring-desc"):
                    found[status["vring-desc"]] = path, number, status
    return found


def qemu_view(monitor, path, number, status):
    """What QEMU says of a queue and its device, as lines."""
    device = monitor.cmd("x-query-virtio-status", path=path)
    bits = device["status"]["statuses"]
    yield f"{status['name']}, queue {number}"
    yield "status     " + " ".join(
        bit.partition(":")[0].removeprefix("VIRTIO_CONFIG_S_") for bit in bits
    )
    yield f"broken     {device['broken']}"
    for name in INTERESTING:
        if name in status:
            yield f"{name:<21}{status[name]}"
    with suppress(Exception):  # there is nothing that it could take next
        element = monitor.cmd("x-query-virtio-queue-element", path=path, queue=number)
        if element["avail"]["idx"] == status["last-avail-idx"]:
            return
        yield f"to be taken next: head {element['index']}"
        for entry in element["descs"]:
            flags = "|".join(entry["flags"]) or "-"
            yield f"  0x{entry['addr']:08x} {entry['len']:>6} bytes {flags}"


def beside(left, right, width):
    """Two columns of lines."""
    rows = max(len(left), len(right))
    left = left + [""] * (rows - len(left))
    right = right + [""] * (rows - len(right))
    return "\n".join(f"{a:<{width}} | {b}".rstrip() for a, b in zip(left, right))


def look(board):
    """All queues of the board, each beside QEMU's view of it."""
    theirs = qemu_queues(board.monitor)
    for n, address in ast.literal_eval(board.exec("_where()")):
        left = board.exec(f"virtio.show(_live[{n}])").rstrip("\n").split("\n")
        if address in theirs:
            right = list(qemu_view(board.monitor, *theirs[address]))
        else:
            right = ["QEMU has no such queue"]
        yield beside(left, right, max(72, *map(len, left)))


def start(folder):
    disk = Path(folder, "disk.img")
    disk.write_bytes(bytes(1 << 20))
    board = Board(Machine(modern=os.environ.get("MODERN") != "0", disks=[Disk(disk)]))
    board.wait_for_prompt()
    board.exec(LINES)
    return board


def main():
    with tempfile.TemporaryDirectory(prefix="watch-") as folder, start(folder) as board:
        while True:
            line = input("watch> ") if sys.stdin.isatty() else sys.stdin.readline()
            if not line and not sys.stdin.isatty():
                return
            if not sys.stdin.isatty():
                print(f"\n> {line}", end="")
            try:
                print(board.exec(f"_line({line.strip()!r})"), end="")
            except Raised as error:
                print(str(error).strip().rpartition("\n")[2])
            print("\n\n".join(look(board)), flush=True)


if __name__ == "__main__":
    try:
        main()
    except BoardError as error:
        sys.exit(str(error))
    except (EOFError, KeyboardInterrupt):
        sys.exit(0)
