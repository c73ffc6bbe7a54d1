# SPDX-License-Identifier: MIT
"""What a filesystem asks of its disk: trace.py FAT read [512] [cached], or write, append, list…

Shows each request of an operation, then a summary. The operation works on a file of 1 MiB, in
calls of so many bytes (4096 without a number). Without `cached` the filesystem is mounted by hand,
so these are its own requests; with it by virtio.mount, and these are what reaches the disk.
"""

import ast
import sys
import tempfile
from collections import Counter
from pathlib import Path

from emulator import Board, BoardError, Disk, Machine

SIZE = 32 << 20
SHOWN = 60  # requests; the summary counts all of them
ON_BOARD = """
import os, vfs, virtio
from virtio.blockdev.calls import is_on_stack

class Trace(virtio.Partition):
    asked = None

    def note(self, kind, block, buf, offset):
        if self.asked is not None:
            where = "stack" if is_on_stack(buf) else "heap"
            self.asked.append((kind, block * self.block_size + (offset or 0), len(buf), where))

    def readblocks(self, block_num, buf, offset=None):
        self.note("read", block_num, buf, offset)
        return super().readblocks(block_num, buf, offset)

    def writeblocks(self, block_num, buf, offset=None):
        self.note("write", block_num, buf, offset)
        return super().writeblocks(block_num, buf, offset)

    def ioctl(self, op, arg):
        if self.asked is not None:
            name = {3: "sync", 6: "erase"}.get(op, "ioctl %d" % op)
            self.asked.append((name, arg * self.block_size, 0, ""))
        return super().ioctl(op, arg)

def mount(kind, cached):
    virtio.format(disk, kind, confirm="erase")
    unit = 4096 if kind == "littlefs" and not cached else 512  # which format chooses
    trace = Trace(disk, block_size=unit)
    if cached:
        virtio.mount(trace, "/t")
    elif kind == "FAT":
        vfs.mount(vfs.VfsFat(trace), "/t")
    else:
        vfs.mount(vfs.VfsLfs2(trace, readsize=512, progsize=512, lookahead=1024), "/t")
    return trace

def write(name, mode, size, piece):
    data = bytes(piece)
    with open("/t/" + name, mode) as file:
        for _ in range(size // piece):
            file.write(data)

def read(name, piece):
    data = bytearray(piece)
    with open("/t/" + name, "rb") as file:
        while file.readinto(data):
            pass

def overwrite(name, piece):
    with open("/t/" + name, "r+b") as file:
        file.seek(500000)
        file.write(bytes(piece))

disk = virtio.Block(0)
"""
OPERATIONS = {
    "write": "write('new', 'wb', 1 << 20, piece)",
    "read": "read('file', piece)",
    "append": "write('file', 'ab', piece, piece)",
    "overwrite": "overwrite('file', piece)",
    "small": "write('small', 'wb', piece, piece)",
    "list": "os.listdir('/t/many')",
    "rename": "os.rename('/t/file', '/t/other')",
    "remove": "os.remove('/t/file')",
}
PREPARED = """
piece = {piece}
trace = mount({kind!r}, {cached})
write("file", "wb", 1 << 20, 4096)
os.mkdir("/t/many")
for n in range(50):
    write("many/%d" % n, "wb", 100, 100)
trace.asked = []
{operation}
asked, trace.asked = trace.asked, None
for request in asked:
    print(request)
vfs.umount("/t")
"""


def requests(kind, operation, piece, cached):
    """-> [(what, position in bytes, bytes, whose buffer)]"""
    with tempfile.NamedTemporaryFile() as image:
        image.truncate(SIZE)
        with Board(Machine(disks=[Disk(image.name)])) as board:
            board.wait_for_prompt()
            board.exec(ON_BOARD)
            operation = OPERATIONS[operation]
            code = PREPARED.format(kind=kind, operation=operation, piece=piece, cached=cached)
            return [ast.literal_eval(line) for line in board.exec(code, 120).splitlines()]


def summary(asked):
    for kind in dict.fromkeys(request[0] for request in asked):
        same = [request for request in asked if request[0] == kind]
        sizes = Counter(size for _, _, size, _ in same)
        line = (
            f"{kind:<6} {len(same):>6} requests, {sum(s * n for s, n in sizes.items()):>9,} bytes"
        )
        if sum(sizes):
            ends = [at + size for _, at, size, _ in same]
            following = sum(end == request[1] for end, request in zip(ends, same[1:]))
            line += f", {following * 100 // len(same):>2} % continue the last one; sizes "
            line += ", ".join(f"{size} ({n})" for size, n in sizes.most_common(5))
        print(line)


def main():
    kind, operation, *rest = sys.argv[1:]
    piece = next((int(word) for word in rest if word.isdigit()), 4096)
    asked = requests(kind, operation, piece, "cached" in rest)
    for what, at, size, where in asked[:SHOWN]:
        print(f"{what:<6} {at:>9} {size:>6} {where}")
    if len(asked) > SHOWN:
        print("…")
    summary(asked)


if __name__ == "__main__":
    try:
        main()
    except BoardError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
