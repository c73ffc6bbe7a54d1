# SPDX-License-Identifier: MIT
"""Disks that fail, as QEMU makes them fail: the right error, and the board goes on."""

import json
import time

import fat
import pytest
from conftest import INTERFACES
from test_storage_partitions import LINUX, boot_record, littlefs_image, littlefs_read

MIB = 1 << 20


def faulty(path, rules=(), name="bad", **device):
    """QEMU's words for a disk over a file, whose requests fail by the rules of blkdebug.

    The state that a rule may ask for is the number of the write that comes next.
    """
    file = {"driver": "file", "filename": str(path), "node-name": f"{name}-file"}
    debug = {"driver": "blkdebug", "image": f"{name}-file", "node-name": name}
    for node in file, debug:
        node["discard"] = "unmap"
    if rules:
        debug["inject-error"] = [{"event": "none", "immediately": True} | rule for rule in rules]
    last = max([rule.get("state", 1) for rule in rules], default=1)
    if last > 1:
        debug["set-state"] = [
            {"event": "pwritev", "state": n, "new_state": n + 1} for n in range(1, last)
        ]
    words = ["-blockdev", json.dumps(file), "-blockdev", json.dumps(debug)]
    defaults = {"driver": "virtio-blk-device", "drive": name, "rerror": "report"}
    # Merged requests would fail together.
    device = defaults | {"werror": "report", "request-merging": "off"} | device
    return words + ["-device", ",".join(f"{key}={value}" for key, value in device.items())]


def make(path, kind, files):
    """Make an image of 8 MiB with that filesystem."""
    if kind == "FAT":
        fat.make(path, 8, files)
    else:
        path.write_bytes(littlefs_image(8 * MIB, 512, files))


def read(path, kind, *names):
    """The contents of the files in an image whose filesystem, if it is FAT, is clean."""
    if kind == "FAT":
        fat.check(path)
        return [fat.read(path, name) for name in names]
    content = path.read_bytes()
    return [littlefs_read(content, 512, name) for name in names]


@pytest.fixture
def image(tmp_path):
    def image(content=bytes(MIB)):
        path = tmp_path / f"disk{len(list(tmp_path.iterdir()))}.img"
        path.write_bytes(content)
        return path

    return image


HELPERS = """
import asyncio, os, vfs, virtio

def fails(errno, function, *args):
    try:
        function(*args)
    except OSError as error:
        assert error.errno == errno, error
        return error
    raise AssertionError("no error")

def awaited(function):
    return lambda *args: asyncio.run(function(*args))
"""


def wait_until_stopped(board):
    # Nothing may wait for the board meanwhile: it says nothing until it is continued.
    deadline = time.monotonic() + 20
    while board.monitor.cmd("query-status")["status"] != "io-error":
        assert time.monotonic() < deadline
        time.sleep(0.05)


