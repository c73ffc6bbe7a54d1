"""What the cache asks of its disk, which here is memory that keeps a record and can fail."""

import os

import vfs
import virtio
from check import allocates_nothing, raises
from virtio import InvalidParam, IoError, Timeout
from virtio.storage.cache import Cache

UNIT = 512
SYNC, ERASE = 3, 6
RUN = 128  # blocks that the run and the window can have


class Memory:
    """A disk in memory."""

    read_only = False

    def __init__(self, block_count=1024, block_size=UNIT):
        self.block_size = block_size
        self.block_count = block_count
        self.data = bytearray(block_count * block_size)
        for n in range(block_count):
            self.data[n * block_size] = n & 0xFF
            self.data[n * block_size + 1] = n >> 8
        self.asked = []
        self.error = {}  # by the name of a request; or by that and a block
        self.resets = 0

    def ask(self, name, block, count):
        self.asked.append((name, block, count))
        for key, error in self.error.items():
            if key == name or key[0] == name and block <= key[1] < block + count:
                raise error

    def readblocks(self, block, buf, offset=None):
        at = block * self.block_size + (offset or 0)
        self.ask("read", block, len(buf) // self.block_size)
        if at + len(buf) > len(self.data):
            raise InvalidParam("beyond the end")
        buf[:] = self.data[at : at + len(buf)]

    def writeblocks(self, block, buf, offset=None):
        at = block * self.block_size + (offset or 0)
        if block < 0 or at + len(buf) > len(self.data):
            raise InvalidParam("beyond the end")
        self.ask("write", block, len(buf) // self.block_size)
        self.data[at : at + len(buf)] = buf

    def flush(self):
        self.ask("flush", 0, 0)

    def reset(self):
        self.resets += 1

    def since(self):
        asked, self.asked = self.asked, []
        return asked


def blocks(n, count=1):
    """What so many blocks hold at first."""
    return b"".join([bytes([i & 0xFF, i >> 8]) + bytes(UNIT - 2) for i in range(n, n + count)])


def read(cache, n, count=1):
    buf = bytearray(b"?" * (count * UNIT))
    assert cache.readblocks(n, buf) is None
    return buf


def write(cache, n, letter, count=1):
    assert cache.writeblocks(n, bytearray(letter * (count * UNIT))) is None


# Reading


def test_a_read_that_continues_another_reads_ahead():
    disk = Memory()
    cache = Cache(disk)
    for n in range(0, 400, 4):
        assert read(cache, n, 4) == blocks(n, 4)
    sizes = [count for _, _, count in disk.since()]
    assert sizes == [4, 16, 32, 64, 128, 128, 128], sizes


def test_a_read_elsewhere_reads_what_is_asked_for():
    disk = Memory()
    cache = Cache(disk)
    for n in (500, 100, 800, 20, 300, 900):
        assert read(cache, n, 2) == blocks(n, 2)
    assert [count for _, _, count in disk.since()] == [2] * 6


def test_others_in_between_do_not_end_the_reading_ahead():
    """As FatFs looks into the FAT, and littlefs into the pointers of a file."""
    disk = Memory(4096)
    cache = Cache(disk)
    for n in range(0, 4000, 8):
        fat = 4080 + n // 2000  # the next sector of the FAT does not count as a continuation
        assert read(cache, fat) == blocks(fat)
        assert read(cache, n, 8) == blocks(n, 8)
    data = [count for _, n, count in disk.since() if n < 4000]
    assert data[:3] == [8, 32, 64] and data[3:-1] == [128] * 30, data


def test_single_blocks_are_read_once():
    disk = Memory()
    cache = Cache(disk)
    scattered = [n * 31 % 1000 for n in range(32)]
    for _ in range(3):
        for n in scattered:
            assert read(cache, n) == blocks(n)
    assert len(disk.since()) == 32


def test_large_reads_are_not_copied():
    disk = Memory()
    cache = Cache(disk)
    for n in (0, 100, 200):
        assert read(cache, n, 100) == blocks(n, 100)
    assert [count for _, _, count in disk.since()] == [100] * 3


def test_nothing_is_read_beyond_the_end():
    disk = Memory(30)
    cache = Cache(disk)
    for n in range(0, 30, 3):
        assert read(cache, n, 3) == blocks(n, 3)
    assert disk.since() == [("read", 0, 3), ("read", 3, 12), ("read", 15, 15)]
    raises(InvalidParam, cache.readblocks, 29, bytearray(2 * UNIT))


def test_a_block_that_cannot_be_read_is_the_error_of_who_asks_for_it():
    disk = Memory()
    cache = Cache(disk)
    disk.error["read", 12] = IoError("bad block")
    for n in range(0, 12, 4):
        assert read(cache, n, 4) == blocks(n, 4)
    raises(IoError, cache.readblocks, 12, bytearray(4 * UNIT))
    assert read(cache, 16, 4) == blocks(16, 4)
    assert disk.resets == 0


def test_what_a_disk_still_has_after_a_timeout_is_taken_back():
    disk = Memory()
    cache = Cache(disk)
    read(cache, 0, 4)
    disk.error["read"] = Timeout("late")
    raises(Timeout, cache.readblocks, 4, bytearray(4 * UNIT))
    assert disk.resets == 1
    disk.error.clear()
    assert read(cache, 4, 4) == blocks(4, 4)


# Writing


def test_writes_that_follow_each_other_become_one():
    disk = Memory()
    cache = Cache(disk)
    for n in range(8):
        write(cache, 10 + n, b"a")
    assert disk.since() == []
    assert cache.ioctl(SYNC, 0) == 0
    assert disk.since() == [("write", 10, 8), ("flush", 0, 0)]
    assert disk.data[10 * UNIT : 18 * UNIT] == b"a" * (8 * UNIT)


def test_writes_are_sent_in_their_order():
    disk = Memory()
    cache = Cache(disk)
    for n in (5, 6, 100, 7, 8, 8, 4):
        write(cache, n, b"a")
    cache.ioctl(SYNC, 0)
    order = [request[1:] for request in disk.since()]
    assert order == [(5, 2), (100, 1), (7, 2), (8, 1), (4, 1), (0, 0)], order


def test_a_run_that_is_full_is_sent():
    disk = Memory()
    cache = Cache(disk)
    for n in range(0, 160, 16):
        write(cache, n, b"a", 16)
    assert disk.since() == [("write", 0, RUN)]


def test_a_large_write_goes_directly_and_after_what_was_written_before():
    disk = Memory()
    cache = Cache(disk)
    write(cache, 0, b"a")
    write(cache, 1, b"b", 100)
    assert disk.since() == [("write", 0, 1), ("write", 1, 100)]
    assert disk.data[: 2 * UNIT] == b"a" * UNIT + b"b" * UNIT


def test_what_was_read_before_a_large_write_is_not_given_out_after_it():
    disk = Memory()
    cache = Cache(disk)
    for n in (200, 201, 202, 90):  # in the window, and single
        read(cache, n)
    write(cache, 80, b"a", 124)
    assert read(cache, 90) == b"a" * UNIT
    assert read(cache, 202, 3) == b"a" * (2 * UNIT) + blocks(204)


def test_a_sync_and_the_end_flush_even_if_nothing_is_pending():
    disk = Memory()
    cache = Cache(disk)
    for op in (SYNC, 2):
        cache.ioctl(op, 0)
        assert disk.since() == [("flush", 0, 0)]


def test_reads_see_what_was_written_sent_or_not():
    model = bytearray(Memory().data)
    disk = Memory()
    cache = Cache(disk)
    seed = 7
    for step in range(3000):
        seed = seed * 1103515245 + 12345 & 0x3FFFFFFF
        n, count = seed >> 8 & 255, (seed >> 16 & 15) + 1 if seed & 64 else 1
        kind = seed >> 4 & 3
        if step % 500 > 400:  # in sequence, so that the window is used
            n, kind = step % 500 - 400, 2
        at, end = n * UNIT, (n + count) * UNIT
        if kind < 2:
            data = bytearray(bytes([step & 0xFF]) * (count * UNIT))
            cache.writeblocks(n, data)
            model[at:end] = data
        else:
            assert read(cache, n, count) == model[at:end], step
        if seed & 0x3F00 == 0:
            cache.ioctl(SYNC, 0)
            assert disk.data == model, step
    cache.ioctl(SYNC, 0)
    assert disk.data == model


def test_what_is_not_whole_blocks_or_no_bytearray_is_right_too():
    disk = Memory()
    cache = Cache(disk)
    assert read(cache, 0, 2) == blocks(0, 2)
    assert read(cache, 2, 2) == blocks(2, 2)
    write(cache, 3, b"a")
    cache.writeblocks(3, b"bc", 510)
    buf = bytearray(4)
    cache.readblocks(3, buf, 509)
    assert buf == b"abc\x04"
    assert read(cache, 3)[508:] == b"aabc"
    cache.writeblocks(2, memoryview(b"m" * UNIT))
    assert read(cache, 2) == b"m" * UNIT
    view = memoryview(bytearray(UNIT))
    cache.readblocks(2, view)
    assert view == b"m" * UNIT


def test_blocks_of_the_filesystem_may_be_larger_than_the_disks():
    disk = Memory()
    cache = Cache(disk, block_size=4096)
    assert (cache.ioctl(4, 0), cache.ioctl(5, 0)) == (128, 4096)
    cache.writeblocks(3, bytearray(b"a" * 1024), 2048)
    buf = bytearray(UNIT)
    cache.readblocks(3, buf, 3072)
    assert buf == blocks(30)
    cache.ioctl(SYNC, 0)
    assert disk.since() == [("read", 30, 1), ("write", 28, 2), ("flush", 0, 0)]


def test_a_write_beyond_the_end_is_refused_at_once():
    disk = Memory()
    cache = Cache(disk)
    write(cache, 1023, b"a")
    for n in (1024, 1023, -1):
        raises(InvalidParam, cache.writeblocks, n, bytearray(2 * UNIT))
    cache.ioctl(SYNC, 0)
    assert disk.since() == [("write", 1023, 1), ("flush", 0, 0)]


def test_a_write_that_fails_is_an_error_of_who_sends_it_and_is_not_lost():
    disk = Memory()
    cache = Cache(disk)
    write(cache, 5, b"a")
    disk.error["write"] = IoError("bad")
    raises(IoError, cache.writeblocks, 50, bytearray(UNIT))
    raises(IoError, cache.ioctl, SYNC, 0)
    raises(IoError, cache.ioctl, SYNC, 0)
    assert read(cache, 5) == b"a" * UNIT
    disk.error.clear()
    disk.since()
    cache.ioctl(SYNC, 0)
    assert disk.since() == [("write", 5, 1), ("flush", 0, 0)]


def test_FAT_goes_on_around_a_run_that_cannot_be_sent():
    disk = Memory()
    cache = Cache(disk)
    write(cache, 5, b"a", 4)
    disk.error["write", 7] = IoError("bad")
    raises(IoError, cache.writeblocks, 50, bytearray(UNIT))
    disk.since()
    write(cache, 50, b"b", 2)
    write(cache, 52, b"b")
    raises(IoError, cache.writeblocks, 7, bytearray(UNIT))  # not around it
    raises(IoError, cache.ioctl, SYNC, 0)
    assert [request for request in disk.since() if request[1] != 5] == [
        ("write", 50, 2),
        ("write", 52, 1),
        ("flush", 0, 0),
    ]
    assert read(cache, 4, 6) == blocks(4) + b"a" * (4 * UNIT) + blocks(9)
    disk.error.clear()
    cache.ioctl(SYNC, 0)
    write(cache, 60, b"c")
    write(cache, 61, b"c")
    cache.ioctl(SYNC, 0)
    order = [("write", 5, 4), ("flush", 0, 0), ("write", 60, 2), ("flush", 0, 0)]
    assert disk.since()[-4:] == order


def test_littlefs_does_not():
    disk = Memory()
    cache = Cache(disk, littlefs=True)
    write(cache, 5, b"a")
    disk.error["write", 5] = IoError("bad")
    for _ in range(2):
        raises(IoError, cache.writeblocks, 50, bytearray(UNIT))
    assert disk.since() == [("write", 5, 1)] * 2


def test_a_flush_that_fails_is_an_error_of_the_sync():
    for littlefs in (False, True):
        disk = Memory()
        cache = Cache(disk, littlefs=littlefs)
        write(cache, 5, b"a")
        disk.error["flush"] = IoError("bad")
        if littlefs:  # which does not bear an exception, and looks at the number
            assert cache.ioctl(SYNC, 0) == -5
        else:
            raises(IoError, cache.ioctl, SYNC, 0)
        disk.error.clear()
        assert cache.ioctl(SYNC, 0) == 0


def test_a_cache_that_only_reads_writes_nothing():
    disk = Memory()
    cache = Cache(disk, readonly=True)
    write(cache, 5, b"a")
    assert disk.since() == [("write", 5, 1)]  # for the disk to refuse
    for n in range(0, 64, 4):
        assert read(cache, 100 + n, 4) == blocks(100 + n, 4)


# The order that littlefs needs


def test_littlefs_data_is_flushed_before_the_commit():
    disk = Memory()
    cache = Cache(disk, littlefs=True)
    write(cache, 100, b"d", 4)
    write(cache, 7, b"c")
    assert cache.ioctl(SYNC, 0) == 0
    assert disk.since() == [("write", 100, 4), ("flush", 0, 0), ("write", 7, 1), ("flush", 0, 0)]


def test_a_commit_alone_needs_one_flush():
    disk = Memory()
    cache = Cache(disk, littlefs=True)
    for n in (7, 8):
        write(cache, n, b"c")
        cache.ioctl(SYNC, 0)
        assert disk.since() == [("write", n, 1), ("flush", 0, 0)]


def test_an_erase_parts_the_commit_from_data_that_ends_before_it():
    disk = Memory()
    cache = Cache(disk, littlefs=True)
    for _ in range(2):
        cache.ioctl(ERASE, 0)
        write(cache, 100, b"d", 2)
        cache.ioctl(ERASE, 0)
        write(cache, 102, b"d", 2)
        cache.ioctl(ERASE, 0)
        write(cache, 104, b"c")
        write(cache, 105, b"c")
        cache.ioctl(SYNC, 0)
        order = [("write", 100, 4), ("flush", 0, 0), ("write", 104, 2), ("flush", 0, 0)]
        assert disk.since() == order


def test_the_end_of_a_commit_that_is_longer_than_the_run_waits_for_the_flush():
    disk = Memory()
    cache = Cache(disk, littlefs=True)
    cache.ioctl(ERASE, 0)
    for n in range(0, 136, 4):
        write(cache, n, b"c", 4)
    cache.ioctl(SYNC, 0)
    order = [("write", 0, 128), ("flush", 0, 0), ("write", 128, 8), ("flush", 0, 0)]
    assert disk.since() == order


def test_a_commit_whose_data_could_not_be_flushed_is_not_sent():
    for error in (("write", 100), ("flush",)):
        disk = Memory()
        cache = Cache(disk, littlefs=True)
        cache.ioctl(ERASE, 0)
        write(cache, 100, b"d", 4)
        cache.ioctl(ERASE, 0)
        write(cache, 104, b"c")
        disk.error[error if len(error) == 2 else error[0]] = IoError("bad")
        assert cache.ioctl(SYNC, 0) == -5
        assert disk.data[104 * UNIT] != ord("c")
        disk.error.clear()
        disk.since()
        cache.ioctl(SYNC, 0)
        order = [("write", 100, 4), ("flush", 0, 0), ("write", 104, 1), ("flush", 0, 0)]
        assert disk.since() == order


# All of it


def test_reading_and_writing_allocate_nothing():
    disk = virtio.Block(0)
    try:
        for littlefs in (False, True):
            cache = Cache(disk, littlefs=littlefs)
            buf, one = bytearray(4096), bytearray(UNIT)

            def cycle():
                for n in range(0, 1024, 8):
                    cache.readblocks(n, buf)
                    cache.readblocks(n * 13, one)
                for n in range(0, 264, 8):
                    cache.writeblocks(n, buf)
                cache.writeblocks(2000, one)
                cache.ioctl(SYNC, 0)

            cycle()
            allocates_nothing(cycle)
    finally:
        disk.deinit()


class Written(virtio.Partition):
    """A disk that keeps what was written since its last flush to itself."""

    def __init__(self, disk):
        super().__init__(disk)
        self.unflushed = []

    def writeblocks(self, block_num, buf, offset=None):
        self.unflushed.append((block_num, offset, bytes(buf)))
        return super().writeblocks(block_num, buf, offset)

    def flush(self):
        super().flush()
        self.unflushed.clear()


def test_files_and_folders_through_it():
    for kind in ("FAT", "littlefs"):
        disk = virtio.Block(0)
        try:
            virtio.format(disk, kind, confirm="erase")
            for turn in range(3):
                written = Written(disk)
                virtio.mount(written, "/x")
                if turn == 0:
                    os.mkdir("/x/folder")
                for n in range(20):
                    name = "/x/folder/%d" % n
                    if turn:
                        with open(name, "rb") as file:
                            assert file.read() == bytes([n + turn - 1]) * (n * 977), (kind, n)
                    with open(name, "wb") as file:
                        file.write(bytes([n + turn]) * (n * 977))
                    assert written.unflushed == []
                vfs.umount("/x")
        finally:
            disk.deinit()
