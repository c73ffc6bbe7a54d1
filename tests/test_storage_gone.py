# SPDX-License-Identifier: MIT
"""Disks that are paused, too short, empty, missing or taken away while they are used."""

import os
import signal
import subprocess
import time

import pytest
from conftest import INTERFACES
from emulator import Board, Disk, Ended, Machine
from test_storage_faults import HELPERS, faulty, make, read

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path):
    """Make a raw disk of the given content."""

    def disk(content=bytes(MIB), **fields):
        path = tmp_path / f"disk{len(list(tmp_path.iterdir()))}.img"
        path.write_bytes(content)
        return Disk(path, **fields)

    return disk


def overlay(path, backing):
    """QEMU's words for a disk of what differs from another image."""
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", backing, path]
    subprocess.run(create, check=True)
    more = ["-drive", f"if=none,id=disk,format=qcow2,file={path}"]
    return [*more, "-device", "virtio-blk-device,drive=disk"]


def monitor(board, line):
    return board.monitor.cmd("human-monitor-command", **{"command-line": line})


@INTERFACES
def test_a_paused_machine_has_no_time_to_miss(start, disk, tmp_path, modern):
    """What is requested, and what is written to filesystems, goes on as if nothing had been."""
    disks = [Disk(tmp_path / kind) for kind in ("FAT", "littlefs")]
    for filesystem in disks:
        make(filesystem.path, filesystem.path.name, {})
    board = start(modern=modern, disks=[*disks, disk()])
    board.wait_for_prompt()
    board.exec(
        HELPERS
        + """
import time
disk = virtio.Block(2)
for each in virtio.opened():
    each.timeout_ms = 500
requests = [(n, bytearray(4096)) for n in range(0, 2048, 8)]
"""
    )
    board.transport.exec_raw_no_follow("""
begun = time.ticks_ms()
n = 0
while n < 4 or time.ticks_diff(time.ticks_ms(), begun) < 1000:
    n += 1
    content = bytes([n & 0xFF]) * 4096
    disk.writemany([(block, content) for block, _ in requests])
    disk.readmany(requests)
    assert all(buf == content for _, buf in requests)
    for root in ('/', '/vdb/'):
        with open(root + str(n % 4), 'wb') as file:
            file.write(content * 4)
os.sync()
print(n)
""")
    for seconds in (1, 0.1, 0.1, 0.1, 0.1):
        time.sleep(0.05)
        board.monitor.cmd("stop")
        time.sleep(seconds)
        board.monitor.cmd("cont")
    with board.deadline(60, "the requests"):
        output, error = board.transport.follow(None)
    assert error == b""
    board.power_off()
    last = range(int(output) - 3, int(output) + 1)
    for filesystem in disks:
        found = read(filesystem.path, filesystem.path.name, *[str(n % 4) for n in last])
        assert found == [bytes([n & 0xFF]) * 16384 for n in last]


@INTERFACES
def test_a_disk_that_does_not_answer_in_time_keeps_what_it_has_until_it_does(start, disk, modern):
    """QEMU holds one write back; what else is requested is answered meanwhile."""
    image = disk()
    board = start(modern=modern, more=faulty(image.path, id="late"))
    board.wait_for_prompt()
    board.exec(HELPERS + "disk = virtio.Block(0)\n(queue,) = disk.queues")
    # By the device (-d), for another user of the image would wait for the write to end.
    assert "rror" not in monitor(board, 'qemu-io -d late "break pwritev A"')
    board.exec("""
disk.timeout_ms = 300
error = fails(110, disk.writeblocks, 3, b'late' * 128)
assert isinstance(error, virtio.Timeout)
disk.timeout_ms = 30_000
buf = bytearray(512)
for n in range(100):
    disk.readblocks(n, buf)
    assert not any(buf)
disk.writeblocks(5, b'else' * 128)
assert queue.available_desc() < queue.size
""")
    assert "rror" not in monitor(board, 'qemu-io -d late "resume A"')
    board.exec("""
import time
begun = time.ticks_ms()
while queue.available_desc() < queue.size:
    assert time.ticks_diff(time.ticks_ms(), begun) < 10_000
    disk.readblocks(3, buf)
assert buf == b'late' * 128
""")
    board.power_off()
    content = image.path.read_bytes()
    assert content[3 * 512 : 4 * 512] == b"late" * 128
    assert content[5 * 512 : 6 * 512] == b"else" * 128


@INTERFACES
def test_a_file_that_became_shorter_reads_zeros_beyond_its_end(start, disk, modern):
    image = disk(b"a" * MIB)
    board = start(modern=modern, disks=[image])
    board.wait_for_prompt()
    board.exec(HELPERS + "disk = virtio.Block(0)")
    os.truncate(image.path, 1000 * 512)
    board.exec("""
buf = bytearray(1024)
disk.readblocks(999, buf)
assert buf == b'a' * 512 + bytes(512)
disk.writeblocks(2000, b'b' * 512)
disk.readblocks(2000, buf)
assert buf == b'b' * 512 + bytes(512)
""")


