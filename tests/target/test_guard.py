"""Block devices of whatever make under FAT and littlefs: what they raise, what comes in between.

The disk here is a program's own, in RAM, for the rules hold for all that a filesystem is mounted on.
"""

import gc
import os
import sys

import micropython
import vfs
from check import raises

UNIT = 512
BLOCKS = 512
INIT, SYNC, COUNT, SIZE, ERASE = 1, 3, 4, 5, 6

KINDS = (vfs.VfsFat, vfs.VfsLfs2, vfs.VfsLfs1)


class Ram:
    """A disk that does something first, at each call that `hook` is told of, by name."""

    def __init__(self):
        self.data = bytearray(BLOCKS * UNIT)
        self.hook = None
        self.answers = {SYNC: 0, ERASE: 0, COUNT: BLOCKS, SIZE: UNIT}

    def called(self, what):
        if self.hook:
            self.hook(what)

    def readblocks(self, block_num, buf, offset=0):
        self.called("read")
        at = block_num * UNIT + offset
        for n in range(len(buf)):
            buf[n] = self.data[at + n]

    def writeblocks(self, block_num, buf, offset=0):
        self.called("write")
        at = block_num * UNIT + offset
        for n in range(len(buf)):
            self.data[at + n] = buf[n]

    def ioctl(self, op, arg):
        self.called(op)
        return self.answers.get(op)


def each():
    for kind in KINDS:
        ram = Ram()
        kind.mkfs(ram)
        filesystem = kind(ram)
        filesystem.mount(False, False)
        write(filesystem, "good", b"good" * 300)
        yield kind, ram, filesystem


def write(filesystem, name, data):
    with filesystem.open(name, "wb") as file:
        file.write(data)


def read(filesystem, name):
    with filesystem.open(name, "rb") as file:
        return file.read()


def check(kind, ram, filesystem):
    """It works, and so does one that is mounted anew."""
    for fs in (filesystem, kind(ram)):
        assert read(fs, "good") == b"good" * 300, kind
        write(fs, "new", b"new")
        assert read(fs, "new") == b"new", kind
        fs.remove("new")


class Raise:
    def __init__(self, what, error):
        self.what = what
        self.error = error

    def __call__(self, what):
        if what == self.what:
            raise self.error


def read_anew(kind, ram, what, error):
    """Read by a filesystem that has nothing in memory yet, from a disk that raises."""
    filesystem = kind(ram)
    ram.hook = Raise(what, error)
    try:
        return read(filesystem, "good")
    finally:
        ram.hook = None


def write_there(filesystem, ram, what, error):
    ram.hook = Raise(what, error)
    try:
        write(filesystem, "broken", b"b" * 3000)
    finally:
        ram.hook = None


def test_whatever_a_disk_raises_is_an_OSError_of_the_operation_and_the_filesystem_is_whole():
    errors = (
        (OSError(71), 71),
        (OSError(), 5),
        (OSError("text"), 5),
        (OSError(-5), 5),
        (OSError(1 << 40), 5),
        (ValueError("v"), 22),
        (MemoryError(), 12),
        (RuntimeError("r"), 5),
        (TypeError("t"), 5),
        (StopIteration(), 5),
        (SystemExit(), 5),
        (KeyboardInterrupt(), 4),
    )
    for kind, ram, fs in each():
        for error, number in errors:
            if kind is vfs.VfsFat:
                number = 5  # FatFs has but one
            raises(OSError, read_anew, kind, ram, "read", error, errno=number)
            for what in ("write", SYNC) if kind is vfs.VfsFat else ("write", SYNC, ERASE):
                raises(OSError, write_there, fs, ram, what, error, errno=number)
                gc.collect()
                check(kind, ram, fs)


def test_a_disk_that_answers_with_what_is_no_number():
    for answer in ("text", 1.5, [], object(), -(1 << 80)):
        for kind, ram, fs in each():
            for op in (SYNC, ERASE) if kind is not vfs.VfsFat else (SYNC,):
                before, ram.answers[op] = ram.answers[op], answer
                raises(OSError, write, fs, "broken", b"b" * 3000)
                ram.answers[op] = before
                check(kind, ram, fs)
            for op in (INIT, COUNT, SIZE):
                before = ram.answers.get(op)
                ram.answers[op] = answer
                try:
                    kind(ram)
                except (OSError, TypeError, OverflowError):
                    pass
                ram.answers[op] = before
                check(kind, ram, fs)


def test_a_disk_that_cannot_be_mounted_says_why():
    class Why(Exception):
        pass

    for kind, ram, fs in each():
        for op in (INIT, SIZE) if kind is vfs.VfsFat else (INIT, COUNT, SIZE):
            ram.hook = Raise(op, Why())
            raises(Why, kind, ram)
            ram.hook = None
            check(kind, ram, fs)


def test_a_scheduled_function_waits_for_the_end_of_a_block_operation():
    for kind, ram, fs in each():
        inside, ran = [], []

        def late(_):
            ran.append(bool(inside))

        def scheduling(what):
            inside.append(what)
            try:
                micropython.schedule(late, None)
            except RuntimeError:
                pass  # the queue is full
            for _ in range(10):
                pass
            inside.pop()

        ram.hook = scheduling
        write(fs, "new", b"new" * 1000)
        ram.hook = None
        for _ in range(10):
            pass
        assert ran and not any(ran), kind
        fs.remove("new")
        check(kind, ram, fs)


def drop(filesystem, n):
    file = filesystem.open("dropped%d" % n, "wb")
    file.write(b"d" * 700)


