"""What comes in between: scheduled functions in the middle of a request, memory that has run out.

A function that was scheduled runs at the interpreter's next jump, so it is scheduled just before
the call in whose middle it would do harm.
"""

import asyncio
import gc
import os
from array import array

import fake
import micropython
import vfs
import virtio
from check import raises
from disk0 import Disk, pattern
from ram import Ram
from virtio import IoError, PackedVirtQueue, VirtQueue
from virtio.device.inorder import InOrderPackedVirtQueue, InOrderVirtQueue
from virtio.storage.cache import Cache


def settle():
    for _ in range(10):
        pass


# Scheduled functions


def test_a_chain_added_in_the_middle_of_another_does_not_take_its_place():
    for kind in (VirtQueue, PackedVirtQueue):
        for make in (memoryview, lambda data: data):
            transport = fake.FakeTransport()
            queue = kind(transport, 0, 8)
            tokens = []
            micropython.schedule(lambda _: tokens.append(queue.add([], [bytearray(16)])), None)
            tokens.append(queue.add([make(b"in")], [make(bytearray(16))]))
            settle()
            assert len(set(tokens)) == 2, tokens
            assert queue.available_desc() == 8 - 3
            transport.reset()
            queue.deinit()


class FinalDisk(Ram):
    """A disk whose writes, when `queue` is set, are chains of that queue and nothing else."""

    queue = None
    chain = ((b"final",), ())

    def writeblocks(self, number, buf, offset=0):
        if self.queue:
            self.queue.add(*self.chain)
            self.queue = None
        else:
            super().writeblocks(number, buf, offset)


def leave_files_open(filesystem):
    for n in range(6):  # some of which the stack may still show
        filesystem.open("dropped%d" % n, "wb").write(b"d" * 700)


def test_a_finaliser_that_adds_while_another_chain_is_put_together_does_not_take_its_place():
    """The length of an array takes a memoryview, and so a collection."""
    kinds = (VirtQueue, PackedVirtQueue, InOrderVirtQueue, InOrderPackedVirtQueue)
    for kind in kinds:
        for indirect in (False, True):
            disk = FinalDisk(256)
            vfs.VfsFat.mkfs(disk)
            leave_files_open(vfs.VfsFat(disk))
            transport = fake.FakeTransport(queue_max=(16,))
            queue = kind(transport, 0, 16, indirect)
            device = (fake.FakePackedQueue if kind.packed else fake.FakeQueue)(transport)
            chain = [array("I", b"1" * 8)], [array("H", bytes(4)), array("I", bytes(12))]
            threshold = gc.threshold()
            disk.queue = queue
            gc.threshold(0)
            try:
                queue.add(*chain)
            finally:
                gc.threshold(threshold)
            assert disk.queue is None, kind
            lengths = [[length for _, length, _ in device.take()[1]] for _ in range(2)]
            assert lengths == [[5], [8, 4, 12]], (kind, indirect, lengths)
            transport.reset()
            queue.deinit()


def test_a_vector_is_written_though_another_is_read_in_its_middle():
    with Disk() as disk:
        queue = disk.queues[0]
        request, read = queue.add_notify_wait_pop, []

        def interrupted(*args):
            queue.add_notify_wait_pop = request
            bufs = [bytearray(512), bytearray(512)]
            micropython.schedule(lambda _: disk.readv(300, bufs) or read.append(bufs), None)
            return request(*args)

        queue.add_notify_wait_pop = interrupted
        disk.writev(60, [memoryview(b"1" * 512), memoryview(b"2" * 512)])
        settle()
        buf = bytearray(1024)
        disk.readblocks(60, buf)
        assert buf == b"1" * 512 + b"2" * 512
        assert read[0][0] == pattern(300)
        disk.writeblocks(60, pattern(60, 2))


def test_a_decision_to_notify_is_carried_out_whoever_comes():
    """Else the next to add takes the device for one that was told, and waits in vain."""

    async def main(disk):
        queue, done = disk.queues[0], []
        wanted = queue._wanted

        def read(_):
            disk.readblocks(7, bytearray(512))
            done.append(7)

        def interrupted(words):
            queue._wanted = wanted
            micropython.schedule(read, None)
            return wanted(words)

        queue._wanted = interrupted
        await disk.aread(2, bytearray(512))
        assert done == [7]

    with Disk() as disk:
        disk.timeout_ms = 1000
        asyncio.run(main(disk))
        asyncio.new_event_loop()


