# SPDX-License-Identifier: MIT
"""MicroPython's own bugs that are mended here, as far as the host is needed to see it."""

import hashlib
import os
import struct
import subprocess
import sys
import zlib

import fat
import pytest
from emulator import ROOT, Disk
from test_storage_partitions import littlefs_image

MIB = 1 << 20
SECONDS = 120  # for memory that the host has to find first
FAR = 3 << 30


# The patches


@pytest.fixture
def mend(tmp_path):
    """Lay the patches over a tree of the files that they name, some of them changed."""
    tree, mended = tmp_path / "tree", tmp_path / "mended"
    for patch in (ROOT / "firmware/patches").glob("*.patch"):
        for line in patch.read_text().splitlines():
            if line.startswith("+++ b/"):
                name = line.removeprefix("+++ b/")
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                (tree / name).write_bytes((ROOT / "build/micropython-1.25.0" / name).read_bytes())

    def mend():
        subprocess.run([sys.executable, ROOT / "firmware/mend.py", tree, mended], check=True)
        return tree, mended

    return mend


def digests(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in files}


def test_every_patch_applies_and_the_tree_stays_as_it_was(mend, tmp_path):
    before = digests(tmp_path / "tree")
    tree, mended = mend()
    assert digests(tree) == before
    assert (mended / "left-out").read_text() == ""
    for path in mended.rglob("*.[ch]"):
        assert path.read_bytes() != (tree / path.relative_to(mended)).read_bytes()
    assert len(list(mended.rglob("*.[ch]"))) == len(before)


def test_a_patch_that_does_not_apply_is_named_and_the_others_apply(mend, tmp_path):
    """Such a file is compiled as it stands in the tree, and nothing is written in vain."""
    _, mended = mend()
    unchanged = (mended / "py/stream.c").stat().st_mtime_ns
    gc_c = tmp_path / "tree/py/gc.c"
    gc_c.write_text(gc_c.read_text().replace("last_used_block == 0 &&", "0 == last_used_block &&"))
    modgc = tmp_path / "tree/py/modgc.c"
    modgc.write_text(modgc.read_text().replace("MP_OBJ_NEW_SMALL_INT", "mp_obj_new_int_from_uint"))
    _, mended = mend()
    assert (mended / "left-out").read_text() == "gc-first-block\nmemory-counts\n"
    assert "needed < failed_alloc" in (mended / "py/gc.c").read_text()
    assert not (mended / "py/modgc.c").exists() and not (mended / "py/modmicropython.c").exists()
    assert (mended / "py/stream.c").stat().st_mtime_ns == unchanged


# Memory


@pytest.mark.parametrize("mebibytes", [320, 640])
def test_an_object_may_have_most_of_the_memory(start, mebibytes):
    board = start(memory="1G", entropy=False)
    board.wait_for_prompt()
    board.exec(f"x = bytearray({mebibytes} << 20); x[-1] = 1", SECONDS)
    board.exec(f"assert len(x) == {mebibytes} << 20 and x[0] == 0 and x[-1] == 1")


def test_free_memory_is_counted_beyond_one_gibibyte(start):
    board = start(memory="3G", entropy=False)
    board.wait_for_prompt()
    free, used = map(int, board.exec("import gc; print(gc.mem_free(), gc.mem_alloc())").split())
    assert (3 << 30) - 16 * MIB < free < 3 << 30 and 0 < used < MIB


def test_used_memory_is_counted_beyond_one_gibibyte(start):
    board = start(memory="2G", entropy=False)
    board.wait_for_prompt()
    board.exec(f"x = bytearray({1100 * MIB})", SECONDS)
    used = int(board.exec("import gc; print(gc.mem_alloc())", SECONDS))
    assert 1100 * MIB < used < 1110 * MIB


# Names on FAT, with one to four bytes a character in UTF-8

NAMES = ["plain name.txt", "Grüße.txt", "日本語.txt", "Ελληνικά и русский.txt"]
LONGEST = ["a" * 255, "é" * 255, "漢" * 255]
LONGEST_ON_HOST = ["a" * 255, "é" * 127, "漢" * 85]  # whose own names have up to 255 bytes
BEYOND = "😀.md"  # the mtools do not know pairs of units
STAND_IN = "aB.md"  # as many units of UTF-16
BROKEN = "\ud83dB.md"  # half a pair


def utf16(name):
    return name.encode("utf-16-le", "surrogatepass")


def change_name(disk, old, new):
    image = disk.path.read_bytes()
    assert image.count(utf16(old)) == 1
    disk.path.write_bytes(image.replace(utf16(old), utf16(new)))


def listed_by_the_host(disk):
    return fat.tool("mdir", "-b", "-i", disk.path).decode().replace("::/", "").split("\n")[:-1]


def test_names_that_the_host_gave_are_the_boards(start, fat_disk):
    disk = fat_disk({name: name.encode() for name in [*NAMES, *LONGEST_ON_HOST, STAND_IN]})
    change_name(disk, STAND_IN, BEYOND)
    board = start(disks=[disk])
    board.wait_for_prompt()
    board.exec(f"""
import os
names = {[*NAMES, *LONGEST_ON_HOST, BEYOND]!r}
assert sorted(os.listdir('/')) == sorted(names)
for name in names:
    assert os.stat(name)[6] and open(name).read() in (name, {STAND_IN!r})
""")


