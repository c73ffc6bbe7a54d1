# SPDX-License-Identifier: MIT
"""Where the instructions of an operation go, by function: profile.py add, or pop_used, readblocks…

QEMU is told to log every instruction for as long as the operation runs, some times over; each is
attributed to the function of firmware.elf that it belongs to. Frozen native code has names of
its own there, which the linker's map gives in the order of the source.
"""

import bisect
import collections
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.instructions import DISK, ICOUNT, ON_BOARD
from emulator import Board, BoardError, Machine, built

TIMES = 16
SET_UP = """
disk, rng = virtio.Block(Memory(2)), virtio.Rng(Memory(4))
queue = make_queue(True)
transport = queue._transport
inputs, outputs = buffers(3)
data, little = bytearray(4096), bytearray(64)
def run(before, what, after):
    return nanoseconds(what, before, after, {n: globals()[n] for n in NAMES})
NAMES = ("disk", "rng", "queue", "transport", "inputs", "outputs", "data", "little")
"""
OPERATIONS = {
    "nothing": ("pass", "pass", "pass"),
    "add": (
        "pass",
        "token = queue.add(inputs, outputs)",
        "transport.notify(0); queue.pop_used(token)",
    ),
    "pop_used": (
        "token = queue.add(inputs, outputs); transport.notify(0)",
        "queue.pop_used(token)",
        "pass",
    ),
    "readblocks": ("pass", "disk.readblocks(8, data)", "pass"),
    "readinto": ("pass", "rng.readinto(little)", "pass"),
}


class Symbols:
    """The functions of an ELF file, by address."""

    def __init__(self, elf):
        lines = subprocess.check_output(
            ["arm-none-eabi-nm", "--numeric-sort", elf], text=True
        ).splitlines()
        found = [line.split() for line in lines if line.split()[1] in "tTrRdDW"]
        self.starts = [int(start, 16) for start, _, _ in found]
        self.names = [name for _, _, name in found]

    def at(self, address):
        return self.names[bisect.bisect_right(self.starts, address) - 1]


def trace(operation):
    """The addresses of the instructions that a run executes, in order."""
    before, what, after = OPERATIONS[operation]
    with tempfile.TemporaryDirectory() as folder, Board(Machine(more=[*DISK, *ICOUNT])) as board:
        board.wait_for_prompt()
        board.exec(ON_BOARD.read_text().replace("_REPEAT = micropython.const(64)", "_REPEAT = 4"))
        board.exec(SET_UP)
        call = f"run({before!r}, {what!r}, {after!r})"
        board.exec(call)  # what is looked up for the first time takes longer
        log = Path(folder, "log")
        for line in (f"logfile {log}", "log exec,nochain", one_at_a_time(board)):
            monitor(board, line)
        board.exec(call, 120)
        monitor(board, "log none")
        with open(log) as lines:
            return [int(line.split("/")[1], 16) for line in lines if line.startswith("Trace")]


def monitor(board, line):
    board.monitor.cmd_raw("human-monitor-command", {"command-line": line})


def one_at_a_time(board):
    version = board.monitor.cmd("query-version")["qemu"]
    return (
        "singlestep on" if (version["major"], version["minor"]) < (8, 1) else "one-insn-per-tb on"
    )


def windows(addresses, symbols):
    """For each pair of readings of the counter, how often each function was between them."""
    entry = symbols.starts[symbols.names.index("time_ticks_cpu")]
    marks = [n for n, address in enumerate(addresses) if address == entry]
    pairs = zip(marks[::2], marks[1::2])
    return [collections.Counter(map(symbols.at, addresses[start:end])) for start, end in pairs]


def main():
    symbols = Symbols(built("firmware.elf"))
    last = windows(trace(sys.argv[1]), symbols)[-1]
    last.subtract(windows(trace("nothing"), symbols)[-1])
    print(f"{sum(last.values()):>7,} {sys.argv[1]}")
    for name, count in last.most_common():
        if count:
            print(f"{count:>7,} {name}")


if __name__ == "__main__":
    try:
        main()
    except BoardError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
