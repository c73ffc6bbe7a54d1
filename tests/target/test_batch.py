"""Many requests in one call, and requests cut in pieces: QEMU's disk, and a fake one that errs."""

import struct
from array import array
from collections import namedtuple

import fake
import uctypes
import virtio
from check import allocates_nothing, raises
from disk0 import SECTORS, Disk, pattern
from virtio import BatchError, DeviceFault, InvalidParam, IoError, Timeout, Unsupported

F_SIZE_MAX, F_SEG_MAX = 1 << 1, 1 << 2
OK, IOERR, UNSUPP = 0, 1, 2


def test_many_reads_and_many_writes():
    with Disk() as disk:
        for count in (0, 1, 2, 127, 128, 129, 1000):
            bufs = [bytearray(512 * (1 + n % 3)) for n in range(count)]
            disk.readmany([(n * 7, bufs[n]) for n in range(count)])
            for n in range(count):
                assert bufs[n] == pattern(n * 7, 1 + n % 3), (count, n)
        disk.writemany([(n, pattern(SECTORS - n)) for n in range(0, 600, 2)])
        buf = bytearray(512 * 600)
        disk.readblocks(0, buf)
        for n in range(600):
            at = n if n % 2 else SECTORS - n
            assert buf[n * 512 : n * 512 + 512] == pattern(at), n
        disk.writemany([(n, pattern(n)) for n in range(0, 600, 2)])
        assert disk.queues[0].available_desc() == disk.queues[0].size


def test_what_is_wrong_is_raised_before_anything_is_sent():
    with Disk() as disk:
        sent = repr(disk.queues[0])
        good = (0, bytearray(512))
        for block, length in ((SECTORS, 512), (3, 700), (-1, 512), (1, 0), (1 << 32, 512)):
            bad = block, bytearray(length)
            raises(InvalidParam, disk.readmany, [good, bad])
            raises(InvalidParam, disk.readmany, [good, list(bad)])  # which is no tuple
            raises(InvalidParam, disk.writemany, [good, bad])
        raises(TypeError, disk.readmany, [good, (0, bytes(512))])
        raises(TypeError, disk.writemany, [good, (0, None)])
        assert repr(disk.queues[0]) == sent
    with Disk(2) as disk:
        raises(OSError, disk.writemany, [good], errno=30)


def test_requests_and_buffers_may_be_of_any_kind():
    class Pair:
        def __init__(self, block, buf):
            self.pair = block, buf

        def __getitem__(self, at):
            return self.pair[at]

    Named = namedtuple("Named", ("block", "buf"))
    with Disk() as disk:
        bufs = [bytearray(512) for _ in range(7)]
        words = array("I", bytes(1024))
        requests = [
            (3, bufs[0]),
            [4, bufs[1]],
            (5, memoryview(bufs[2])),
            (6, words),
            Named(8, bufs[3]),
            (9, bufs[4], "and more"),
            Pair(10, bufs[5]),
            (True, bufs[6]),
        ]
        wanted = pattern(3, 3) + pattern(6, 2) + pattern(8, 3) + pattern(1)
        for many in (requests, tuple(requests)):
            for buf in bufs:
                buf[:] = bytes(512)
            disk.readmany(many)
            assert b"".join(bufs[:3] + [bytes(words)] + bufs[3:]) == wanted
        disk.writemany([(3, bytes(512)), [4, bytes(512)], (5, memoryview(bytes(512)))])
        buf = bytearray(3 * 512)
        disk.readblocks(3, buf)
        assert buf == bytes(3 * 512)
        disk.writemany([(3, pattern(3)), (4, bytearray(pattern(4))), (5, pattern(5))])
        disk.readblocks(3, buf)
        assert buf == pattern(3, 3)


def test_what_is_no_request_is_a_type_error_and_nothing_is_sent():
    with Disk() as disk:
        sent = repr(disk.queues[0])
        good = (0, bytearray(512))
        for bad in (5, None, "ab", -1, 1 << 40, (0, 5), (0, None), (0, 1 << 40)):
            raises(TypeError, disk.readmany, [good, bad])
            raises(TypeError, disk.writemany, [good, bad])
        raises(TypeError, disk.readmany, [good, (0, "ab")])
        for bad in ((None, bytearray(512)), ("a", bytearray(512)), (0.5, bytearray(512))):
            raises(TypeError, disk.readmany, [good, bad])
        raises(IndexError, disk.readmany, [good, (0,)])
        raises(IndexError, disk.readmany, [good, ()])
        raises(IndexError, disk.readmany, "ab")
        # A range has three numbers in words. These are where a tuple has its length, a block, a buffer.
        held = array("O", [good[1]])
        (address,) = struct.unpack("i", uctypes.bytes_at(uctypes.addressof(held), 4))
        raises(IndexError, disk.readmany, [good, range(2, 2 * 5 + 1, address)])
        for bad in (5, None, {5: good}.keys()):
            raises(TypeError, disk.readmany, bad)
        assert repr(disk.queues[0]) == sent


