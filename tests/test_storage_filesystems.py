# SPDX-License-Identifier: MIT
"""Filesystems that the board makes, on disks of every size: the host reads them, and checks."""

import json
import os
import struct
import subprocess
import zlib

import fat
import littlefs
import pytest
from conftest import INTERFACES
from emulator import Disk, drive
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


def littlefs_of(block, writes=0, size=None):
    """The blocks of a littlefs with a file, as large as a littlefs of that block size may be."""
    size = size or max(64 * 1024, 6 * block)
    image = littlefs_image(size, block, {"file": b"here"})
    context = littlefs.UserContext(buffer=bytearray(image))
    host = littlefs.LittleFS(context, block_size=block, block_count=size // block)
    for number in range(writes):
        with host.open("other", "wb") as file:
            file.write(b"%d" % number)
    return bytes(context.buffer)


@INTERFACES
@pytest.mark.parametrize("block", [512, 4096, 65536, MIB])
def test_a_littlefs_has_the_size_that_it_says(start, disk, block, modern):
    """On a disk that is larger, and not on one that is smaller: that is said, and nothing else."""
    image = littlefs_of(block)
    count = len(image) // block
    images = [image + bytes(512), image + bytes(block), image * 2, image[:-512], image[:block]]
    disks = [disk(len(image)) for image in images]
    for disk_, content in zip(disks, images):
        disk_.path.write_bytes(content)
    board = start(modern=modern, disks=disks)
    lines = [line for line in board.wait_for_prompt().splitlines() if "block" in line]
    assert [line.partition("littlefs at ")[2].strip() for line in lines[:3]] == [
        "/",
        "/vdb",
        "/vdc",
    ]
    for number, line in enumerate(lines[3:]):
        there = (count - 1, 1)[number]
        assert f"littlefs of {count} blocks of {block} bytes where there are {there}" in line
    board.exec(f"""
import os, virtio
for root in ('/', '/vdb/', '/vdc/'):
    assert os.statvfs(root)[2] == {count}
    assert open(root + 'file').read() == 'here'
    with open(root + 'new', 'w') as file:
        file.write('written' * 1000)
try:
    virtio.mount(virtio.Block(3), '/small')
    raise AssertionError
except OSError as error:
    assert error.errno == 22 and 'where there are' in error.args[1], error
""")
    board.power_off()
    for disk_ in disks[:3]:
        content = disk_.path.read_bytes()[: len(image)]
        assert littlefs_read(content, block, "new") == b"written" * 1000
        assert littlefs_read(content, block, "file") == b"here"
    for disk_, content in zip(disks[3:], images[3:]):
        assert disk_.path.read_bytes() == content


@INTERFACES
def test_a_littlefs_that_grew_has_its_new_size(start, disk, modern):
    context = littlefs.UserContext(buffer=bytearray(littlefs_of(512)) + bytes(64 * 1024))
    host = littlefs.LittleFS(context, block_size=512, block_count=128)
    host.fs_grow(256)
    grown = disk(129 * 1024)
    grown.path.write_bytes(bytes(context.buffer) + bytes(1024))
    board = start(modern=modern, disks=[grown])
    board.wait_for_prompt()
    board.exec("""
import os
assert os.statvfs('/')[2] == 256 and open('/file').read() == 'here'
""")


@INTERFACES
@pytest.mark.parametrize("kind", ["FAT", "littlefs"])
@pytest.mark.parametrize("place", ["cached", "by hand"])
def test_a_disk_that_is_resized_while_it_is_mounted_keeps_its_filesystem(
    start, disk, kind, place, modern
):
    """It grows, and shrinks to what it was. Where it loses more than that, writing ends in an error."""
    size = 4 * MIB
    words = ["-drive", drive(0, disk(size)), "-device", "virtio-blk-device,drive=disk0"]
    board = start(modern=modern, more=words)
    board.wait_for_prompt()
    mount = "virtio.mount(disk, '/x')"
    if place == "by hand":
        sizes = "" if kind == "FAT" else ", readsize=512, progsize=512"
        name = "VfsFat" if kind == "FAT" else "VfsLfs2"
        mount = f"vfs.mount(vfs.{name}(disk{sizes}), '/x')"
    board.exec(f"""
import os, time, vfs, virtio
disk = virtio.Block(0)
virtio.format(disk, '{kind}', confirm='erase', block_size=512)
{mount}

def put(name, count):
    with open('/x/' + name, 'wb') as file:
        for n in range(count):
            file.write(b'%4d' % n * 128)

def whole(name, count):
    with open('/x/' + name, 'rb') as file:
        return file.read() == b''.join([b'%4d' % n * 128 for n in range(count)])

def resized(size):
    while disk.capacity * 512 != size:
        time.sleep_ms(1)

put('before', 300)
os.sync()
blocks = os.statvfs('/x')[2]
""")

    def resize(size):
        board.monitor.cmd("block_resize", device="disk0", size=size)
        board.exec(f"resized({size})")

    resize(2 * size)
    board.exec("assert os.statvfs('/x')[2] == blocks and whole('before', 300)")
    board.exec("put('grown', 300); os.sync(); assert whole('grown', 300)")
    resize(size)
    board.exec(f"""
vfs.umount('/x')
{mount}
assert whole('before', 300) and whole('grown', 300)
put('after', 300)
os.sync()
assert whole('after', 300)
""")
    resize(size // 2)
    board.exec("""
try:
    put('too large', 5000)
    os.sync()
    assert False
except OSError:
    pass
""")


@INTERFACES
@pytest.mark.parametrize("block", [512, 1024, 4096, 65536, MIB])
def test_a_littlefs_whose_first_block_is_damaged_is_found_by_its_second(
    start, disk, block, modern
):
    whole = littlefs_of(block)
    moved = littlefs_of(block, 400)
    zeros, ones = bytes(block), b"\xff" * block
    images = [zeros + whole[block:], ones + whole[block:], os.urandom(8) + whole[8:],
              zeros + moved[block:], moved[:block] + zeros + moved[2 * block :]]  # fmt: skip
    # But not where others have written their own since.
    fat_ = disk(64 * 1024)
    fat.tool("mkfs.fat", fat_.path)
    images.append(fat_.path.read_bytes()[:block][:512].ljust(block, b"\0") + whole[block:])
    images.append(bytes(2 * block) + whole[2 * block :])
    # Nor where it is not certain which one was there last.
    two = bytearray(zeros + whole[block:])
    two[2 * block : 3 * block] = littlefs_of(2 * block)[2 * block : 3 * block]
    images.append(bytes(two))
    disks = [disk(len(image)) for image in images]
    for disk_, content in zip(disks, images):
        disk_.path.write_bytes(content)
    board = start(modern=modern, disks=disks)
    lines = [line for line in board.wait_for_prompt().splitlines() if "block" in line]
    assert all("littlefs at " in line for line in lines[:5]), lines
    assert "FAT at " in lines[5] and "no known filesystem" in lines[6], lines
    assert block == MIB or "no known filesystem" in lines[7], lines
    board.exec("""
for root in ('/', '/vdb/', '/vdc/', '/vdd/', '/vde/'):
    assert open(root + 'file').read() == 'here'
""")


@INTERFACES
def test_a_littlefs_that_is_too_new_or_damaged_is_said_to_be(start, disk, modern):
    image = bytearray(littlefs_of(512))
    for block in (0, 1):
        struct.pack_into("<I", image, block * 512 + 20, 0x00030001)
        with_crc(image, block * 512)
    new = disk(len(image))
    new.path.write_bytes(image)
    board = start(modern=modern, disks=[new])
    assert "not mounted: littlefs 3.1 is damaged, or newer than" in board.wait_for_prompt()


def with_crc(image, at):
    """Make the checksum of a block's first commit right again."""
    tag, place = 0xFFFFFFFF, at + 4
    while True:
        tag ^= struct.unpack_from(">I", image, place)[0]
        if tag >> 20 & 0x780 == 0x500:
            break
        place += 4 + (tag & 0x3FF)
    crc = zlib.crc32(image[at : place + 4]) ^ 0xFFFFFFFF
    struct.pack_into("<I", image, place + 4, crc)


@INTERFACES
@pytest.mark.parametrize("size", [1024, 2048, 4096])
def test_a_FAT_may_have_larger_sectors_than_the_disk_has_blocks(start, disk, size, modern):
    card = disk(8 * MIB)
    fat.tool("mkfs.fat", "-S", str(size), card.path)
    (file := card.path.with_suffix(".txt")).write_bytes(b"from the host" * 1000)
    fat.tool("mcopy", "-i", card.path, file, "::host.txt")
    board = start(modern=modern, disks=[card])
    assert "FAT at /" in board.wait_for_prompt()
    board.exec("""
assert open('/host.txt').read() == 'from the host' * 1000
with open('/board.txt', 'w') as file:
    for n in range(1000):
        file.write('from the board %d' % n)
""")
    board.power_off()
    fat.check(card.path)
    expected = b"".join(b"from the board %d" % n for n in range(1000))
    assert fat.read(card.path, "board.txt") == expected


@INTERFACES
@pytest.mark.parametrize("block", [8192, 65536, MIB, 2 * MIB])
def test_disks_of_large_blocks_hold_littlefs_or_say_that_they_cannot(start, disk, block, modern):
    options = f"logical_block_size={block},physical_block_size={block}"
    sizes = [0, 512, block - 512, block, 2 * block + 512, 4 * block]
    disks = [disk(size, options=options) for size in sizes]
    if block <= MIB:
        disks[-1].path.write_bytes(littlefs_of(block, size=4 * block))
    board = start(modern=modern, disks=disks)
    lines = [line for line in board.wait_for_prompt().splitlines() if "block" in line]
    assert all("no known filesystem" in line for line in lines[:-1]), lines
    assert ("littlefs at /" if block <= MIB else "no known filesystem") in lines[-1]
    board.exec(SMALL.format(count=5))


@INTERFACES
def test_disks_of_a_few_sectors_hold_littlefs_or_say_that_they_cannot(start, disk, modern):
    disks = [disk(512 * count) for count in range(9)]
    board = start(modern=modern, disks=disks)
    lines = [line for line in board.wait_for_prompt().splitlines() if "block" in line]
    assert all("no known filesystem" in line for line in lines), lines
    board.exec(SMALL.format(count=9))


SMALL = """
import vfs, virtio
for n in range({count}):
    disk = virtio.Block(n)
    for kind in ('FAT', 'littlefs'):
        try:
            virtio.mount(disk, '/x')
            raise AssertionError
        except OSError as error:
            assert error.errno == 19, error
        try:
            virtio.format(disk, kind, confirm='erase')
        except virtio.Unsupported:
            assert kind == 'FAT' or disk.block_size > 1 << 20
        except virtio.InvalidParam:
            assert disk.block_count == 0 or disk.block_size > 1 << 20
        except OSError as error:
            assert kind == 'littlefs' and disk.block_count < 2 and error.errno == 28, error
        else:
            assert virtio.mount(disk, '/x') == kind == 'littlefs'
            vfs.umount('/x')
            disk.writeblocks(0, bytes(disk.block_size * 2))
    disk.deinit()
"""


def other_filesystems(folder):
    """Content that no driver here knows."""
    path = folder / "other.img"
    path.touch()
    os.truncate(path, 2 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True, env=fat.ENVIRONMENT)
    yield path.read_bytes()
    # The first sectors of an exFAT and of an NTFS, with the signature that FAT has as well.
    for name in (b"EXFAT   ", b"NTFS    "):
        boot = b"\xeb\x76\x90" + name + bytes(53)
        yield (boot.ljust(446, b"\x41") + b"Missing loader".ljust(64) + b"\x55\xaa").ljust(MIB)
    yield from (bytes(MIB), b"\xff" * MIB, os.urandom(MIB))


@INTERFACES
def test_what_nobody_here_knows_is_said_not_to_be_known(start, disk, tmp_path, modern):
    images = list(other_filesystems(tmp_path))
    disks = [disk(len(image)) for image in images]
    for disk_, content in zip(disks, images):
        disk_.path.write_bytes(content)
    board = start(modern=modern, disks=disks)
    lines = [line for line in board.wait_for_prompt().splitlines() if "block" in line]
    assert all("no known filesystem" in line for line in lines), lines
    board.power_off()
    for disk_, content in zip(disks, images):
        assert disk_.path.read_bytes() == content