@INTERFACES
def test_an_overlay_reads_zeros_beyond_the_end_of_a_backing_file_that_became_shorter(
    start, disk, tmp_path, modern
):
    backing = disk(b"a" * MIB).path
    more = overlay(tmp_path / "overlay", backing)
    os.truncate(backing, 1000 * 512)
    board = start(modern=modern, more=more)
    board.wait_for_prompt()
    board.exec("""
import virtio
disk = virtio.Block(0)
assert disk.capacity == 2048
buf = bytearray(1024)
disk.readblocks(999, buf)
assert buf == b'a' * 512 + bytes(512)
disk.writeblocks(1000, b'b' * 512)
disk.readblocks(999, buf)
assert buf == b'a' * 512 + b'b' * 512
""")


@pytest.mark.parametrize("missing", ["image", "backing file"])
def test_a_missing_file_ends_QEMU_with_a_sentence(disk, tmp_path, missing):
    image = disk()
    machine = Machine(disks=[image])
    if missing == "backing file":
        machine = Machine(more=overlay(tmp_path / "overlay", image.path))
    image.path.unlink()
    with pytest.raises(Ended, match=f"Could not open '{image.path}': No such file"):
        Board(machine).close()


@INTERFACES
def test_a_file_that_ends_within_a_sector_is_filled_up_with_zeros(start, disk, modern):
    sizes = (300, 1000)
    images = [disk(b"a" * size) for size in sizes]
    board = start(modern=modern, disks=images)
    banner = board.wait_for_prompt()
    assert banner.count("KiB, no known filesystem") == len(sizes)
    board.exec("""
import virtio
buf = bytearray(512)
for n, size in enumerate((300, 1000)):
    disk = virtio.Block(n)
    last = disk.block_count - 1
    assert last == size // 512
    disk.readblocks(last, buf)
    assert buf == b'a' * (size % 512) + bytes(512 - size % 512)
    disk.writeblocks(last, b'b' * 512)
    disk.readblocks(last, buf)
    assert buf == b'b' * 512
""")
    board.power_off()
    assert images[0].path.read_bytes() == b"b" * 512
    assert images[1].path.read_bytes() == b"a" * 512 + b"b" * 512


@INTERFACES
def test_a_disk_of_no_sectors_has_no_filesystem_and_no_partitions(start, disk, modern):
    board = start(modern=modern, disks=[disk(b"")])
    assert "block, virtio-mmio version" in (banner := board.wait_for_prompt())
    assert "0 KiB, no known filesystem" in banner
    board.exec(
        HELPERS
        + """
disk = virtio.Block(0)
assert disk.block_count == 0
assert virtio.partitions(disk) == []
fails(19, virtio.mount, disk, '/disk')
disk.flush()
try:
    disk.readblocks(0, bytearray(512))
except virtio.InvalidParam:
    pass
else:
    raise AssertionError
"""
    )


@INTERFACES
def test_a_disk_that_is_taken_away(start, disk, modern):
    """QEMU unplugs no device of this transport, but its medium: requests fail, the others work."""
    board = start(modern=modern, disks=[disk(options="id=gone"), disk()])
    board.wait_for_prompt()
    board.exec(HELPERS + "gone, stays = virtio.Block(0), virtio.Block(1)")
    assert "does not support hotplugging" in monitor(board, "device_del gone")
    monitor(board, "drive_del disk0")
    board.exec("""
buf = bytearray(512)
fails(5, gone.readblocks, 0, buf)
fails(5, gone.writeblocks, 0, buf)
error = fails(5, gone.readmany, [(n, bytearray(512)) for n in range(3)])
assert len(error.failed) == 3
stays.writeblocks(0, buf)
stays.readblocks(0, buf)
gone.deinit()
""")


@INTERFACES
def test_a_mounted_disk_that_is_taken_away(start, tmp_path, modern):
    """As far as it was synced its filesystem is whole, and the board works without it."""
    disks = [Disk(tmp_path / kind) for kind in ("FAT", "littlefs")]
    for filesystem in disks:
        make(filesystem.path, filesystem.path.name, {"large": b"data" * 20_000})
    board = start(modern=modern, disks=disks)
    board.wait_for_prompt()
    board.exec("""
import os
for root in ('/', '/vdb/'):
    os.mkdir(root + 'folder')
    with open(root + 'folder/synced', 'w') as file:
        file.write('synced')
""")
    board.soft_reset()  # nothing of the folders is in memory
    board.exec(
        HELPERS
        + """
def read(name):
    with open(name, 'rb') as file:
        return file.read()

def write(name):
    with open(name, 'wb') as file:
        file.write(b'new')
"""
    )
    for number in range(len(disks)):
        monitor(board, f"drive_del disk{number}")
    board.exec("""
for root in ('/', '/vdb/'):
    fails(5, open, root + 'folder/synced')
    fails(5, read, root + 'large')
    fails(5, write, root + 'new')
    fails(5, os.remove, root + 'large')
    fails(5, os.mkdir, root + 'other')
""")
    board.disconnect()
    board.wait_for_prompt()
    board.type("\x04")
    try:
        board.wait_for_prompt()
        assert board.exec("import virtio; print(virtio.opened())") == "[]\n"
        sizes = f"[virtio.Block(n).block_count for n in range({len(disks)})]"
        assert set(eval(board.exec(f"print({sizes})"))) == {0}
        board.power_off()
    except Ended:
        # QEMU 10 does, when it is asked for the capacity of a disk that it has taken away.
        if board.process.returncode != -signal.SIGSEGV:
            raise
    for filesystem in disks:
        found = read(filesystem.path, filesystem.path.name, "large", "folder/synced")
        assert found == [b"data" * 20_000, b"synced"]