def test_a_list_that_grows_while_it_is_read_has_no_more_requests_than_before():
    class Grows:
        def __getitem__(self, at):
            if len(requests) < 6:
                requests.extend([(9, bytearray(512))] * 4)
            return (7, buf)[at]

    with Disk() as disk:
        buf = bytearray(512)
        requests = [Grows(), (8, bytearray(512))]
        disk.readmany(requests)
        assert buf == pattern(7) and requests[1][1] == pattern(8)
        assert len(requests) == 6 and requests[2][1] == bytes(512)
        records = disk._batches.over[0].records  # there may be no room for more
        assert records[2 * 8 + 6] is None


def test_a_batch_allocates_nothing():
    with Disk() as disk:
        requests = [(8 * n, bytearray(4096)) for n in range(200)]

        def cycle():
            disk.readmany(requests)
            disk.writemany(requests)

        allocates_nothing(cycle)
        assert requests[199][1] == pattern(8 * 199, 8)


def test_other_requests_may_be_in_flight():
    with Disk() as disk:
        queue = disk.queues[0]
        header, data, status = struct.pack("<IIQ", 0, 0, 9), bytearray(512), bytearray(1)
        token = queue.add([header], [data, status])
        bufs = [bytearray(512) for _ in range(300)]
        disk.readmany([(n, bufs[n]) for n in range(300)])
        assert b"".join(bufs) == pattern(0, 300)
        while not queue.can_pop():
            pass
        assert queue.pop_used(token) == 513 and data == pattern(9)


def test_one_notification_starts_as_many_as_fit():
    device = FakeDisk(queue_max=64)
    disk = device.open()
    disk.readmany([(0, bytearray(512)) for _ in range(21)])
    assert device.transport.device.notified == [0]
    disk.deinit()


def test_a_batch_says_which_requests_failed_and_does_the_others():
    device = FakeDisk(queue_max=16)
    disk = device.open()
    device.statuses = {3: IOERR, 7: UNSUPP, 30: IOERR}
    requests = [(n, bytearray(512)) for n in range(40)]
    error = raises(BatchError, disk.readmany, requests, errno=5)
    assert isinstance(error, IoError) and "3 requests" in str(error)
    assert [index for index, _ in error.failed] == [3, 7, 30]
    assert [type(why) for _, why in error.failed] == [IoError, Unsupported, IoError]
    assert [request[1] for request in device.requests] == list(range(40))
    device.statuses = {}
    disk.writemany([(n, bytes(512)) for n in range(40)])
    assert disk.queues[0].available_desc() == 16
    disk.deinit()


def test_completions_in_any_order():
    device = FakeDisk(queue_max=32)
    disk = device.open()
    device.backwards = True
    device.statuses = {1: IOERR, 15: IOERR}
    requests = [(n, bytearray(512)) for n in range(20)]
    error = raises(BatchError, disk.readmany, requests)
    assert sorted(index for index, _ in error.failed) == [1, 15]
    assert disk.queues[0].available_desc() == 32
    disk.deinit()


def test_after_a_timeout_the_buffers_are_the_devices_until_it_has_used_them():
    device = FakeDisk(queue_max=16)
    disk = device.open()
    disk.timeout_ms = 10
    device.silent = True
    raises(Timeout, disk.readmany, [(n, bytearray(512)) for n in range(20)])
    assert disk.queues[0].available_desc() < 3
    device.silent = False
    device.work(0)  # what was late comes now
    disk.readmany([(n, bytearray(512)) for n in range(20)])
    assert disk.queues[0].available_desc() == 16
    disk.deinit()


def test_a_status_that_does_not_exist_is_a_fault_of_the_whole_batch():
    device = FakeDisk(queue_max=16)
    disk = device.open()
    device.statuses = {2: 9}
    requests = [(n, bytearray(512)) for n in range(20)]
    raises(DeviceFault, disk.readmany, requests)
    raises(DeviceFault, disk.readmany, requests)
    device.statuses = {}
    disk.reset()
    device.attach()
    disk.readmany(requests)
    disk.deinit()


def test_awaited_batches_let_other_tasks_run():
    import asyncio

    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main(disk):
        task = asyncio.create_task(other())
        bufs = [bytearray(512) for _ in range(300)]
        await disk.areadmany([(n * 3, bufs[n]) for n in range(300)])
        assert turns > 1
        assert all(bufs[n] == pattern(n * 3) for n in range(300))
        await disk.awritemany([(n, pattern(n + 7)) for n in range(100)])
        await disk.areadmany([])
        task.cancel()

    with Disk() as disk:
        asyncio.run(main(disk))
        buf = bytearray(512 * 101)
        disk.readblocks(0, buf)
        assert buf == pattern(7, 100) + pattern(100)
        disk.writeblocks(0, pattern(0, 100))


