# SPDX-License-Identifier: MIT
"""Partition tables and filesystems: made by the host, found and mounted by the board, and back."""

import json
import re
import struct
import subprocess
import uuid
import zlib

import fat
import littlefs
import pytest
from conftest import INTERFACES
from mpremote.romfs import make_romfs

SECTOR = 512
MIB = 1 << 20
FAT_TYPE, LINUX, EXTENDED, PROTECTIVE = 0x0C, 0x83, 0x05, 0xEE
BASIC_DATA = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"


def littlefs_image(size, block, files, folders=()):
    host = littlefs.LittleFS(block_size=block, block_count=size // block)
    for name in folders:
        host.mkdir(name)
    for name, content in files.items():
        with host.open(name, "wb") as file:
            file.write(content)
    return bytes(host.context.buffer)


def littlefs_read(image, block, name):
    context = littlefs.UserContext(buffer=bytearray(image))
    host = littlefs.LittleFS(context, block_size=block, block_count=len(image) // block)
    with host.open(name, "rb") as file:
        return file.read()


def fat_image(folder, mebibytes, files):
    path = folder / "fat.img"
    fat.make(path, mebibytes, files)
    return path.read_bytes()


def boot_record(entries):
    """A sector with a table of (type, first, count)."""
    table = b"".join(struct.pack("<B3xB3xII", 0, *entry) for entry in entries)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"


def place(image, block, content, size=SECTOR):
    image[block * size : block * size + len(content)] = content


def gpt(image, parts, size=SECTOR):
    """Write a GPT into an image: parts are (first, count, name)."""
    blocks = len(image) // size
    entries = b"".join(
        uuid.UUID(BASIC_DATA).bytes_le
        + uuid.uuid5(uuid.NAMESPACE_URL, ascii(name)).bytes_le
        + struct.pack("<QQQ", first, first + count - 1, 0)
        + name.encode("utf-16-le", "surrogatepass").ljust(72, b"\0")
        for first, count, name in parts
    ).ljust(128 * 128, b"\0")
    table = len(entries) // size
    place(image, 0, boot_record([(PROTECTIVE, 1, min(blocks - 1, 0xFFFFFFFF))]), size)
    for own, other, first in ((1, blocks - 1, 2), (blocks - 1, 1, blocks - 1 - table)):
        header = struct.pack("<8sIIIIQQQQ", b"EFI PART", 0x10000, 92, 0, 0, own, other, 2, blocks)
        header += bytes(16) + struct.pack("<QIII", first, 128, 128, zlib.crc32(entries))
        crc = struct.pack("<I", zlib.crc32(header))
        place(image, own, header[:16] + crc + header[20:], size)
        place(image, first, entries, size)
    return image


@INTERFACES
def test_partitions_of_an_mbr_are_mounted_at_the_start(start, disk, tmp_path, modern):
    image = bytearray(16 * MIB)
    files = {"main.py": b"print('from', 'partition', 1)\n", "a.txt": b"first"}
    place(image, 0, boot_record([(FAT_TYPE, 2048, 8192), (LINUX, 10240, 2048),
                                 (EXTENDED, 14336, 16384)]))  # fmt: skip
    place(image, 2048, fat_image(tmp_path, 4, files))
    place(image, 10240, littlefs_image(MIB, 4096, {"b.txt": b"second"}))
    # Two logical partitions, each after its own table; the first holds no filesystem.
    place(image, 14336, boot_record([(LINUX, 63, 100), (EXTENDED, 4096, 4096)]))
    place(image, 18432, boot_record([(LINUX, 2048, 2048)]))
    place(image, 20480, littlefs_image(MIB, 512, {"c.txt": b"third"}))
    disk = disk(image)
    board = start(modern=modern, disks=[disk])
    banner = board.wait_for_prompt()
    assert "partition 1 FAT at /, partition 2 littlefs at /vdb" in banner
    assert "partition 3 no known filesystem, partition 4 littlefs at /vdc" in banner
    assert "from partition 1" in banner
    board.exec("""
assert [open(name).read() for name in ('/a.txt', '/vdb/b.txt', '/vdc/c.txt')] == [
    'first', 'second', 'third']
for root in ('/', '/vdb/', '/vdc/'):
    with open(root + 'new', 'w') as file:
        file.write('written at ' + root)
import virtio
found = virtio.partitions(virtio.opened()[0])
assert [(part.first, part.block_count, part.kind) for part in found] == [
    (2048, 8192, 12), (10240, 2048, 131), (14399, 100, 131), (20480, 2048, 131)], found
""")
    board.power_off()
    image = disk.path.read_bytes()
    (tmp_path / "part.img").write_bytes(image[2048 * 512 : 10240 * 512])
    fat.check(tmp_path / "part.img")
    assert fat.read(tmp_path / "part.img", "new") == b"written at /"
    assert littlefs_read(image[10240 * 512 :][:MIB], 4096, "new") == b"written at /vdb/"
    assert littlefs_read(image[20480 * 512 :][:MIB], 512, "new") == b"written at /vdc/"


@INTERFACES
def test_partitions_of_a_gpt_are_found(start, disk, tmp_path, modern):
    parts = [(64, 8192, "système"), (8256, 2048, "data")]
    image = gpt(bytearray(8 * MIB), parts)
    place(image, 64, fat_image(tmp_path, 4, {"a.txt": b"first"}))
    place(image, 8256, littlefs_image(MIB, 512, {"b.txt": b"second"}))
    torn = image[:]
    place(torn, 1, bytes(512))  # what is left is the table at the end
    wrong = image[:]
    place(wrong, 2, b"\1")  # a table that is not the one of the checksum
    large = gpt(bytearray(8 * MIB), [(256, 1024, "blocks of 4096")], 4096)
    place(large, 256, fat_image(tmp_path, 4, {"c.txt": b"third"}), 4096)
    disks = [
        disk(image),
        disk(torn),
        disk(wrong),
        disk(large, options="logical_block_size=4096,physical_block_size=4096"),
    ]
    board = start(modern=modern, disks=disks)
    assert "partition 1 FAT at /, partition 2 littlefs at /vdb" in board.wait_for_prompt()
    board.exec("""
import os, virtio
assert open('/a.txt').read() == 'first' and open('/vdb/b.txt').read() == 'second'
assert open('/vdc/a.txt').read() == 'first' and open('/vde/a.txt').read() == 'first'
for disk in virtio.opened()[:3]:
    found = virtio.partitions(disk)
    assert [(part.first, part.block_count, part.name) for part in found] == [
        (64, 8192, 'système'), (8256, 2048, 'data')], found
    assert found[0].kind == 'ebd0a0a2-b9e5-4433-87c0-68b6b72699c7'
large = virtio.Block(3)
part, = virtio.partitions(large)
assert (part.first, part.block_count, part.block_size) == (256, 1024, 4096)
""")


# Scripts for sfdisk; a partition without a start comes after the one before it.
SFDISK = {
    "MBR": """
        label: dos
        start=2048, size=8192, type=c, bootable
        start=10240, size=2048, type=83
        start=14336, size=18432, type=5
        start=16384, size=2048, type=83
        start=20480, size=8192, type=6
        7 : size=1000, type=da
        size=500, type=0b
    """,
    "extended first": """
        label: dos
        start=63, size=20000, type=f
        4 : start=24576, size=8000, type=83
        size=63, type=83
        start=8192, size=8192, type=c
    """,
    "GPT": """
        label: gpt
        start=2048, size=8192, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name="système"
        5 : start=16384, size=2048, type=L, name="data"
        size=1, type=S
    """,
}


@INTERFACES
@pytest.mark.parametrize("script", SFDISK)
def test_tables_that_sfdisk_made_are_read(start, disk, tmp_path, script, modern):
    disk = disk(bytes(16 * MIB))
    lines = "\n".join(line.strip() for line in SFDISK[script].strip().splitlines())
    subprocess.run(["sfdisk", "-q", disk.path], input=lines, text=True, check=True,
                   env=fat.ENVIRONMENT)  # fmt: skip
    dump = subprocess.check_output(["sfdisk", "-J", disk.path], env=fat.ENVIRONMENT)
    table = json.loads(dump)["partitiontable"]
    expected = [
        (
            part["start"],
            part["size"],
            part["type"].lower() if table["label"] == "gpt" else int(part["type"], 16),
            part.get("name", ""),
        )
        for part in table["partitions"]
        if part["type"] not in ("5", "f")
    ]
    image = bytearray(disk.path.read_bytes())
    first, count = [part[:2] for part in expected if part[1] >= 2048][-1]
    files = {"main.py": b"print('from here')\n"}
    place(image, first, littlefs_image(count * SECTOR, SECTOR, files))
    disk.path.write_bytes(image)
    board = start(modern=modern, disks=[disk])
    assert "littlefs at /" in (banner := board.wait_for_prompt()) and "from here" in banner
    found = board.exec("""
import virtio
print([(part.first, part.block_count, part.kind, part.name)
       for part in virtio.partitions(virtio.opened()[0])])
""")
    # sfdisk counts logical partitions from 5 on, after the primary ones; the board as they come.
    assert sorted(eval(found)) == sorted(expected)


@INTERFACES
def test_tables_that_cannot_be_are_no_partitions(start, disk, tmp_path, modern):
    whole = fat_image(tmp_path, 4, {"a.txt": b"whole disk"})
    loop = bytearray(MIB)
    place(loop, 0, boot_record([(EXTENDED, 1, 2000)]))
    place(loop, 1, boot_record([(LINUX, 5, 5), (EXTENDED, 10, 20)]))
    place(loop, 11, boot_record([(LINUX, 5, 5), (EXTENDED, 10, 20)]))
    beyond = boot_record([(LINUX, 1, 4000)]).ljust(MIB, b"\0")
    noise = gpt(bytearray(MIB), [])
    noise[512:] = bytes(MIB - 512)
    board = start(modern=modern, disks=[disk(x) for x in (whole, loop, beyond, noise)])
    assert "Traceback" not in board.wait_for_prompt()
    board.exec("""
import virtio
assert open('/a.txt').read() == 'whole disk'
assert virtio.partitions(virtio.opened()[0]) == []
for n in (1, 2, 3):
    disk = virtio.Block(n)
    found = virtio.partitions(disk)
    assert len(found) == (2 if n == 1 else 0), found
    disk.deinit()
""")


@INTERFACES
def test_what_is_not_on_the_disk_is_left_out_alone_and_keeps_the_others_from_the_root(
    start, disk, tmp_path, modern
):
    files = {"main.py": b"print('from a damaged disk')\n"}
    first = fat_image(tmp_path, 1, files)
    beyond = bytearray(8 * MIB)
    place(beyond, 0, boot_record([(FAT_TYPE, 2048, 2048), (LINUX, 6000, 40000), (LINUX, 4096, 0),
                                  (LINUX, 8192, 2048)]))  # fmt: skip
    over = bytearray(8 * MIB)
    place(over, 0, boot_record([(FAT_TYPE, 2048, 2048), (LINUX, 4000, 4096)]))
    extended = bytearray(8 * MIB)
    place(extended, 0, boot_record([(FAT_TYPE, 2048, 2048), (EXTENDED, 8192, 60000)]))
    place(extended, 8192, boot_record([(LINUX, 8, 100), (EXTENDED, 20000, 1000)]))
    hybrid = gpt(bytearray(8 * MIB), [])
    place(hybrid, 0, boot_record([(PROTECTIVE, 1, 2047), (FAT_TYPE, 2048, 2048)]))
    place(hybrid, 1, bytes(512))
    place(hybrid, len(hybrid) // 512 - 1, bytes(512))
    backup = gpt(bytearray(8 * MIB), [(2048, 2048, "fat")])
    place(backup, 1, bytes(512))
    images = [beyond, over, extended, hybrid, backup]
    for image in images:
        place(image, 2048, first)
    good = fat_image(tmp_path, 4, {"main.py": b"print('from a good disk')\n"})
    board = start(modern=modern, disks=[disk(image) for image in [*images, good]])
    banner = board.wait_for_prompt()
    lines = [line for line in banner.splitlines() if "block" in line]
    for name, line in zip("bcdef", lines):
        assert f"partition 1 FAT at /vd{name}" in line, line
        assert "damaged partition table, not for /" in line, line
    assert "FAT at /" in lines[5] and "damaged" not in lines[5]
    assert "from a good disk" in banner and "from a damaged disk" not in banner
    found = board.exec("""
import virtio
for disk in virtio.opened():
    if disk.block_count == 16384:
        print([(part.first, part.block_count) for part in virtio.partitions(disk)])
""").splitlines()
    fat_ = "(2048, 2048)"
    assert found == [f"[{fat_}, (8192, 2048)]", f"[{fat_}, (4000, 4096)]",
                     f"[{fat_}, (8200, 100)]", f"[{fat_}]", f"[{fat_}]"]  # fmt: skip


@INTERFACES
def test_all_filesystems_are_mounted_however_many_there_are(start, disk, modern):
    part = littlefs_image(64 * SECTOR, SECTOR, {"a": b"here"})
    image = gpt(bytearray(4 * MIB), [(100 + 100 * n, 64, f"p{n}") for n in range(60)])
    for n in range(60):
        place(image, 100 + 100 * n, part)
    board = start(modern=modern, disks=[disk(image)])
    banner = board.wait_for_prompt()
    assert "Traceback" not in banner
    points = re.findall(r"partition \d+ littlefs at (/\w*)", banner)
    assert len(set(points)) == 60
    assert points[:2] == ["/", "/vdb"] and points[25:27] == ["/vdz", "/vdA"]
    assert points[51:54] == ["/vdZ", "/vdaa", "/vdab"]
    board.exec(f"for point in {points}:\n    assert open(point + '/a').read() == 'here'\n")


@INTERFACES
def test_a_gpt_is_found_on_a_disk_that_grew_and_in_any_unit(start, disk, tmp_path, modern):
    grown = gpt(bytearray(4 * MIB), [(64, 100, "😀 \ud800x")]) + bytes(MIB)
    torn = grown[:]
    place(torn, 1, bytes(512))
    board = start(modern=modern, disks=[disk(grown), disk(torn)])
    board.wait_for_prompt()
    board.exec("""
import virtio
for n in range(2):
    (part,) = virtio.partitions(virtio.Block(n))
    assert (part.first, part.block_count, part.name) == (64, 100, '😀 \ufffdx'), part
""")


@INTERFACES
def test_a_rom_filesystem_and_littlefs_1_are_mounted(start, disk, tmp_path, modern):
    (tmp_path / "rom/lib").mkdir(parents=True)
    (tmp_path / "rom/main.py").write_text("print('from', 'ROM')\n")
    (tmp_path / "rom/lib/data.bin").write_bytes(bytes(range(256)) * 100)
    rom = make_romfs(str(tmp_path / "rom"), mpy_cross=None)
    torn = rom[:3] + b"\xff\xff\xff\x7f" + rom[7:]
    disks = [disk(image.ljust(MIB, b"\0")) for image in (rom, torn, b"")]
    board = start(modern=modern, disks=disks)
    banner = board.wait_for_prompt()
    assert "ROM at /" in banner and "from ROM" in banner
    assert banner.count("no known filesystem") == 2
    board.exec("""
import vfs, virtio
assert open('/lib/data.bin', 'rb').read() == bytes(range(256)) * 100
disk = virtio.Block(2)
vfs.VfsLfs1.mkfs(disk)
assert virtio.mount(disk, '/one') == 'littlefs 1'
with open('/one/file', 'w') as file:
    file.write('one')
vfs.umount('/one')
""")
    board.soft_reset()
    assert board.exec("print(open('/vdb/file').read())") == "one\n"


@INTERFACES
def test_a_partition_ends_where_it_ends(start, disk, modern):
    image = bytearray(MIB)
    place(image, 0, boot_record([(LINUX, 100, 50)]))
    disk = disk(image)
    board = start(modern=modern, disks=[disk])
    board.wait_for_prompt()
    board.exec("""
import virtio
disk = virtio.Block(0)
part, = virtio.partitions(disk)
part.writeblocks(0, b'a' * 512)
part.writeblocks(49, b'z' * 512)
part.writeblocks(0, b'b', 511)
part.ioctl(3, 0)
buf = bytearray(3)
part.readblocks(0, buf, 510)
assert buf == b'ab\\0', buf
for block, length, offset in ((50, 512, None), (49, 1024, None), (-1, 512, None), (0, 10, None),
                              (49, 2, 511), (0, 1, 50 * 512), (0, 1, -1)):
    for call in (part.readblocks, part.writeblocks):
        try:
            call(block, bytearray(length), offset) if offset is not None else call(
                block, bytearray(length))
        except ValueError:
            continue
        raise AssertionError((block, length, offset))
""")
    board.power_off()
    content = disk.path.read_bytes()
    expected = bytearray(image)
    place(expected, 100, b"a" * 511 + b"b")
    place(expected, 149, b"z" * 512)
    assert content == expected


@INTERFACES
def test_format_asks_for_a_confirmation_and_mount_finds_what_it_made(start, disk, modern):
    disks = [disk(bytes(4 * MIB)), disk(bytes(16 * MIB))]
    board = start(modern=modern, disks=disks)
    board.wait_for_prompt()
    board.exec("""
import vfs, virtio
small, large = virtio.Block(0), virtio.Block(1)
for arguments in ((small, 'FAT'), (small, 'FAT', 'yes'), (small, 'ext4', 'erase'),
                  (small, 'littlefs', 'erase', 1000), (small, 'littlefs', 'erase', 256)):
    try:
        virtio.format(*arguments)
    except ValueError:
        continue
    raise AssertionError(arguments)
buf = bytearray(4096)
small.readblocks(0, buf)
assert buf == bytes(4096)
try:
    virtio.mount(small, '/x')
    raise AssertionError
except OSError as error:
    assert error.errno == 19, error
for kind, block in (('FAT', None), ('littlefs', None), ('littlefs', 65536), ('littlefs', 1024)):
    virtio.format(small, kind, confirm='erase', block_size=block)
    found = virtio.mount(small, '/x')
    assert found == kind, (found, kind, block)
    with open('/x/file', 'w') as file:
        file.write('on ' + kind)
    vfs.umount('/x')
    virtio.mount(small, '/x', readonly=True)
    assert open('/x/file').read() == 'on ' + kind
    try:
        with open('/x/file', 'w') as file:
            file.write('no')
        raise AssertionError
    except OSError as error:
        assert error.errno == 30, error
    vfs.umount('/x')
virtio.format(large, 'littlefs', confirm='erase')
virtio.mount(large, '/x')
with open('/x/file', 'w') as file:
    file.write('large')
vfs.umount('/x')
""")
    board.power_off()
    assert littlefs_read(disks[0].path.read_bytes(), 1024, "file") == b"on littlefs"
    assert littlefs_read(disks[1].path.read_bytes(), 8192, "file") == b"large"


def test_a_littlefs_whose_superblock_has_moved_is_mounted(start, disk):
    """It moves when the first two blocks have been written to often, here some 900 times."""
    image = disk(bytes(4 * MIB))
    board = start(disks=[image])
    board.wait_for_prompt()
    board.exec("""
import os, vfs, virtio
small = virtio.Block(0)
virtio.format(small, 'littlefs', confirm='erase', block_size=4096)
virtio.mount(small, '/x')
with open('/x/file', 'w') as file:
    file.write('still here')
for n in range(1000):
    open('/x/other', 'w').close()
    os.remove('/x/other')
vfs.umount('/x')
for _ in range(2):
    virtio.mount(small, '/x')
    assert open('/x/file').read() == 'still here'
    vfs.umount('/x')
""")
    board.power_off()
    assert b"littlefs" not in image.path.read_bytes()[:32]


def moved_littlefs(files, moves, circle=False):
    """A littlefs of 1 MiB whose superblock has moved that often; or its pointers go in a circle."""
    image = bytearray(littlefs_image(MIB, 512, files))
    pairs = [(2 * n, 2 * n + 1) for n in range(moves + 1)]
    image[1024 * moves : 1024 * (moves + 1)] = image[:1024]
    for pair, following in zip(pairs, pairs[1:]):
        for block in pair:
            image[512 * block : 512 * (block + 1)] = moved_to(following, pair[1] - block)
    if circle:
        image[1024 * moves : 1024 * (moves + 1)] = moved_to(pairs[moves // 3], 1) * 2
    return image


def moved_to(pair, revision):
    """A block that says just where the superblock is: a tag, the pair, a checksum (SPEC.md)."""
    tag, checksum = 0x601FFC08, 0x500FFDEC
    block = struct.pack("<I", revision) + struct.pack(">I", tag ^ 0xFFFFFFFF)
    block += struct.pack("<II", *pair) + struct.pack(">I", tag ^ checksum)
    return (block + struct.pack("<I", zlib.crc32(block) ^ 0xFFFFFFFF)).ljust(512, b"\xff")


def test_a_littlefs_is_found_however_often_its_superblock_has_moved(start, disk):
    image = disk(moved_littlefs({"file": b"still here"}, 300))
    board = start(disks=[image, disk(moved_littlefs({}, 100, circle=True))])
    out = board.wait_for_prompt()
    assert "littlefs at /" in out, out
    assert "no known filesystem" in out  # and the search for it ends
    board.exec("""
assert open('/file').read() == 'still here'
with open('/new', 'w') as file:
    file.write('and more')
""")
    board.power_off()
    assert littlefs_read(image.path.read_bytes(), 512, "file") == b"still here"
    assert littlefs_read(image.path.read_bytes(), 512, "new") == b"and more"
