# SPDX-License-Identifier: MIT
"""Where the instructions of an operation go: profile.py add, or pop_used, readblocks, readmany, readinto.

QEMU is told to log every instruction while the operation runs. From the functions of firmware.elf
that they belong to follows who called whom, with the instructions of each call, its own in
brackets. Frozen native code has names there by module and by its order in the source.
"""

import bisect
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.instructions import DISK, ICOUNT, ON_BOARD
from emulator import Board, BoardError, Machine, built

SHOWN = 40  # instructions of the smallest call that is shown
SET_UP = """
disk, rng = virtio.Block(Memory(2)), virtio.Rng(Memory(4))
queue = make_queue(True)
transport = queue._transport
inputs, outputs = buffers(3)
data, little = bytearray(4096), bytearray(64)
requests = [(8 * n, data) for n in range(32)]
def run(before, what, after):
    return nanoseconds(what, before, after, {n: globals()[n] for n in NAMES})
NAMES = ("disk", "rng", "queue", "transport", "inputs", "outputs", "data", "little", "requests")
"""
OPERATIONS = {
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
    "readmany": ("pass", "disk.readmany(requests)", "pass"),
    "readinto": ("pass", "rng.readinto(little)", "pass"),
}


class Symbols:
    """The functions of an ELF file, by address."""

    def __init__(self, elf):
        lines = subprocess.check_output(
            ["arm-none-eabi-nm", "--numeric-sort", "--defined-only", elf], text=True
        ).splitlines()
        found = [line.split() for line in lines if len(line.split()) == 3]
        found = [symbol for symbol in found if symbol[1] in "tTrRdDW"]
        self.starts = [int(start, 16) for start, _, _ in found]
        # Linking as one adds to the names of functions that are local to a file.
        self.names = [name.removesuffix(".lto_priv.0") for _, _, name in found]

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


def operation(addresses, symbols):
    """The last pair of readings of the counter, and what is between them."""
    entry = symbols.starts[symbols.names.index("time_ticks_cpu")]
    marks = [n for n, address in enumerate(addresses) if address == entry]
    return addresses[marks[-2] : marks[-1]]


class Call:
    def __init__(self, name):
        self.name = name
        self.own = 0
        self.calls = []

    def total(self):
        return self.own + sum(call.total() for call in self.calls)

    def show(self, depth=0):
        total = self.total()
        if total >= SHOWN:
            print(f"{'  ' * depth}{total:,} ({self.own}) {self.name}")
            for call in self.calls:
                call.show(depth + 1)


def tree(addresses, symbols):
    """The calls that a sequence of instructions makes, of which the first is in the outermost."""
    stack = [Call(symbols.at(addresses[0]))]
    for address in addresses:
        name = symbols.at(address)
        if address == symbols.starts[symbols.names.index(name)] and stack[-1].own:
            stack[-1].calls.append(Call(name))
            stack.append(stack[-1].calls[-1])
        elif name != stack[-1].name:
            # A return, past functions that ended in a jump to another.
            depth = max((n for n, call in enumerate(stack) if call.name == name), default=0)
            del stack[depth + 1 :]
        stack[-1].own += 1
    return stack[0]


def main():
    symbols = Symbols(built("firmware.elf"))
    tree(operation(trace(sys.argv[1]), symbols), symbols).show()


if __name__ == "__main__":
    try:
        main()
    except BoardError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
