# SPDX-License-Identifier: MIT
"""Filesystems that the board makes, on disks of every size: the host reads them, and checks."""

import json
import os
import struct
import subprocess

import fat
import pytest
from conftest import INTERFACES
from emulator import Disk
from test_storage_partitions import littlefs_image, littlefs_read

MIB = 1 << 20
LARGE_BLOCKS = "logical_block_size=4096,physical_block_size=4096"


@pytest.fixture
def disk(tmp_path):
    def disk(size, **options):
        path = tmp_path / f"disk{len(list(tmp_path.iterdir()))}.img"
        path.touch()
        os.truncate(path, size)
        return Disk(path, **options)

    return disk


def only_partition(path):
    """A sparse image of what is in the partition of that disk."""
    with open(path, "rb") as file:
        first, count = struct.unpack_from("<II", file.read(512), 446 + 8)
    part = {"driver": "raw", "offset": first * 512, "size": count * 512}
    part["file"] = {"driver": "file", "filename": str(path)}
    image = path.with_suffix(".part")
    subprocess.run(["qemu-img", "convert", "-O", "raw", "json:" + json.dumps(part), image],
                   check=True)  # fmt: skip
    return image


@INTERFACES
def test_the_host_reads_the_FAT_that_the_board_made(start, disk, modern):
    """FAT12, FAT16 and FAT32, by their sizes, and one of blocks of 4096 bytes."""
    disks = [disk(2 * MIB), disk(64 * MIB), disk(5120 * MIB), disk(16 * MIB, options=LARGE_BLOCKS)]
    board = start(modern=modern, disks=disks)
    board.wait_for_prompt()
    board.exec("""
import os, vfs, virtio
for n in range(4):
    disk = virtio.Block(n)
    virtio.format(disk, 'FAT', confirm='erase')
    assert virtio.mount(disk, '/x') == 'FAT'
    os.mkdir('/x/folder')
    with open('/x/folder/A long name.txt', 'wb') as file:
        for k in range(200):
            file.write(bytes([n]) * 5000)
    vfs.umount('/x')
    disk.deinit()
""")
    board.soft_reset()
    board.exec("assert open('/vdd/folder/A long name.txt', 'rb').read() == bytes([3]) * 1000000")
    board.power_off()
    # MicroPython puts a FAT32 into a partition.
    images = [disk_.path for disk_ in disks]
    images[2] = only_partition(images[2])
    for number, image in enumerate(images):
        fat.check(image)
        assert fat.read(image, "folder/A long name.txt") == bytes([number]) * 1_000_000
    with open(images[2], "rb") as file:
        assert file.read(90)[82:] == b"FAT32   "


@INTERFACES
def test_host_and_board_share_disks_with_blocks_of_4096_bytes(start, disk, modern):
    fat_disk, lfs_disk = [disk(16 * MIB, options=LARGE_BLOCKS) for _ in range(2)]
    fat.tool("mkfs.fat", "-S", "4096", fat_disk.path)
    lfs_disk.path.write_bytes(littlefs_image(16 * MIB, 4096, {"host": b"from the host"}))
    board = start(modern=modern, disks=[fat_disk, lfs_disk])
    assert "FAT at /" in (banner := board.wait_for_prompt()) and "littlefs at /vdb" in banner
    board.exec("""
assert open('/vdb/host').read() == 'from the host'
for root in ('/', '/vdb/'):
    with open(root + 'board', 'wb') as file:
        for n in range(100):
            file.write(b'board' * 777)
""")
    board.power_off()
    fat.check(fat_disk.path)
    assert fat.read(fat_disk.path, "board") == b"board" * 77700
    assert littlefs_read(lfs_disk.path.read_bytes(), 4096, "board") == b"board" * 77700


@INTERFACES
def test_a_filesystem_lies_beyond_2_to_the_32_sectors(start, disk, modern):
    huge = disk(4 << 40)
    table = "label: gpt\nstart=2048, size=2048\nstart=6442450944, size=32768, name=far\n"
    subprocess.run(["sfdisk", "-q", huge.path], input=table, text=True, check=True,
                   env=fat.ENVIRONMENT)  # fmt: skip
    board = start(modern=modern, disks=[huge])
    board.wait_for_prompt()
    board.exec("""
import virtio
disk = virtio.Block(0)
near, far = virtio.partitions(disk)
assert (far.first, far.block_count, far.name) == (6442450944, 32768, 'far')
virtio.format(far, 'littlefs', confirm='erase', block_size=4096)
virtio.mount(far, '/far')
with open('/far/file', 'w') as file:
    file.write('far' * 5000)
""")
    board.soft_reset()
    assert "15000\n" == board.exec("print(len(open('/file').read()))")
    board.power_off()
    with open(huge.path, "rb") as file:
        file.seek(6442450944 * 512)
        assert littlefs_read(file.read(16 * MIB), 4096, "file") == b"far" * 5000


@INTERFACES
@pytest.mark.parametrize("kind", ["FAT", "littlefs"])
def test_boot_py_and_main_py_run_from_either(start, disk, tmp_path, kind, modern):
    files = {"boot.py": b"x = 'boot'\nprint('in', x)\n", "main.py": b"print('main', x)\n"}
    card = disk(8 * MIB)
    if kind == "FAT":
        fat.make(card.path, 8, files)
    else:
        card.path.write_bytes(littlefs_image(8 * MIB, 4096, files))
    board = start(modern=modern, disks=[card])
    banner = board.wait_for_prompt()
    assert f"{kind} at /" in banner
    assert banner.index("in boot\r\n") < banner.index("main boot\r\n")
    board.type("\x04")
    assert "main boot" in board.wait_for_prompt()
