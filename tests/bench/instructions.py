# SPDX-License-Identifier: MIT
"""Count what does not wander: guest instructions an operation, bytes of heap, firmware size.

QEMU runs with -icount, so the counts depend on nothing but the firmware; the firmware depends on
the compiler. instructions.json keeps what was found, by the compiler's major version, and
tests/test_instructions.py holds it; where another version made the firmware, to the newest that
is kept. With UPDATE=1 this writes the file anew.
"""

import ast
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from emulator import ROOT, Board, BoardError, Machine, built

KEPT = Path(__file__).with_name("instructions.json")
ON_BOARD = Path(__file__).with_name("instructions_on_board.py")
STREAMS = Path(__file__).with_name("streams_on_board.py")
NETWORK = Path(__file__).with_name("frames_on_board.py")
PLAIN = ROOT / "examples/plain_disk.py"
ALLOWED = 1.05
ALLOWED_OTHER = 1.10  # where another compiler made the firmware; gcc 14 is within 1 % of gcc 12
# The units of what the compiler decides; the heap it does not.
COMPILED = ("instructions", "bytes")

ICOUNT = ["-icount", "shift=0,sleep=off"]
DISK = ["-blockdev", "driver=null-co,node-name=null,size=1073741824,read-zeroes=on"]
DISK += ["-device", "virtio-blk-device,drive=null"]


def compiler():
    """The major version of the compiler that makes the firmware."""
    version = subprocess.check_output(["arm-none-eabi-gcc", "-dumpfullversion"], text=True)
    return version.partition(".")[0]


def measure():
    """-> {what: [number, unit]}"""
    with Board(Machine(more=[*DISK, *ICOUNT])) as board:
        board.wait_for_prompt()
        board.exec(PLAIN.read_bytes())
        board.exec(ON_BOARD.read_bytes())
        found = ast.literal_eval(board.exec("print(counts())", 120, "counting"))
    found += streams()
    found += network()
    counts = {what: [number, unit] for what, unit, number in found}
    counts["firmware.bin"] = [built("firmware.bin").stat().st_size, "bytes"]
    return counts


def streams():
    """What a folder's requests and a port's bytes take, of devices that are memory."""
    with Board(Machine(more=[*DISK, *ICOUNT])) as board:
        board.wait_for_prompt()
        board.exec(ON_BOARD.read_bytes())
        board.exec(STREAMS.read_bytes())
        return ast.literal_eval(board.exec("print(stream_counts())", 120, "counting streams"))


def network():
    """What a frame takes, to a peer on the host that reads and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=swallow, args=(server,), daemon=True).start()
        with Board(Machine(net="user", more=ICOUNT)) as board:
            board.wait_for_prompt()
            board.exec(NETWORK.read_bytes())
            call = f"print(counts({server.getsockname()[1]}))"
            return ast.literal_eval(board.exec(call, 120, "counting frames"))


def swallow(server):
    connection, _ = server.accept()
    with connection:
        while connection.recv(1 << 20):
            pass


def kept():
    """What the file has for this compiler, or its newest; and what may be made of a count."""
    everything = json.loads(KEPT.read_text())
    version = compiler()
    if version in everything:
        return everything[version], ALLOWED
    return everything[max(everything, key=int)], ALLOWED_OTHER


def keep(counts):
    everything = json.loads(KEPT.read_text())
    everything[compiler()] = counts
    lines = []
    for version in sorted(everything, key=int):
        rows = [
            f"    {json.dumps(what)}: {json.dumps(count)}"
            for what, count in everything[version].items()
        ]
        lines.append(f'  "{version}": {{\n' + ",\n".join(rows) + "\n  }")
    KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def grown(old, new, allowed=ALLOWED):
    """A line for each count that is more than it may be, or that is not measured any more."""
    lines = []
    for what, (was, unit) in old.items():
        if what not in new:
            lines.append(f"{what}: was {was} {unit}, is not measured any more")
        elif new[what][0] > was * (allowed if unit in COMPILED else ALLOWED):
            lines.append(f"{what}: was {was} {unit}, is {new[what][0]}")
    return lines


def table(counts, old):
    width = max(map(len, counts))
    for what, (number, unit) in counts.items():
        was = old.get(what, [number])[0]
        note = f"   was {was}" if was != number else ""
        print(f"{what:<{width}} {number:>9,} {unit}{note}")


def main():
    counts = measure()
    old, allowed = kept()
    table(counts, old)
    if allowed == ALLOWED_OTHER:
        print(f"None are kept for version {compiler()} of the compiler; these were another's.")
    if os.environ.get("UPDATE") == "1":
        keep(counts)
        print(f"Kept in {KEPT.name}.")


if __name__ == "__main__":
    try:
        main()
    except BoardError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
