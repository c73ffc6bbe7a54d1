# SPDX-License-Identifier: MIT
"""A folder of the host, from the board and from a Linux guest's 9p mount, on the same QEMU.

The two take turns, in rounds; a figure is the median. The end of make bench.
"""

import os
import statistics
import tempfile
from pathlib import Path

from bench import linux
from bench.guest import Unavailable
from emulator import Board, Folder, Machine

ROUNDS = int(os.environ.get("ROUNDS") or 5)
MIB = 1 << 20
SIZE = 32 * MIB
NAMES = 1000

ON_BOARD = """
import os, time, virtio
p9 = [device for device in virtio.opened() if isinstance(device, virtio.P9)][0]

def timed(function, *arguments):
    start = time.ticks_us()
    function(*arguments)
    return time.ticks_diff(time.ticks_us(), start)

def get(piece):
    buf = bytearray(piece)
    with open("/file", "rb") as f:
        while f.readinto(buf):
            pass

def put(piece, size):
    buf = bytes(piece)
    with open("/new", "wb") as f:
        for _ in range(size // piece):
            f.write(buf)
        f.flush()
        os.sync()

def round_trips(count):
    buf = bytearray(4096)
    with open("/file", "rb") as f:
        words = f.handle()
        for _ in range(count):
            p9.file_read(words, buf)

def names():
    assert len(os.listdir("/many")) == 1000
"""

# What, of which unit: what the board does, and Linux's line; by how much the microseconds are divided.
MEASURED = (
    ("a round trip of 4 KiB, µs", "round_trips(1000)", "io /mnt/file read 4096 1", 1000, 0),
    ("32 MiB read in 4 KiB calls, ms", "get(4096)", "io /mnt/file get 4096 8192", 1000, 8192),
    ("32 MiB read in 64 KiB calls, ms", "get(65536)", "io /mnt/file get 65536 512", 1000, 512),
    ("32 MiB written in 4 KiB calls, ms", f"put(4096, {SIZE})", "io /mnt/new put 4096 8192", 1000, 8192),
    ("32 MiB written in 64 KiB calls, ms", f"put(65536, {SIZE})", "io /mnt/new put 65536 512", 1000, 512),
    ("1,000 names with sizes, ms", "names()", "io /bin/find exec /mnt/many -size +9999", 1000, 1),
)  # fmt: skip


def on_board(board, code):
    return int(board.exec(f"print(timed(lambda: {code}))", 300))


def on_linux(guest, line, times):
    """Microseconds of all, or of one request."""
    path, action, *arguments = line.split()[1:]
    return guest.io(path, action, *arguments) * (times or 1)


def main():
    with tempfile.TemporaryDirectory(prefix="folders-") as name:
        folder = Path(name)
        (folder / "file").write_bytes(os.urandom(MIB) * (SIZE // MIB))
        (folder / "many").mkdir()
        for n in range(NAMES):
            (folder / "many" / f"file{n}").write_bytes(bytes(n))
        machine = Machine(folders=[Folder(folder)], memory="256M")
        with Board(machine) as board:
            board.wait_for_prompt()
            board.exec(ON_BOARD)
            machine.boot = []
            try:
                guest = linux.Guest(machine.arguments())
            except Unavailable as why:
                guest = None
                print(f"There is no Linux beside the board: {why}")
            if guest:
                mount = "mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 host /mnt"
                said = guest.run(f"{mount}; ls /mnt")
                if "many" not in said:
                    raise SystemExit(f"Linux did not mount the folder: {said}")
            try:
                table(board, guest)
            finally:
                if guest:
                    guest.close()


def table(board, guest):
    print(f"{'a folder of the host':<38}{'board':>10}{'Linux':>10}")
    for what, code, line, divided, times in MEASURED:
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(on_board(board, code) / divided)
            if guest:
                theirs.append(on_linux(guest, line, times) / (divided if times else 1))
        theirs = f"{statistics.median(theirs):10.1f}" if theirs else f"{'':>10}"
        print(f"{what:<38}{statistics.median(ours):10.1f}{theirs}", flush=True)


if __name__ == "__main__":
    main()
