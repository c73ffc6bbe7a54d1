# SPDX-License-Identifier: MIT
"""The board starts in every machine that users make of it."""

import errno

import pytest
from conftest import INTERFACES
from emulator import Raised

ROUND_TRIP = """
import os
with open('/written.txt', 'w') as file:
    file.write('by the board')
print(open('/hello.txt').read(), open('/written.txt').read())
"""
DRAW = "import virtio; print(len(set(virtio.Rng(0).read(4096))))"


def check_disk_and_entropy(board):
    assert board.exec(ROUND_TRIP) == "hello by the board\n"
    assert int(board.exec(DRAW)) == 256


@INTERFACES
@pytest.mark.parametrize("image", ["elf", "bios", "flash"])
def test_every_image_boots_and_drives_disk_and_entropy(start, fat_disk, image, modern):
    disk = fat_disk({"hello.txt": b"hello"})
    board = start(image=image, modern=modern, disks=[disk])
    banner = board.wait_for_prompt()
    assert "MicroPython" in banner
    check_disk_and_entropy(board)


@INTERFACES
@pytest.mark.parametrize("cpu", ["cortex-a7", "cortex-a15"])
def test_every_cpu_drives_disk_and_entropy(start, fat_disk, cpu, modern):
    board = start(cpu=cpu, modern=modern, disks=[fat_disk({"hello.txt": b"hello"})])
    board.wait_for_prompt()
    check_disk_and_entropy(board)


@INTERFACES
@pytest.mark.parametrize("memory", [64, 128, 2048])
def test_heap_takes_the_memory_and_devices_reach_it(start, fat_disk, memory, modern):
    """In 2 GiB the last buffers lie beyond 0x80000000: addresses are unsigned."""
    disk = fat_disk({"hello.txt": b"hello"})
    board = start(image="flash", modern=modern, memory=f"{memory}M", disks=[disk])
    board.wait_for_prompt()
    board.exec(f"size = {memory} << 16")
    code = """
import gc, uctypes, virtio
gc.disable()  # a collection looks through every piece, which takes long
pieces = [bytearray(size) for _ in range(10)]
last = max(uctypes.addressof(piece) for piece in pieces) + size - 4096
page = uctypes.bytearray_at(last, 4096)
rng = virtio.Rng(0)
rng.readinto(page)
rng.deinit()
print(last, len(set(page)))
"""
    last, values = map(int, board.exec(code, 60).split())
    # Ten sixteenths of the memory were taken, so the last of them lies at least that high.
    assert last > 0x40000000 + memory * (1 << 20) * 9 // 16
    assert values == 256
    board.exec("del pieces")
    check_disk_and_entropy(board)


@INTERFACES
def test_second_disk_is_at_vdb(start, fat_disk, modern):
    disks = [fat_disk({"name.txt": b"first"}), fat_disk({"name.txt": b"second"})]
    board = start(modern=modern, disks=disks)
    board.wait_for_prompt()
    code = "print(open('/name.txt').read(), open('/vdb/name.txt').read())"
    assert board.exec(code) == "first second\n"


@INTERFACES
def test_no_disk_is_a_prompt(start, modern):
    board = start(modern=modern)
    board.wait_for_prompt()
    with pytest.raises(Raised, match="ENODEV"):
        board.exec("import virtio; virtio.Block(0)")
    assert int(board.exec(DRAW)) == 256


@INTERFACES
def test_no_entropy_device_is_enodev(start, fat_disk, modern):
    board = start(modern=modern, disks=[fat_disk()], entropy=False)
    board.wait_for_prompt()
    code = """
import virtio
try:
    virtio.Rng(0)
except OSError as error:
    print(error.errno)
"""
    assert int(board.exec(code)) == errno.ENODEV


def test_no_device_at_all_is_a_prompt(start):
    board = start(entropy=False)
    board.wait_for_prompt()
    assert board.exec("import virtio; print(virtio.scan())") == "[]\n"


@INTERFACES
def test_devices_come_in_the_order_of_the_command_line(start, fat_disk, modern):
    """QEMU fills the last slot first."""
    board = start(modern=modern, disks=[fat_disk(), fat_disk()])
    board.wait_for_prompt()
    code = "import virtio; print([t.device_type for t in virtio.scan()])"
    assert board.exec(code) == "[2, 2, 4]\n"


def test_hard_reset_starts_again(start, fat_disk):
    board = start(image="flash", disks=[fat_disk({"hello.txt": b"hello"})])
    board.wait_for_prompt()
    board.type("x = 1; import machine; machine.reset()\r")
    board.wait_for("MicroPython")
    board.wait_for_prompt()
    assert board.exec("print('x' in globals())") == "False\n"
    check_disk_and_entropy(board)


def test_power_off_ends_qemu(start, fat_disk):
    board = start(disks=[fat_disk()])
    board.wait_for_prompt()
    board.power_off()
    assert board.process.returncode == 0