def test_an_awaited_batch_says_which_requests_failed_and_does_the_others():
    import asyncio

    async def failed(batch):
        try:
            await batch
        except BatchError as error:
            return [(index, type(why)) for index, why in error.failed]

    for version in (1, 2):
        device = FakeDisk(version)
        disk = device.open()
        device.statuses = {3: IOERR, 7: UNSUPP, 30: IOERR}
        for kind, batch in enumerate((disk.areadmany, disk.awritemany)):
            device.requests.clear()
            found = asyncio.run(failed(batch([(n, bytearray(512)) for n in range(40)])))
            assert found == [(3, IoError), (7, Unsupported), (30, IoError)]
            assert sorted([request[:2] for request in device.requests]) == [
                (kind, n) for n in range(40)
            ]
            assert disk.queues[0].available_desc() == 16
        disk.deinit()


def test_an_awaited_batch_ends_at_a_status_that_does_not_exist():
    import asyncio

    for version in (1, 2):
        device = FakeDisk(version)
        disk = device.open()
        requests = [(n, bytearray(512)) for n in range(20)]
        for batch in (disk.areadmany, disk.awritemany):
            device.statuses = {2: 9}
            raises(DeviceFault, lambda: asyncio.run(batch(requests)))
            device.statuses = {}
            disk.reset()
            device.attach()
            asyncio.run(batch(requests))
        disk.deinit()


# size_max and seg_max (section 5.2.4). QEMU has no size_max; its seg_max is in test_storage_block.py.


LIMITS = F_SIZE_MAX | F_SEG_MAX


def test_a_long_buffer_is_cut_into_segments_and_requests():
    for segments, expected in (
        (1, [(0, [1024, 1]), (2, [1024, 1]), (4, [512, 1])]),
        (2, [(0, [1024, 1024, 1]), (4, [512, 1])]),
        (9, [(0, [1024, 1024, 512, 1])]),
    ):
        for version in (1, 2):
            device = FakeDisk(version, LIMITS, size_max=1024, seg_max=segments)
            disk = device.open()
            buf = bytearray(2560)
            disk.readblocks(0, buf)
            assert device.reads() == expected
            disk.readv(0, [buf])
            assert device.reads() == expected
            device.requests.clear()
            disk.writeblocks(0, buf)
            written = [(sector, length) for _, sector, length, _ in device.requests]
            assert written == [(sector, sum(out) - 1) for sector, out in expected]
            device.requests.clear()
            disk.readmany([(3, bytearray(512)), (0, buf), (4, bytearray(512))])
            lengths = [(sector, sum(out) - 1) for sector, out in device.reads()]
            assert sorted(lengths) == sorted([(3, 512), (4, 512)] + written)
            disk.deinit()


def test_segments_may_be_shorter_than_a_block():
    for version in (1, 2):
        device = FakeDisk(version, LIMITS, size_max=300, seg_max=4)
        disk = device.open()
        for read in (disk.readblocks, lambda block, buf: disk.readv(block, [buf])):
            read(5, bytearray(1536))
            assert device.reads() == [(5, [300, 300, 300, 124, 1]), (7, [300, 212, 1])]
        disk.deinit()
        device = FakeDisk(version, LIMITS, size_max=100, seg_max=4)
        raises(Unsupported, virtio.Block, device.transport)


def test_buffers_beyond_seg_max_go_in_as_few_requests_as_blocks_allow():
    for version in (1, 2):
        device = FakeDisk(version, F_SEG_MAX, seg_max=3)
        disk = device.open()
        for lengths, expected in (
            ([100, 412, 512], [(0, [100, 412, 512, 1])]),
            ([512] * 7, [(0, [512, 512, 512, 1]), (3, [512, 512, 512, 1]), (6, [512, 1])]),
            # A buffer is cut where a block ends, the last one that the request can have.
            ([700, 700, 700, 460], [(0, [700, 700, 648, 1]), (4, [52, 460, 1])]),
            ([412, 2148, 100, 412], [(0, [412, 2148, 1]), (5, [100, 412, 1])]),
            ([512, 100, 100, 312], [(0, [512, 1]), (1, [100, 100, 312, 1])]),
        ):
            disk.readv(0, [bytearray(length) for length in lengths])
            assert device.reads() == expected, device.requests
        # But not within an item.
        disk.readv(0, [bytearray(512), bytearray(510), array("I", bytes(1024)), bytearray(2)])
        assert device.reads() == [(0, [512, 1]), (1, [510, 1024, 2, 1])]
        disk.deinit()


