# SPDX-License-Identifier: MIT
"""Ctrl-C in the middle of what a filesystem does: the operation ends, and the filesystem is whole."""

import random
import time

import fat
import pytest
from conftest import INTERFACES
from emulator import Disk, drive
from test_storage_faults import make, read

KINDS = pytest.mark.parametrize("kind", ["FAT", "littlefs"])
PLACES = pytest.mark.parametrize("place", ["cached", "by hand"])
PRESSES = 40

STORM = """
import os, vfs, virtio

def storm(step, check):
    for _ in range(%d):
        try:
            print('.', end='')   # asks for the next Ctrl-C
            while True:
                step()
        except KeyboardInterrupt:
            pass
        check()
""" % (PRESSES)


def by_hand(board, kind):
    filesystem = "VfsFat" if kind == "FAT" else "VfsLfs2"
    board.exec(f"""
import vfs, virtio
vfs.umount('/')
vfs.mount(vfs.{filesystem}(virtio.opened()[0]), '/')
""")


def run(board, code, seconds=60):
    """Run code on the board with a Ctrl-C somewhat after each dot that it prints."""
    board.connect()
    seed = random.randrange(1 << 30)
    print("seed", seed)
    moments = random.Random(seed)
    with board.deadline(seconds, "the storm"):
        board.transport.exec_raw_no_follow(code)
        serial = board.transport.serial
        for _ in range(PRESSES):
            got = serial.read(1)
            if got != b".":
                break
            time.sleep(moments.random() * 0.02)
            board.type("\x03")
        else:
            got = b""
        output, error = board.transport.follow(None)
    assert (got + output, error) == (b"", b""), (got + output + error).decode()


@pytest.fixture
def prepared(start, tmp_path):
    """A board with a disk of that kind, mounted like that; and the path of its image."""

    def prepared(kind, place, modern):
        path = tmp_path / "fs.img"
        make(path, kind, {"good": b"good" * 500})
        board = start(modern=modern, disks=[Disk(path)])
        assert f"{kind} at /" in board.wait_for_prompt()
        board.exec("""
import os
for folder, names in (('/one', 'ab'), ('/two', 'cd')):
    os.mkdir(folder)
    for name in names:
        with open(folder + '/' + name, 'w') as file:
            file.write(name * 700)
os.sync()
""")
        if place == "by hand":
            by_hand(board, kind)
        return board, path

    return prepared


@INTERFACES
@KINDS
@PLACES
def test_while_folders_are_listed(prepared, kind, place, modern):
    board, path = prepared(kind, place, modern)
    run(
        board,
        STORM
        + """
def step():
    os.listdir('/one')
    os.listdir('/two')

def check():
    assert sorted(os.listdir('/')) == ['good', 'one', 'two'], os.listdir('/')
    assert sorted(os.listdir('/one')) == ['a', 'b'], os.listdir('/one')
    assert sorted(os.listdir('/two')) == ['c', 'd'], os.listdir('/two')
    assert open('/good').read() == 'good' * 500
    assert open('/two/c').read() == 'c' * 700

storm(step, check)
""",
    )
    board.power_off()
    assert read(path, kind, "good", "one/a") == [b"good" * 500, b"a" * 700]


@INTERFACES
@KINDS
@PLACES
def test_while_folders_are_made_and_removed(prepared, kind, place, modern):
    board, path = prepared(kind, place, modern)
    run(
        board,
        STORM
        + """
def step():
    os.mkdir('/d')
    os.rmdir('/d')

def check():
    names = os.listdir('/')
    if 'd' in names:
        os.rmdir('/d')
        names.remove('d')
    assert sorted(names) == ['good', 'one', 'two'], names
    assert open('/good').read() == 'good' * 500

storm(step, check)
""",
    )
    board.exec("import vfs; vfs.umount('/')")
    board.power_off()
    assert read(path, kind, "good", "one/a") == [b"good" * 500, b"a" * 700]