@INTERFACES
def test_a_bad_sector_is_an_error_of_each_request_across_it_and_of_no_other(start, image, modern):
    path = image(b"".join(bytes([n & 0xFF]) * 512 for n in range(MIB // 512)))
    rules = [{"iotype": "read", "sector": 100}, {"iotype": "write", "sector": 200}]
    board = start(modern=modern, more=faulty(path, rules))
    board.wait_for_prompt()
    board.exec(
        HELPERS
        + """
disk = virtio.Block(0)

def check(bad, single, many):
    error = fails(5, single, bad - 3, bytearray(8 * 512))
    assert isinstance(error, virtio.IoError)
    single(bad - 1, bytearray(512))
    requests = [(n, bytearray(b'w' * 512)) for n in range(bad - 40, bad + 40)]
    error = fails(5, many, requests)
    assert isinstance(error, virtio.BatchError)
    ((index, why),) = error.failed
    assert index == 40 and isinstance(why, virtio.IoError)
    del requests[40]
    many(requests)
    for n, buf in requests:
        assert buf == (bytes([n]) if bad == 100 else b'w') * 512

check(100, disk.readblocks, disk.readmany)
check(200, disk.writeblocks, disk.writemany)
check(100, awaited(disk.aread), awaited(disk.areadmany))
check(200, awaited(disk.awrite), awaited(disk.awritemany))

for count in (3, 80):   # in one request, and in more than one
    bufs = [bytearray(b'v' * 512) for _ in range(count)]
    fails(5, disk.readv, 101 - count, bufs)
    fails(5, disk.writev, 201 - count, bufs)
    disk.readv(100 - count, bufs)
    assert bufs[0] == bytes([100 - count]) * 512
    disk.writev(200 - count, bufs)
    disk.readv(200 - count, again := [bytearray(512) for _ in range(count)])
    assert again == bufs

fails(5, disk.readblocks, 100, bytearray(1), 511)
fails(5, disk.writeblocks, 100, b'x', 7)   # which reads the block first
fails(5, disk.writeblocks, 200, b'x', 7)
disk.writeblocks(199, b'x', 7)
assert all(queue.available_desc() == queue.size for queue in disk.queues)
"""
    )
    board.power_off()
    content = path.read_bytes()
    assert content[200 * 512 : 201 * 512] == bytes([200]) * 512
    assert content[201 * 512 : 240 * 512] == b"w" * 39 * 512


@INTERFACES
def test_a_write_a_flush_a_discard_and_a_write_zeroes_that_fail(start, image, modern):
    rules = [
        {"iotype": "write", "sector": 300, "once": True},
        *[{"iotype": "flush", "once": True}] * 2,
        {"iotype": "discard", "sector": 100},
        {"iotype": "write-zeroes", "sector": 200},
    ]
    board = start(modern=modern, more=faulty(image(b"a" * MIB), rules))
    board.wait_for_prompt()
    board.exec(
        HELPERS
        + """
disk = virtio.Block(0)
fails(5, disk.writeblocks, 300, b'again' + bytes(507))
disk.writeblocks(300, b'again' + bytes(507))
fails(5, disk.flush)
fails(5, awaited(disk.aflush))
disk.flush()
awaited(disk.aflush)()
buf = bytearray(512)
disk.readblocks(300, buf)
assert buf[:5] == b'again'
for clear, bad in ((disk.discard, 100), (disk.write_zeroes, 200)):
    error = fails(5, clear, bad - 3, 8)
    assert isinstance(error, virtio.IoError)
    clear(bad + 1, 8)
fails(5, disk.write_zeroes, 200, 1, True)
disk.readblocks(200, buf)
assert buf == b'a' * 512
disk.readblocks(201, buf)
assert not any(buf)
"""
    )


@INTERFACES
@pytest.mark.parametrize("kind", ["FAT", "littlefs"])
def test_a_filesystem_reports_the_error_and_stays_whole(start, image, tmp_path, kind, modern):
    """One file has a sector that cannot be read."""
    good, bad = b"good" * 5000, b"bad!" * 5000
    path = tmp_path / "fs.img"
    make(path, kind, {"good": good, "bad": bad})
    content = path.read_bytes()
    sector = next(
        at for at in range(0, len(content), 512) if content[at:].startswith(b"bad!" * 60)
    )
    rules = [{"iotype": "read", "sector": sector // 512 + 3}]
    board = start(modern=modern, more=faulty(path, rules))
    assert f"{kind} at /" in board.wait_for_prompt()
    board.exec(
        HELPERS
        + """
def read(name):
    with open(name, 'rb') as file:
        return file.read()

fails(5, read, '/bad')
assert read('/good') == b'good' * 5000
with open('/new', 'wb') as file:
    file.write(b'new!' * 5000)
fails(5, read, '/bad')
assert read('/new') == b'new!' * 5000
assert sorted(os.listdir('/')) == ['bad', 'good', 'new']
"""
    )
    board.power_off()
    assert read(path, kind, "good", "new") == [good, b"new!" * 5000]


@INTERFACES
@pytest.mark.parametrize("kind", ["FAT", "littlefs"])
def test_a_write_error_is_one_of_the_call_that_sends_it_and_leaves_the_filesystem_whole(
    start, tmp_path, kind, modern
):
    """A file of 2 MiB comes across that sector, and takes more than so many writes."""
    rules = [{"iotype": "write", "sector": 1000}]
    rules += [{"event": "pwritev", "state": n} for n in (2, 5, 30)]
    paths = [tmp_path / f"fs{n}.img" for n in range(len(rules))]
    more = []
    for path, rule in zip(paths, rules):
        make(path, kind, {"good": b"good"})
        more += faulty(path, [rule | {"once": True}], path.stem)
    board = start(modern=modern, more=more)
    board.wait_for_prompt()
    board.exec(
        HELPERS
        + """
def write(name):
    global before
    with open(name, 'wb') as file:
        for _ in range(256):
            before = len(sent)
            file.write(b'data' * 2048)
        before = len(sent)

for n, root, disk in zip((None, 2, 5, 30), ('/', '/vdb/', '/vdc/', '/vdd/'), virtio.opened()):
    sent = []
    before = 0
    send = disk.writeblocks
    disk.writeblocks = lambda *args: sent.append(args) or send(*args)
    fails(5, write, root + 'big')
    if n:
        assert before < n <= len(sent), (root, before, len(sent))
    os.remove(root + 'big')
    with open(root + 'small', 'w') as file:
        file.write('small')
    assert open(root + 'good').read() == 'good' and open(root + 'small').read() == 'small'
"""
    )
    board.power_off()
    for path in paths:
        assert read(path, kind, "good", "small") == [b"good", b"small"]


@INTERFACES
def test_what_FatFs_overlooks_is_sent_again(start, tmp_path, modern):
    """It does not look at what the writing of the second FAT says; here that has to send the first.

    Such a write is the 13th: one of the directory and 11 of data come before it.
    """
    make(path := tmp_path / "fs.img", "FAT", {})
    rule = {"event": "pwritev", "state": 13, "once": True}
    board = start(modern=modern, more=faulty(path, [rule]))
    board.wait_for_prompt()
    board.exec("""
with open('/big', 'wb') as file:
    for n in range(256):
        file.write(b'data' * 2048)
""")
    board.power_off()
    assert read(path, "FAT", "big") == [b"data" * 2048 * 256]


@INTERFACES
@pytest.mark.parametrize("kind", ["FAT", "littlefs"])
def test_a_flush_that_fails_is_an_error_of_umount(start, tmp_path, kind, modern):
    path = tmp_path / "fs.img"
    if kind == "FAT":
        fat.make(path, 8, {"file": b"old"})
    else:
        path.write_bytes(littlefs_image(8 * MIB, 512, {"file": b"old"}))
    board = start(modern=modern, more=faulty(path, [{"iotype": "flush", "once": True}]))
    assert f"{kind} at /" in board.wait_for_prompt()
    board.exec(
        HELPERS
        + """
file = open('/file', 'r+b')
file.write(bytes(5000))
fails(5, vfs.umount, '/')
fails(22, vfs.umount, '/')   # for it is not mounted any more
virtio.opened()[0].flush()
"""
    )


@INTERFACES
@pytest.mark.parametrize("place", ["disk", "disk, mounted by hand", "partition"])
@pytest.mark.parametrize("kind", ["FAT", "littlefs"])
def test_a_flush_that_fails_is_an_error_of_each_call_that_flushes(
    start, tmp_path, kind, place, modern
):
    """And of no other: as many flushes fail as there are such calls."""
    path = tmp_path / "fs.img"
    files = {name: b"old" for name in ("good", "flushed", "closed", "left", "removed")}
    if kind == "FAT":
        fat.make(path, 8, files)
        fat.tool("mmd", "-i", path, "::folder")
    else:
        path.write_bytes(littlefs_image(8 * MIB, 512, files, folders=["folder"]))
    if place == "partition":
        table = boot_record([(LINUX, 2048, 16384)]).ljust(MIB, b"\0")
        path.write_bytes(table + path.read_bytes())
    by_hand = "hand" in place
    synced = kind == "FAT" or not by_hand  # by os.sync
    rule = {"iotype": "flush", "once": True}
    board = start(modern=modern, more=faulty(path, [rule] * (7 + synced)))
    assert f"{kind} at /" in board.wait_for_prompt()
    if by_hand:
        filesystem = "VfsFat" if kind == "FAT" else "VfsLfs2"
        board.exec(f"""
import vfs, virtio
vfs.umount('/')
vfs.mount(vfs.{filesystem}(virtio.opened()[0]), '/')
""")
    board.exec(
        HELPERS
        + f"""
def write_and_leave():
    with open('/left', 'r+b') as file:
        file.write(b'new')

fails(5, os.mkdir, '/new')
fails(5, os.rename, '/good', '/better')
fails(5, os.remove, '/removed')
flushed, closed = open('/flushed', 'r+b'), open('/closed', 'r+b')
flushed.write(b'new')
closed.write(b'new')
fails(5, flushed.flush)
fails(5, closed.close)
fails(5, write_and_leave)
if {synced}:
    fails(5, os.sync)
fails(5, os.rmdir, '/folder')
"""
    )
    # The disk is well again. What was left of the calls that failed must do no harm: neither
    # pointers to C's stack, which is used here, nor a filesystem that is not whole.
    board.exec("""
try:
    flushed.close()  # a littlefs may let nothing be changed before
except OSError:
    pass

def deep(n):
    return deep(n - 1) + [n] if n else []

for n in range(20):
    deep(20)
    os.mkdir('/%d' % n)
    with open('/%d/file' % n, 'w') as file:
        file.write('after' * n)
    if n % 2:
        os.remove('/%d/file' % n)
        os.rmdir('/%d' % n)
os.sync()
vfs.umount('/')
""")
    board.power_off()
    content = path.read_bytes()[MIB if place == "partition" else 0 :]
    if kind == "FAT":
        path.write_bytes(content)
        fat.check(path)
        assert fat.read(path, "18/file") == b"after" * 18
    else:
        assert littlefs_read(content, 512, "18/file") == b"after" * 18


@INTERFACES
@pytest.mark.parametrize("kind", ["FAT", "littlefs"])
@pytest.mark.parametrize("request_type", ["write", "flush"])
def test_what_a_close_has_to_send_is_its_error(start, image, tmp_path, kind, request_type, modern):
    """What the file holds is less than a cache sends on its own account."""
    path = tmp_path / "fs.img"
    if kind == "FAT":
        fat.make(path, 8, {"good": b"good", "small": b""})
    else:
        path.write_bytes(littlefs_image(8 * MIB, 4096, {"good": b"good", "small": b""}))
    board = start(modern=modern, more=faulty(path, [{"iotype": request_type, "once": True}]))
    assert f"{kind} at /" in board.wait_for_prompt()
    board.exec(
        HELPERS
        + """
file = open('/small', 'ab')   # a new one would be synced here
file.write(b'data' * 4096)
fails(5, file.close)
assert open('/good').read() == 'good'
with open('/other', 'wb') as file:
    file.write(b'data' * 4096)
"""
    )
    board.power_off()
    if kind == "FAT":
        found = fat.read(path, "good"), fat.read(path, "other")
    else:
        content = path.read_bytes()
        found = tuple(littlefs_read(content, 4096, name) for name in ("good", "other"))
    assert found == (b"good", b"data" * 4096)


@INTERFACES
def test_a_full_backing_store_is_an_error_or_a_pause(start, image, modern):
    """By werror=report it is the board's error; by QEMU's default the machine waits for room."""
    rule = {"iotype": "write", "errno": 28, "once": True}
    more = faulty(image(), [rule], "reported")
    more += faulty(image(), [rule], "waits", werror="enospc")
    board = start(modern=modern, more=more)
    board.wait_for_prompt()
    board.exec(
        HELPERS
        + """
disk = virtio.Block(0)
fails(5, disk.writeblocks, 0, bytes(512))
disk.writeblocks(0, bytes(512))
disk = virtio.Block(1)
"""
    )
    board.transport.exec_raw_no_follow("disk.writeblocks(1, b'w' * 512); print('written')")
    wait_until_stopped(board)
    board.monitor.cmd("cont")
    with board.deadline(20, "the write after the pause"):
        output, error = board.transport.follow(None)
    assert (output, error) == (b"written\r\n", b"")
    board.exec("disk.readblocks(1, buf := bytearray(512)); assert buf == b'w' * 512")


@INTERFACES
def test_a_throttled_disk_is_slow_and_a_Timeout_is_not_the_end(start, image, modern):
    path = image()
    more = ["-drive", f"if=none,id=slow,format=raw,file={path},throttling.iops-total=20"]
    more += ["-device", "virtio-blk-device,drive=slow"]
    board = start(modern=modern, more=more)
    board.wait_for_prompt()
    board.exec(
        HELPERS
        + """
disk = virtio.Block(0)
disk.writemany([(n, bytes([n]) * 512) for n in range(30)])
disk.timeout_ms = 1
late = bytearray(512)
while True:
    try:
        disk.readblocks(5, late)
    except OSError as error:
        assert error.errno == 110, error
        break
disk.timeout_ms = 30000
buf = bytearray(512)
disk.readblocks(7, buf)
assert buf == bytes([7]) * 512
disk.reset()
late[:] = bytes(512)
disk.readblocks(8, buf)
assert buf == bytes([8]) * 512 and late == bytes(512)
"""
    )


@INTERFACES
@pytest.mark.parametrize("kind", ["FAT", "littlefs"])
def test_a_timeout_inside_a_filesystem_gives_its_buffers_back(start, tmp_path, kind, modern):
    path = tmp_path / "fs.img"
    make(path, kind, {"file": bytes(range(256)) * 4000})  # more than is read in a burst
    more = ["-drive", f"if=none,id=slow,format=raw,file={path},throttling.iops-total=50"]
    more += ["-device", "virtio-blk-device,drive=slow"]
    board = start(modern=modern, more=more)
    board.wait_for_prompt()
    errno = 5 if kind == "FAT" else 110
    board.exec(
        HELPERS
        + f"""
disk = virtio.opened()[0]
disk.timeout_ms = 1
def read():
    with open('/file', 'rb') as file:
        return file.read()
fails({errno}, read)
assert disk.queues[0].available_desc() == disk.queues[0].size
disk.timeout_ms = 30000
if {kind!r} == 'littlefs':
    # It takes what it failed to read for read, and so has to be told to forget it.
    vfs.umount('/')
    virtio.mount(disk, '/')
assert read() == bytes(range(256)) * 4000
"""
    )
