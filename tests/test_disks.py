# SPDX-License-Identifier: MIT
"""What the start-up makes of the disks it finds, and what the host makes of them afterwards."""

import random

import errno
import fat
import littlefs
import pytest
from conftest import INTERFACES
from emulator import Disk

BLOCK = 512  # a block of the filesystem is one of the disk: MicroPython knows no other
BLOCKS = 2048


def littlefs_image(files):
    host = littlefs.LittleFS(block_size=BLOCK, block_count=BLOCKS)
    for name, content in files.items():
        with host.open(name, "wb") as file:
            file.write(content)
    return bytes(host.context.buffer)


@INTERFACES
def test_host_and_board_share_a_fat_disk(start, fat_disk, modern):
    content = random.Random(1).randbytes(300_000)
    disk = fat_disk({"host.bin": content})
    board = start(modern=modern, disks=[disk])
    board.wait_for_prompt()
    board.exec("""
import os
os.mkdir('/folder')
with open('/host.bin', 'rb') as source, open('/folder/copy.bin', 'wb') as copy:
    while piece := source.read(10007):
        copy.write(piece)
""")
    board.power_off()
    fat.check(disk.path)
    assert fat.read(disk.path, "folder/copy.bin") == content


@INTERFACES
def test_host_and_board_share_a_littlefs_disk(start, disk, modern):
    content = random.Random(2).randbytes(100_000)
    disk = disk(littlefs_image({"host.bin": content}))
    board = start(modern=modern, disks=[disk])
    board.wait_for_prompt()
    board.exec("""
with open('/host.bin', 'rb') as source, open('/copy.bin', 'wb') as copy:
    while piece := source.read(10007):
        copy.write(piece)
""")
    board.power_off()
    context = littlefs.UserContext(buffer=bytearray(disk.path.read_bytes()))
    host = littlefs.LittleFS(context, block_size=BLOCK, block_count=BLOCKS)
    with host.open("copy.bin", "rb") as file:
        assert file.read() == content


@INTERFACES
@pytest.mark.parametrize(
    "kind", ["zeros", "noise", "FAT without its first sector", "torn littlefs", "one sector"]
)
def test_disk_without_a_filesystem_is_a_line_of_text(start, disk, fat_disk, modern, kind):
    content = {
        "zeros": lambda: bytes(1 << 20),
        "noise": lambda: random.Random(3).randbytes(1 << 20),
        "FAT without its first sector": lambda: (
            bytes(512) + fat_disk({"x": b"x"}).path.read_bytes()[512:]
        ),
        "torn littlefs": lambda: littlefs_image({"x": b"x"})[:40] + bytes(BLOCK * BLOCKS - 40),
        "one sector": lambda: bytes(512),
    }[kind]()
    unknown = disk(content)
    good = fat_disk({"hello.txt": b"hello"})
    board = start(modern=modern, disks=[unknown, good])
    banner = board.wait_for_prompt()
    assert "Traceback" not in banner
    # The first disk with a filesystem is the one at /, and nobody has touched the other.
    assert board.exec("print(open('/hello.txt').read())") == "hello\n"
    board.power_off()
    assert unknown.path.read_bytes() == content


@INTERFACES
def test_damaged_filesystem_is_not_a_crash(start, disk, fat_disk, modern):
    """The first sector alone is enough for FAT to mount; what it points to is zeros."""
    damaged = disk(
        fat_disk({"main.py": b"print('lost')"}).path.read_bytes()[:512] + bytes(1 << 20)
    )
    board = start(modern=modern, disks=[damaged])
    assert "Traceback" not in board.wait_for_prompt()
    assert board.exec("import os; print(os.listdir('/'))") == "[]\n"


@INTERFACES
def test_start_up_names_what_it_found(start, disk, fat_disk, modern):
    board = start(modern=modern, disks=[fat_disk(), disk(bytes(1 << 20))])
    lines = board.wait_for_prompt().splitlines()
    found = [line for line in lines if "block" in line or "entropy" in line]
    assert len(found) == 3
    assert "8192 KiB" in found[0] and "FAT at /" in found[0]
    assert "1024 KiB" in found[1] and "FAT" not in found[1]
    assert "entropy" in found[2]


@INTERFACES
def test_read_only_disk_refuses_writes(start, fat_disk, modern):
    disk = fat_disk({"hello.txt": b"hello"}, readonly=True)
    before = disk.path.read_bytes()
    board = start(modern=modern, disks=[disk])
    board.wait_for_prompt()
    assert board.exec("print(open('/hello.txt').read())") == "hello\n"
    code = """
try:
    open('/new.txt', 'w')
except OSError as error:
    print(error.errno)
"""
    assert int(board.exec(code)) == errno.EROFS
    board.power_off()
    assert disk.path.read_bytes() == before


def test_boot_py_and_main_py_run_from_the_disk(start, fat_disk):
    disk = fat_disk({"boot.py": b"x = 'boot'\nprint(x)\n", "main.py": b"print('main', x)\n"})
    board = start(disks=[disk])
    output = board.wait_for_prompt()
    assert output.index("boot\r\n") < output.index("main boot\r\n")


def test_main_py_that_raises_ends_in_a_prompt(start, fat_disk):
    board = start(disks=[fat_disk({"main.py": b"1 / 0\n"})])
    assert "ZeroDivisionError" in board.wait_for_prompt()
    assert board.exec("print(1 + 1)") == "2\n"


def test_ctrl_c_interrupts_main_py(start, fat_disk):
    program = b"print('running')\nwhile True:\n    pass\n"
    board = start(disks=[fat_disk({"main.py": program})])
    board.wait_for("running\r\n")
    board.type("\x03")
    assert "KeyboardInterrupt" in board.wait_for_prompt()


@INTERFACES
def test_soft_reset_mounts_the_disks_again(start, fat_disk, modern):
    board = start(modern=modern, disks=[fat_disk({"hello.txt": b"hello"}), fat_disk()])
    board.wait_for_prompt()
    for _ in range(3):
        board.type("x = open('/new.txt', 'w')\r")
        board.wait_for_prompt()
        board.type("\x04")
        output = board.wait_for_prompt()
        assert "soft reboot" in output
        assert "Traceback" not in output
        board.type("print(open('/hello.txt').read())\r")
        assert "hello\r\n" in board.wait_for_prompt()


@INTERFACES
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_every_slot_may_hold_a_disk_of_four_queues(start, fat_disk, modern, packed):
    """They do not fit into the DMA memory: the later ones have fewer, and are mounted as well."""
    if packed and not modern:
        pytest.skip("a legacy device has no packed ring")
    options = "num-queues=4" + (",packed=on" if packed else "")
    disk = Disk(fat_disk({"a.txt": b"here"}).path, readonly=True, options=options)
    board = start(modern=modern, disks=[disk] * 31)
    lines = [line for line in board.wait_for_prompt().splitlines() if "block" in line]
    assert len(lines) == 31 and all("FAT at /" in line for line in lines), lines
    assert "queues" not in lines[0] and "1 of 4 queues" in lines[-1], lines
    points = [line.partition("FAT at ")[2].strip() for line in lines]
    assert len(set(points)) == 31
    board.exec(f"""
import virtio
for point in {points}:
    assert open(point + '/a.txt').read() == 'here', point
assert len(virtio.Rng(0).read(100)) == 100
""")