@INTERFACES
@KINDS
@PLACES
def test_while_files_are_written_renamed_and_removed(prepared, kind, place, modern):
    board, path = prepared(kind, place, modern)
    run(
        board,
        STORM
        + """
turn = 0
done = {}

def step():
    global turn
    turn += 1
    name = '/w%d' % (turn % 5)
    done.pop(name, None)
    data = b'%06d' % turn * (turn * 37 % 900)
    with open('/new', 'wb') as file:
        file.write(data)
    if name[1:] in os.listdir('/'):
        os.remove(name)
    os.rename('/new', name)
    done[name] = data

def check():
    for name, data in done.items():
        with open(name, 'rb') as file:
            assert file.read() == data, name
    with open('/sure', 'w') as file:
        file.write('sure%d' % turn)

storm(step, check)
print(repr(open('/sure').read())) if open('/sure').read() != 'sure%d' % turn else None
""",
    )
    last = board.exec("vfs.umount('/'); print('sure%d' % turn)").strip()
    board.power_off()
    assert read(path, kind, "good", "sure") == [b"good" * 500, last.encode()]


@INTERFACES
@KINDS
@PLACES
def test_a_disk_that_does_not_answer_is_no_reason_to_wait_on(start, tmp_path, kind, place, modern):
    """Here it would need an hour; the program gets its KeyboardInterrupt, and then the disk works."""
    path = tmp_path / "fs.img"
    make(path, kind, {"good": b"good" * 50_000})
    disk = Disk(path)
    words = ["-drive", drive(0, disk), "-device", "virtio-blk-device,drive=disk0,id=slow"]
    board = start(modern=modern, more=words)
    assert f"{kind} at /" in board.wait_for_prompt()
    if place == "by hand":
        by_hand(board, kind)

    def throttle(rate):
        limits = {name: 0 for name in ("bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr")}
        board.monitor.cmd("block_set_io_throttle", id="slow", bps=rate, **limits)

    board.exec("""
def write():
    with open('/new', 'wb') as file:
        file.write(b'new' * 5000)
    import os
    os.sync()

def read():
    with open('/good', 'rb') as file:
        assert file.read() == b'good' * 50_000
""")
    for work in ("read", "write"):
        throttle(16)
        board.connect()
        board.transport.exec_raw_no_follow(f"""
for device in virtio.opened() if 'virtio' in globals() else []:
    device.timeout_ms = None
try:
    print('.', end='')
    try:
        {work}()
        print('it did answer')
    except OSError:
        while True:
            pass
except KeyboardInterrupt:
    print('ended')
""")
        with board.deadline(30, work):
            assert board.transport.serial.read(1) == b"."
            time.sleep(0.5)
            board.type("\x03")
            output, error = board.transport.follow(None)
        assert (output, error) == (b"ended\r\n", b"")
        throttle(0)
        board.exec("read()\nwrite()\nread()")
    board.exec("import vfs; vfs.umount('/')")
    board.power_off()
    files = [b"good" * 50_000, b"new" * 5000]
    if kind == "FAT":
        # Not checked: a write that ends like that may leave clusters that nothing uses.
        assert [fat.read(path, name) for name in ("good", "new")] == files
    else:
        assert read(path, kind, "good", "new") == files


@KINDS
def test_a_second_ctrl_c_ends_the_wait_for_a_disk_at_once(start, tmp_path, kind):
    """Some milliseconds after it, where the first alone gives the disk two seconds."""
    path = tmp_path / "fs.img"
    make(path, kind, {"good": b"good" * 50_000})
    words = ["-drive", drive(0, Disk(path)), "-device", "virtio-blk-device,drive=disk0,id=slow"]
    board = start(more=words)
    assert f"{kind} at /" in board.wait_for_prompt()

    def throttle(rate):
        limits = {name: 0 for name in ("bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr")}
        board.monitor.cmd("block_set_io_throttle", id="slow", bps=rate, **limits)

    board.exec("""
def read():
    with open('/good', 'rb') as file:
        assert file.read() == b'good' * 50_000
""")
    seconds = []
    while not seconds or seconds[-1] > 1.9:  # as it takes on a host that is too busy
        assert len(seconds) < 6, seconds
        throttle(16)
        board.connect()
        board.transport.exec_raw_no_follow("""
try:
    print('.', end='')
    try:
        read()
    except OSError:
        while True:
            pass
except KeyboardInterrupt:
    pass
""")
        with board.deadline(60, "reading"):
            assert board.transport.serial.read(1) == b"."
            time.sleep(0.3)
            begin = time.monotonic()
            board.type("\x03")
            time.sleep(0.4)
            board.type("\x03")
            assert board.transport.follow(None) == (b"", b"")
        seconds.append(time.monotonic() - begin)
        throttle(0)
        board.exec("read()")
    board.exec("import vfs; vfs.umount('/')")
    board.power_off()
    assert read(path, kind, "good") == [b"good" * 50_000]