def test_a_block_of_more_buffers_than_seg_max_is_refused_before_anything_is_sent():
    for version in (1, 2):
        device = FakeDisk(version, F_SEG_MAX, seg_max=3)
        disk = device.open()
        for lengths in ([128] * 4, [512] * 6 + [128] * 4, [511, 1, 100, 100, 100, 212]):
            raises(InvalidParam, disk.readv, 0, [bytearray(length) for length in lengths])
            raises(InvalidParam, disk.writev, 0, [bytes(length) for length in lengths])
        assert device.requests == []
        disk.deinit()


def test_the_queue_is_as_small_as_the_device_has_it():
    device = FakeDisk(queue_max=4)
    disk = device.open()
    assert disk.queues[0].size == 4
    disk.readmany([(n, bytearray(512)) for n in range(9)])
    assert len(device.requests) == 9
    disk.deinit()


class FakeDisk:
    """A disk of 64 sectors. The request for sector n ends with the status that `statuses` has for n."""

    def __init__(self, version=2, features=0, queue_max=16, size_max=0, seg_max=0):
        config = struct.pack("<QIIII", 64, size_max, seg_max, 0, 512)
        if version == 2:
            features |= fake.VERSION_1
        self.transport = fake.FakeTransport(2, version, features, (queue_max,), config)
        self.transport.device.on_notify = self.work
        self.statuses = {}
        self.requests = []
        self.backwards = self.silent = False

    def open(self):
        disk = virtio.Block(self.transport)
        self.attach()
        return disk

    def reads(self):
        """Where the requests since the last time began, and their writable lengths."""
        reads = [(sector, lengths) for _, sector, _, lengths in self.requests]
        self.requests.clear()
        return reads

    def attach(self):
        self.queue = fake.FakeQueue(self.transport)

    def work(self, idx):
        if self.silent:
            return
        chains = []
        while self.queue.seen != self.queue.avail_idx:
            chains.append(self.queue.pop())
        if self.backwards:
            chains.reverse()
        for head, buffers in chains:
            readable = fake.readable(buffers)
            kind, _, sector = struct.unpack("<IIQ", readable[:16])
            lengths = [length for _, length, writable in buffers if writable]
            self.requests.append((kind, sector, len(readable) - 16, lengths))
            fake.mem8[buffers[-1][0]] = self.statuses.get(sector, OK)
            self.queue.use(head, sum(lengths))


# A queue that others have filled


def test_what_is_not_awaited_has_room_beside_awaited_requests():
    import asyncio

    async def fill(disk, requests, done):
        await disk.areadmany(requests)
        done.append(True)

    async def main(disk):
        requests = [(n, bytearray(4096)) for n in range(0, 8000, 8)]
        done, turns, buf = [], 0, bytearray(512)
        tasks = [asyncio.create_task(fill(disk, requests, done)) for _ in range(3)]
        while len(done) < 3:
            await asyncio.sleep_ms(0)
            disk.readblocks(turns, buf)
            assert buf == pattern(turns)
            disk.readblocks(turns, buf, 0)
            disk.readv(turns, [bytearray(512), bytearray(512)])
            disk.readmany([(turns, buf), (turns + 1, bytearray(512))])
            disk.flush()
            turns += 1
        for task in tasks:
            await task
        assert turns > 1

    for ring in ("split", "packed"):
        try:
            disk = virtio.Block(0, ring=ring)
        except virtio.Unsupported:
            continue  # the legacy interface has no packed ring
        disk.timeout_ms = 5000
        asyncio.run(main(disk))
        asyncio.new_event_loop()
        disk.deinit()


def test_a_full_queue_is_waited_for_as_long_as_a_request_may_take():
    device = FakeDisk(queue_max=4)
    disk = device.open()
    disk.timeout_ms = 20
    work, device.transport.device.on_notify = device.transport.device.on_notify, lambda idx: None
    raises(virtio.Timeout, disk.readblocks, 0, bytearray(512))
    for call in (
        lambda: disk.readblocks(1, bytearray(512)),
        lambda: disk.writeblocks(1, bytes(512)),
        lambda: disk.readmany([(1, bytearray(512))]),
        lambda: disk.readv(1, [bytearray(512)]),
    ):
        raises(virtio.QueueFull, call)
    device.transport.device.on_notify = work
    work(0)
    disk.readblocks(1, bytearray(512))
    disk.deinit()


def test_a_queue_that_is_shorter_than_a_request_is_refused():
    for size in (1, 2):
        device = FakeDisk(queue_max=size)
        raises(Unsupported, virtio.Block, device.transport)
