# SPDX-License-Identifier: MIT
"""What MicroPython itself gets wrong and this firmware mends, each by its rule."""

import gc
import io
import machine
import micropython
import os
import pytest
import sys
import time
import vfs
from errno import EFAULT, EIO, EROFS

from ram import Ram

pytestmark = pytest.mark.board(interface=("modern",))
NOWHERE = 0x0B000000
ARMV7EMSP = 7
FOLDER, FILE = 0x4000, 0x8000


def mounted(kind):
    """A small filesystem, at /ram."""
    try:
        vfs.umount("/ram")
    except OSError:
        pass
    disk = Ram(256)
    kind.mkfs(disk)
    vfs.mount(kind(disk), "/ram")


def error(function, *arguments):
    try:
        function(*arguments)
    except OSError as raised:
        return raised.errno


def type_and_size(path):
    found = os.stat(path)
    return found[0], found[6]


# Objects and memory


def test_id_is_the_address():
    class Thing:
        pass

    thing = Thing()
    address = id(thing)
    assert address > 0x40000000 and repr(thing) == "<Thing object at %x>" % address
    assert machine.mem32[address] & 0xFFFFFFFF == id(Thing)  # an object begins with its type
    assert id(thing) == address and id(5) == id(5) and id(None) == id(None) != id(True)


def test_what_was_allocated_in_all_is_never_negative():
    for _ in range(300):
        bytearray(4 << 20)
    assert micropython.mem_total() > 1 << 30
    assert 0 < micropython.mem_current() <= micropython.mem_peak()


def test_a_fault_with_the_heap_locked_is_the_fault():
    micropython.heap_lock()
    try:
        machine.mem32[NOWHERE]
    except Exception as raised:
        locked = raised
    micropython.heap_unlock()
    assert type(locked) is OSError and locked.args == (EFAULT, "0x0b000000"), repr(locked)
    text = io.StringIO()
    sys.print_exception(locked, text)
    assert "EFAULT" in text.getvalue()


def test_a_fault_with_the_heap_full_is_the_fault():
    pieces, raised = [], None
    gc.collect()
    gc.disable()
    try:
        for size in (1 << 20, 4096, 256, 16):
            try:
                while True:
                    pieces.append(bytearray(size))
            except MemoryError:
                pass
        try:
            machine.mem32[NOWHERE]
        except Exception as caught:
            raised = caught
    finally:
        pieces = None
        gc.enable()
        gc.collect()
    assert type(raised) is OSError and raised.args == (EFAULT, "0x0b000000"), repr(raised)


def test_the_architecture_announced_is_one_that_the_processor_runs():
    assert sys.implementation._mpy >> 10 == ARMV7EMSP


# Time


def test_times_of_two_centuries_are_right_both_ways():
    for year in range(1902, 2106):
        for month, day in ((1, 1), (2, 28), (3, 1), (12, 31)):
            there = time.mktime((year, month, day, 1, 2, 3, 0, 0))
            assert time.localtime(there)[:6] == (year, month, day, 1, 2, 3)
    assert time.localtime(0) == (1970, 1, 1, 0, 0, 0, 3, 1)
    assert time.mktime((1970, 1, 1, 0, 0, 0, 0, 0)) == 0
    assert time.mktime((2100, 3, 1, 0, 0, 0, 0, 0)) == 4107542400
    assert time.localtime(4107542400) == (2100, 3, 1, 0, 0, 0, 0, 60)


def test_a_time_beyond_the_clock_is_refused():
    try:
        time.localtime(1 << 40)
    except OverflowError:
        return
    assert False


def test_files_have_the_time_of_the_clock_up_to_2099():
    clock = machine.RTC()
    before = clock.datetime()
    try:
        for kind in (vfs.VfsFat, vfs.VfsLfs2):
            mounted(kind)
            for year in (1980, 1999, 2000, 2037, 2038, 2068, 2099):
                clock.datetime((year, 12, 31, 0, 23, 59, 0, 0))
                open("/ram/file", "w").close()
                assert time.localtime(os.stat("/ram/file")[8])[:5] == (year, 12, 31, 23, 59)
    finally:
        clock.datetime(before)


def test_on_FAT_a_clock_before_1980_is_1980():
    clock = machine.RTC()
    before = clock.datetime()
    mounted(vfs.VfsFat)
    try:
        clock.datetime((1970, 1, 2, 0, 3, 4, 5, 0))
        open("/ram/file", "w").close()
    finally:
        clock.datetime(before)
    assert time.localtime(os.stat("/ram/file")[8])[:6] == (1980, 1, 1, 0, 0, 0)


# Filesystems


def test_a_folder_may_be_named_with_a_slash_at_its_end():
    mounted(vfs.VfsFat)
    os.mkdir("/ram/a/")
    os.mkdir("/ram/a/b//")
    assert os.listdir("/ram/a/") == os.listdir("/ram/a//") == ["b"]
    assert list(os.ilistdir("/ram/a/"))[0][:2] == ("b", FOLDER)
    assert os.stat("/ram/a/") == os.stat("/ram/a")
    os.chdir("/ram/a/")
    assert os.getcwd() == "/ram/a" and os.listdir("b/") == []
    os.chdir("/")
    os.rename("/ram/a/b/", "/ram/c/")
    assert sorted(os.listdir("/ram/")) == ["a", "c"]
    os.rmdir("/ram/c/")
    assert os.listdir("/ram") == ["a"]