def test_a_list_that_grows_under_way_is_as_long_as_it_was():
    with Disk() as disk:
        requests = [(n, bytearray(512)) for n in range(64)]
        batches = disk._get_batches()
        new = batches._new

        def interrupted(total, spare):
            requests.append((99, bytearray(512)))
            return new(total, spare)

        batches._new = interrupted
        disk.readmany(requests)
        assert len(requests) == 65
        for n, buf in requests[:-1]:
            assert buf == pattern(n)
        assert requests[-1][1] == bytes(512)


def test_a_list_that_is_emptied_under_way_is_refused_and_nothing_is_sent():
    with Disk() as disk:
        requests = [(n, bytearray(512)) for n in range(64)]
        batches = disk._get_batches()
        new, sent = batches._new, repr(disk.queues[0])

        def interrupted(total, spare):
            requests.clear()
            return new(total, spare)

        batches._new = interrupted
        raises(IndexError, disk.readmany, requests)
        assert repr(disk.queues[0]) == sent


def test_parts_of_two_blocks_are_written_and_read_at_once():
    with Disk() as disk:
        transfer, read = disk.transfer, bytearray(16)

        def interrupted(kind, block_num, buf):
            disk.transfer = transfer
            transfer(kind, block_num, buf)
            disk.readblocks(200, read, 8)

        disk.transfer = interrupted
        disk.writeblocks(100, b"x" * 16, 8)
        buf = bytearray(512)
        disk.readblocks(100, buf)
        assert buf == pattern(100)[:8] + b"x" * 16 + pattern(100)[24:]
        assert read == pattern(200)[8:24]
        disk.writeblocks(100, pattern(100))


# The collector closes files that a program has dropped, while nothing can be allocated


def drop(path):
    file = open(path, "wb")
    for _ in range(40):
        file.write(b"a" * 512)


def deep(levels, function, *args):
    """Call the function where the stack is not looked at afterwards."""
    return deep(levels - 1, function, *args) if levels else function(*args)


def test_a_FAT_file_that_the_collector_closes_is_whole():
    with Disk() as disk:
        virtio.format(disk, "FAT", confirm="erase")
        virtio.mount(disk, "/m")
        try:
            deep(20, drop, "/m/dropped")
            deep(40, settle)
            gc.collect()
            assert os.stat("/m/dropped")[6] == 40 * 512
            with open("/m/dropped", "rb") as file:
                assert file.read() == b"a" * (40 * 512)
        finally:
            vfs.umount("/m")
            for n in range(64):
                disk.writeblocks(n, pattern(n))


def test_what_the_cache_has_is_sent_without_allocating():
    with Disk() as disk:
        cache, data = Cache(disk), bytearray(b"d" * 512)
        for n in range(37):
            cache.writeblocks(100 + n, data)
        micropython.heap_lock()
        try:
            cache.ioctl(3, 0)
        finally:
            micropython.heap_unlock()
        disk.readblocks(136, data)
        assert data == b"d" * 512
        disk.writeblocks(100, pattern(100, 37))


def test_a_timeout_that_memory_is_too_short_for_leaves_the_device_nothing():
    def fail(token, timeout_ms):
        raise MemoryError

    transport = fake.FakeTransport()
    rng = virtio.Rng(transport)
    rng.queues[0]._sleep = fail
    buf = bytearray(8)
    raises(MemoryError, rng.readinto, buf)
    assert transport.status == 0
    rng.reset()
    transport.device.on_notify = lambda idx: fake.answer(fake.FakeQueue(transport), b"answered")
    rng.readinto(buf)
    assert buf == b"answered"
    rng.deinit()


# What a disk was mounted with before


def test_a_flush_that_fails_is_an_error_after_a_littlefs_too():
    with Disk() as disk:
        vfs.VfsLfs2.mkfs(disk)

        def fail():
            raise IoError("flush")

        disk.flush = fail
        raises(IoError, Cache(disk).ioctl, 3, 0)
        for n in range(64):
            disk.writeblocks(n, pattern(n))
