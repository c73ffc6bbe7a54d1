# SPDX-License-Identifier: MIT
"""Disks whose images outgrow the host's filesystem, which is a real one, and full.

It is a small tmpfs in a mount namespace of its own, which an ordinary user may make where the
host allows user namespaces; its files are reached through /proc.
"""

import os
import subprocess
from pathlib import Path

import fat
import pytest
from conftest import INTERFACES
from emulator import escape
from test_storage_faults import HELPERS, wait_until_stopped
from test_storage_partitions import littlefs_read

MIB = 1 << 20
ROOM = 2 * MIB
SIZE = 8 * MIB  # of a disk


def sparse(path, size=SIZE):
    path.touch()
    os.truncate(path, size)
    return path


def disk(path, form="raw", **device):
    """QEMU's words for a disk that has its image there."""
    words = ["-drive", f"if=none,id=full,format={form},file={escape(path)}"]
    device = {"driver": "virtio-blk-device", "drive": "full"} | device
    return words + ["-device", ",".join(f"{key}={value}" for key, value in device.items())]


@INTERFACES
@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_a_full_host_is_an_error_of_the_write_and_of_no_other_call(start, tiny, form, modern):
    path = sparse(tiny / "disk")
    if form == "qcow2":
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "8M"], check=True)
    board = start(modern=modern, more=disk(path, form, werror="report"))
    board.wait_for_prompt()
    board.exec(
        HELPERS
        + """
disk = virtio.Block(0)
piece = bytearray(65536)

def fill(first):
    for n in range(first, 128):
        piece[:2] = n.to_bytes(2, 'little')
        try:
            disk.writeblocks(n * 128, piece)
        except OSError as error:
            assert error.errno == 5 and isinstance(error, virtio.IoError), error
            return n
    raise AssertionError("never full")

def check(count):
    for n in range(count):
        disk.readblocks(n * 128, piece)
        assert piece[:2] == n.to_bytes(2, 'little') and not any(piece[2:]), n

full = fill(0)
assert 8 <= full <= 16, full
disk.flush()
check(full)
again = bytearray(512)
disk.writeblocks(0, again, 512)   # what has its room is written
requests = [(513, again)] + [((full + n) * 128, bytearray(65536)) for n in range(1, 6, 2)]
error = fails(5, disk.writemany, requests)
assert [index for index, _ in error.failed] == [1, 2, 3], error.failed
"""
    )
    (tiny / "filler").unlink()
    board.exec("""
more = fill(full)
assert more >= full + 8, (full, more)
disk.flush()
check(more)
""")


@INTERFACES
@pytest.mark.parametrize("kind", ["FAT", "littlefs"])
def test_a_filesystem_on_a_full_host_says_so_and_goes_on(start, tiny, tmp_path, kind, modern):
    path = sparse(tiny / "disk")
    if kind == "FAT":
        fat.make(path, SIZE // MIB, {})
    board = start(modern=modern, more=disk(path, werror="report"))
    board.wait_for_prompt()
    board.exec(
        HELPERS
        + f"""
if {kind!r} == 'littlefs':
    disk = virtio.Block(0)
    virtio.format(disk, 'littlefs', confirm='erase', block_size=4096)
    virtio.mount(disk, '/')
with open('/good', 'w') as file:
    file.write('good')

def write(name, count):
    with open(name, 'wb') as file:
        for _ in range(count):
            file.write(b'data' * 2048)

fails(5, write, '/large', 512)
assert open('/good').read() == 'good'
"""
    )
    (tiny / "filler").unlink()
    board.exec("""
os.remove('/large')
write('/small', 100)
assert open('/good').read() == 'good'
os.sync()
""")
    board.power_off()
    if kind == "FAT":
        fat.check(path)
        found = fat.read(path, "good"), fat.read(path, "small")
    else:
        content = path.read_bytes()
        found = tuple(littlefs_read(content, 4096, name) for name in ("good", "small"))
    assert found == (b"good", b"data" * 204800)


@INTERFACES
def test_by_default_the_machine_waits_until_there_is_room(start, tiny, modern):
    """QEMU stops it; told to go on with the host still full, it stops again."""
    path = sparse(tiny / "disk")
    board = start(modern=modern, more=disk(path))
    board.wait_for_prompt()
    board.exec(HELPERS + "disk = virtio.Block(0)\ndisk.timeout_ms = 60_000")
    board.transport.exec_raw_no_follow("""
disk.writemany([(n * 8, bytes([n & 0xFF]) * 4096) for n in range(448)])   # 1.75 MiB
disk.flush()
print('written')
""")
    wait_until_stopped(board)
    board.monitor.cmd("cont")
    wait_until_stopped(board)
    (tiny / "filler").unlink()
    board.monitor.cmd("cont")
    with board.deadline(20, "the writes"):
        output, error = board.transport.follow(None)
    assert (output, error) == (b"written\r\n", b"")
    content = path.read_bytes()
    assert all(content[n * 4096] == n & 0xFF for n in range(448))