def test_no_collection_begins_within_a_block_operation():
    """Its finalisers close files, by the same filesystem."""
    for kind, ram, fs in each():
        depth, most = [0], [0]

        def hook(what):
            depth[0] += 1
            most[0] = max(most[0], depth[0])
            try:
                bytearray(300)
            finally:
                depth[0] -= 1

        threshold = gc.threshold()
        ram.hook = hook
        gc.threshold(200)
        try:
            for n in range(60):
                drop(fs, n % 7)
        finally:
            gc.threshold(threshold)
            ram.hook = None
        assert most[0] == 1, kind
        assert gc.isenabled()
        gc.collect()
        check(kind, ram, fs)
        for n in range(7):
            fs.remove("dropped%d" % n)


def deeper(levels, function):
    """Call the function at the end of the stack, and one level less deep each time."""
    try:
        deeper(levels, function)
    except RuntimeError:
        levels[0] -= 1
        if levels[0] > 0:
            function()


def test_block_functions_have_room_at_the_end_of_the_stack():
    for kind, ram, fs in each():
        written = []

        def work():
            write(fs, "deep", b"deep" * 500)
            written.append(1)

        # What was begun is ended: a block function has room of its own, so that no OSError comes.
        deeper([30], work)
        assert written, kind
        write(fs, "deep", b"deep" * 500)
        assert read(kind(ram), "deep") == b"deep" * 500
        check(kind, ram, fs)


def test_what_could_not_be_read_is_read_again():
    for kind, ram, fs in each():
        names = ("a", "b", "c")
        for n, name in enumerate(names):
            write(fs, name, bytes([n + 1]) * 2000)
        for first in range(40):
            turn = [0]

            def hook(what):
                turn[0] += 1
                if what == "read" and turn[0] > first:
                    raise OSError(5)

            fs = kind(ram)
            ram.hook = hook
            for name in names:
                try:
                    read(fs, name)
                except OSError:
                    pass
            ram.hook = None
            for n, name in enumerate(names):
                assert read(fs, name) == bytes([n + 1]) * 2000, (kind, first, name)


def test_a_folder_that_cannot_be_read_is_not_an_empty_one():
    for kind, ram, fs in each():
        fs.mkdir("folder")
        for n in range(40):
            write(fs, "folder/%d" % n, b"")
        failed = 0
        for last in range(1, 40):
            fs = kind(ram)
            turn = [0]

            def hook(what):
                turn[0] += 1
                if turn[0] >= last:
                    raise OSError(5)

            ram.hook = hook
            try:
                count = len(list(fs.ilistdir("folder")))
                assert count == 40, (kind, last, count)
            except OSError:
                failed += 1
            ram.hook = None
        assert failed, kind


def test_what_could_not_be_counted_is_not_full():
    for kind, ram, fs in each():
        for last in range(1, 4):
            fs = kind(ram)
            turn = [0]

            def hook(what):
                turn[0] += 1
                if turn[0] >= last:
                    raise OSError(5)

            ram.hook = hook
            try:
                fs.statvfs("/")
            except OSError:
                pass
            ram.hook = None
            check(kind, ram, fs)
            assert fs.statvfs("/")[3] > BLOCKS // 2, kind


def test_a_file_that_is_open_at_an_unmount_reaches_the_disk_no_more():
    for kind, ram, fs in each():
        vfs.mount(fs, "/guarded")
        files = [open("/guarded/left%d" % n, "wb") for n in range(3)]
        for file in files:
            file.write(b"left" * 400)
        listing = os.ilistdir("/guarded")
        vfs.umount("/guarded")
        before = bytes(ram.data)
        raises(OSError, files[0].write, b"more" * 400)
        raises(OSError, files[1].flush)
        raises(OSError, files[2].close)
        raises(OSError, lambda: list(listing) + list(fs.ilistdir("/")))
        files = file = listing = None
        gc.collect()
        assert ram.data == before, kind
        # Until the same is mounted again.
        vfs.mount(fs, "/guarded")
        write(fs, "new", b"new" * 400)
        vfs.umount(fs)
        check(kind, ram, kind(ram))


def drop_at(path):
    file = open(path, "wb")
    file.write(b"dropped" * 100)


def deep(levels, function, *args):
    return deep(levels - 1, function, *args) if levels else function(*args)


def test_a_file_that_was_dropped_is_closed_before_its_filesystem_ends():
    for kind, ram, fs in each():
        vfs.mount(fs, "/guarded")
        for n in range(10):
            deep(20, drop_at, "/guarded/%d" % n)
        deep(40, vfs.umount, "/guarded")
        fs = kind(ram)
        whole = [n for n in range(10) if read(fs, str(n)) == b"dropped" * 100]
        assert len(whole) >= 8, (kind, whole)  # the stack may still show one or two


class Raising:
    """A filesystem in which every look raises."""

    def __init__(self, error):
        self.error = error

    def mount(self, readonly, mkfs):
        pass

    def stat(self, path):
        raise self.error

    def umount(self):
        pass


def test_an_import_takes_only_an_OSError_for_a_file_that_is_not_there():
    sys.path.append("/raising")
    try:
        for error, expected in (
            (OSError(2), ImportError),
            (OSError(5), ImportError),
            (KeyboardInterrupt(), KeyboardInterrupt),
            (MemoryError(), MemoryError),
            (RuntimeError(), RuntimeError),
        ):
            vfs.mount(Raising(error), "/raising")
            try:
                raises(expected, __import__, "no_such_module")
            finally:
                vfs.umount("/raising")
    finally:
        sys.path.remove("/raising")