def test_a_slash_behind_the_name_of_a_file_is_an_error():
    mounted(vfs.VfsFat)
    open("/ram/file", "w").close()
    for function, *more in ((os.stat,), (open,), (open, "w"), (os.listdir,), (os.remove,)):
        assert error(function, "/ram/file/", *more), function
    assert error(open, "/ram/new/", "w") and error(os.rename, "/ram/file", "/ram/new/")
    assert os.listdir("/ram") == ["file"]


def test_folders_have_the_size_0():
    for kind in (vfs.VfsFat, vfs.VfsLfs1, vfs.VfsLfs2):
        mounted(kind)
        for n in range(3):
            os.mkdir("/ram/folder%d" % n)
            with open("/ram/file%d" % n, "w") as file:
                file.write("x" * 1000 * n)
        for name, mode, _, size in os.ilistdir("/ram"):
            assert size == (0 if mode == FOLDER else 1000 * int(name[-1])), (kind, name, size)
            assert type_and_size("/ram/" + name) == (mode, size)
        assert type_and_size("/ram") == (FOLDER, 0)


def test_files_are_read_whole_with_little_memory_left():
    mounted(vfs.VfsFat)
    content = bytes(range(256)) * 200
    with open("/ram/file", "wb") as file:
        file.write(content)
    pieces = []
    gc.collect()
    try:
        while True:
            pieces.append(bytearray(1 << 20))
    except MemoryError:
        pass
    pieces.pop()
    pieces.append(bytearray((1 << 20) - (len(content) + len(content) // 2)))
    try:
        with open("/ram/file", "rb") as file:
            assert file.read() == content
    finally:
        pieces = None
        gc.collect()


class Failing(Ram):
    """A disk that fails once, at the so many-th call from now."""

    left = 0

    def count(self):
        self.left -= 1
        if self.left == 0:
            raise OSError(EIO)

    def readblocks(self, number, buf, offset=0):
        self.count()
        super().readblocks(number, buf, offset)

    def writeblocks(self, number, buf, offset=0):
        self.count()
        super().writeblocks(number, buf, offset)


def test_what_is_written_after_a_disks_error_is_there_after_a_new_mount():
    """Also where it failed while littlefs was moving a folder to other blocks, each 101st time."""
    disk = Failing(100)
    vfs.VfsLfs2.mkfs(disk, readsize=512, progsize=512)
    data = bytes(range(250)) * 6
    failures = 0
    for n in range(1200):
        vfs.mount(vfs.VfsLfs2(disk, readsize=512, progsize=512), "/r")
        os.mkdir("/r/e")
        disk.left = n % 40 + 1
        try:
            os.rmdir("/r/e")
        except OSError:
            failures += 1
        disk.left = 0
        with open("/r/file", "wb") as file:
            file.write(data)
        vfs.umount("/r")
        vfs.mount(vfs.VfsLfs2(disk, readsize=512, progsize=512), "/r")
        with open("/r/file", "rb") as file:
            assert file.read() == data, n
        for name in os.listdir("/r"):
            (os.rmdir if name == "e" else os.remove)("/r/" + name)
        vfs.umount("/r")
    assert failures > 100


def rename_with_a_log_open(number, fails_at):
    """Move a file where the disk fails once. What was said to be written is there after a new mount."""
    disk = Failing(100)
    filesystem = (vfs.VfsLfs1, vfs.VfsLfs2)[number - 1]
    filesystem.mkfs(disk, readsize=512, progsize=512)
    vfs.mount(filesystem(disk, readsize=512, progsize=512), "/r")
    content = {"/r/from/old": b"old" * 500, "/r/file": b"new" * 500, "/r/log": b"line" * 500}
    os.mkdir("/r/from")
    os.mkdir("/r/to")
    with open("/r/from/old", "wb") as file:
        file.write(content["/r/from/old"])
    log = open("/r/log", "wb")
    failed = False
    disk.left = fails_at
    try:
        os.rename("/r/from/old", "/r/to/old")
    except OSError:
        failed = True
    disk.left = 0
    refused = []
    for name, file in (("/r/file", None), ("/r/log", log)):
        try:
            with file or open(name, "wb") as file:
                file.write(content[name])
        except OSError as error:
            assert failed and error.errno == EROFS, error
            refused.append(name)
    if "/r/file" in refused:
        with open("/r/file", "wb") as file:  # the log is closed now
            file.write(content["/r/file"])
    vfs.umount("/r")
    vfs.mount(filesystem(disk, readsize=512, progsize=512), "/r")
    places = [place for place in ("/r/from", "/r/to") if "old" in os.listdir(place)]
    assert len(places) == 1 and (failed or places == ["/r/to"]), places
    with open(places[0] + "/old", "rb") as file:
        assert file.read() == content["/r/from/old"]
    for name in ("/r/file", "/r/log"):
        if name != "/r/log" or name not in refused:
            with open(name, "rb") as file:
                assert file.read() == content[name], name
    vfs.umount("/r")
    return failed, refused


def check_failures_with_a_log_open(number):
    results = []
    while not results or results[-1][0]:
        results.append(rename_with_a_log_open(number, len(results) + 1))
    assert len(results) > 20
    assert any(refused for failed, refused in results)


def test_littlefs_1_with_a_file_open_changes_nothing_after_a_change_that_failed():
    check_failures_with_a_log_open(1)


def test_littlefs_with_a_file_open_changes_nothing_after_a_change_that_failed():
    check_failures_with_a_log_open(2)