def test_names_that_the_board_gave_are_the_hosts(start, fat_disk):
    disk = fat_disk()
    board = start(disks=[disk])
    board.wait_for_prompt()
    board.exec(f"""
import os
for name in {[*NAMES, *LONGEST, BEYOND]!r}:
    with open('old', 'w') as file:
        file.write(name)
    os.rename('old', name)
    assert name in os.listdir() and os.stat(name)[6] == len(name.encode())
    os.rename(name, name[1:])
    assert name[1:] in os.listdir() and name not in os.listdir()
    os.mkdir(name)
    os.chdir(name)
    assert os.getcwd() == '/' + name and os.listdir('/' + name + '/') == []
    os.chdir('/')
    os.rmdir(name)
    os.rename(name[1:], name)
open('für', 'w').close()
os.remove('für')
os.sync()
""")
    board.power_off()
    fat.check(disk.path)
    for name in [*NAMES, *LONGEST]:
        assert name in listed_by_the_host(disk)
        assert fat.read(disk.path, name) == name.encode()
    assert disk.path.read_bytes().count(utf16(BEYOND)) == 1


def test_a_name_that_is_no_text_hides_no_other(start, fat_disk):
    disk = fat_disk({name: b"Hello.\n" for name in [*NAMES, STAND_IN]})
    change_name(disk, STAND_IN, BROKEN)
    board = start(disks=[disk])
    board.wait_for_prompt()
    board.exec(f"""
import os
others = set(os.listdir('/')) - set({NAMES!r})
assert len(os.listdir('/')) == {len(NAMES) + 1} and len(others) == 1, others
assert open(others.pop()).read() == 'Hello.\\n'  # by its short name
""")


def test_a_name_that_is_not_UTF_8_is_refused(start, fat_disk):
    board = start(disks=[fat_disk()])
    board.wait_for_prompt()
    board.exec("""
import os
from errno import EINVAL
for name in (b'\\xff', b'a\\xc3', b'\\xed\\xa0\\x80', b'\\xc0\\xaf', b'\\xf4\\x90\\x80\\x80', b'\\x80'):
    for function in (lambda name: open(name, 'w'), os.stat, os.mkdir, os.remove):
        try:
            function(b'/' + name)
        except OSError as error:
            assert error.errno == EINVAL, (name, error)
        else:
            assert False, name
for name in ('漢' * 256, '😀' * 128):
    try:
        open(name, 'w')
    except OSError as error:
        assert error.errno == EINVAL
    else:
        assert False
assert os.listdir('/') == []
""")


# Sizes and dates


def enlarge_on_fat(disk):
    image = bytearray(disk.path.read_bytes())
    entry = image.index(b"LARGE   BIN")
    struct.pack_into("<I", image, entry + 28, FAR)
    disk.path.write_bytes(image)


def lfs_crc(crc, data):
    return zlib.crc32(data, crc ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def seal(block):
    """Write the checksums of a littlefs metadata block anew (SPEC.md, CRC tags)."""
    crc, at, previous = lfs_crc(0xFFFFFFFF, block[:4]), 4, 0xFFFFFFFF
    while at + 8 <= len(block):
        tag = struct.unpack_from(">I", block, at)[0] ^ previous
        if tag >> 31:
            return
        kind, size = tag >> 20 & 0x7FF, tag & 0x3FF
        previous = tag
        crc = lfs_crc(crc, block[at : at + 4])
        if kind >> 8 == 5 and kind != 0x5FF:
            struct.pack_into("<I", block, at + 4, crc)
            previous ^= (kind & 1) << 31
            crc = 0xFFFFFFFF
        else:
            size = 0 if size == 0x3FF else size
            crc = lfs_crc(crc, block[at + 4 : at + 4 + size])
        at += 4 + size


def enlarge_on_littlefs(image, size, new):
    image = bytearray(image)
    for start in (0, 4096):
        block = image[start : start + 4096]
        at = block.find(struct.pack("<I", size))
        if at >= 0:
            struct.pack_into("<I", block, at, new)
            seal(block)
            image[start : start + 4096] = block
    return bytes(image)


def test_files_of_more_than_a_gibibyte_have_their_size(start, fat_disk, tmp_path):
    disk = fat_disk({"large.bin": bytes(5000)})
    enlarge_on_fat(disk)
    lfs = tmp_path / "lfs.img"
    lfs.write_bytes(
        enlarge_on_littlefs(
            littlefs_image(MIB, 4096, {"large.bin": bytes(50_001)}), 50_001, 1500 * MIB
        )
    )
    board = start(disks=[disk, Disk(lfs)])
    board.wait_for_prompt()
    board.exec(f"""
import os
for path, size in (('/', {FAR}), ('/vdb', {1500 * MIB})):
    (entry,) = [entry for entry in os.ilistdir(path) if entry[0] == 'large.bin']
    assert entry[3] == os.stat(path + '/large.bin')[6] == size, (path, entry)
""")


@pytest.mark.parametrize(
    "base, says", [("1975-05-06", (1980, 1, 1)), ("2099-12-30", (2099, 12, 30))]
)
def test_what_the_board_dates_has_that_date_on_the_host(start, fat_disk, base, says):
    disk = fat_disk()
    board = start(disks=[disk], more=["-rtc", f"base={base}T12:00:00"])
    board.wait_for_prompt()
    board.exec(f"""
import os, time
open('file', 'w').close()
assert time.localtime(os.stat('file')[8])[:3] == {says}
""")
    board.power_off()
    year, month, day = says
    assert f"{year}-{month:02}-{day:02}" in fat.tool("mdir", "-i", disk.path).decode()
