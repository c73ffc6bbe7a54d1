# SPDX-License-Identifier: MIT
"""The long tests of what may be on a disk.

From the environment: TABLES, partition tables in all; DAMAGED, copies of each filesystem.
"""

import os
from pathlib import Path

import fat
import littlefs
from mpremote.romfs import make_romfs
from station import Station

TARGET = Path(__file__).parent.parent / "target"
TABLES = int(os.environ.get("TABLES") or 20_000)
DAMAGED = int(os.environ.get("DAMAGED") or 5000)
KINDS = ("FAT", "littlefs", "littlefs of 4096", "moved littlefs", "littlefs 1", "ROM")

MAKE_LITTLEFS_1 = """
import damage, vfs, virtio
data = damage.Memory(bytearray(64 * 512))
vfs.VfsLfs1.mkfs(data)
vfs.mount(vfs.VfsLfs1(data), '/one')
for n in range(5):
    with open('/one/%d' % n, 'w') as file:
        file.write('some' * 200)
vfs.umount('/one')
image = data.data
"""
READ_IMAGE = """
import damage, virtio
image = bytearray({length})
disk = virtio.Block(0)
disk.readblocks(0, image)
"""


def tables_at_random(folder, seed):
    station = Station()
    try:
        station.load(TARGET / "test_partitions.py")
        words = TABLES // 4, seed & 0x3FFFFFFF
        right, said, looked, found = station.board.call("tables.run", *words, timeout=7200)
        yield f"{right} right, {said} whose fault was said, {looked} of noise with {found} in them"
    finally:
        station.close()


def image(folder, kind):
    """A small filesystem of that kind, with some files."""
    files = {f"{number}": b"some" * 200 for number in range(5)}
    if kind == "FAT":
        fat.make(folder / "fat.img", 1, files)
        return (folder / "fat.img").read_bytes()
    if kind == "ROM":
        (folder / "rom").mkdir()
        for name, content in files.items():
            (folder / "rom" / name).write_bytes(content)
        rom = make_romfs(str(folder / "rom"), mpy_cross=None)
        return rom.ljust(16384, b"\0")
    block = 4096 if kind.endswith("4096") else 512
    host = littlefs.LittleFS(block_size=block, block_count=64)
    for name, content in files.items():
        with host.open(name, "wb") as file:
            file.write(content)
    for number in range(400 if kind.startswith("moved") else 0):
        with host.open("other", "wb") as file:
            file.write(b"%d" % number)
    return bytes(host.context.buffer)


def damaged(folder, kind, count, seed):
    """Mount damaged copies on a board; returns how many it mounted, did not know, and refused."""
    station = Station()
    try:
        station.load(TARGET / "test_partitions.py")
        if kind == "littlefs 1":
            station.board.exec(MAKE_LITTLEFS_1)
        else:
            content = image(folder, kind)
            with open(station.disks[0], "r+b") as file:
                file.write(content)
            station.board.exec(READ_IMAGE.format(length=len(content)))
        call = f"__import__('damage').run(image, {count}, {seed & 0x3FFFFFFF})"
        return station.board.eval(call, timeout=7200)
    finally:
        station.close()


def damaged_filesystems(folder, seed):
    for kind in KINDS:
        mounted, unknown, refused = damaged(folder, kind, DAMAGED, seed)
        yield f"{kind}: {mounted} mounted, {unknown} not known, {refused} refused with a reason"
