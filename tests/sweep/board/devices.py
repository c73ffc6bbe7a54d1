# SPDX-License-Identifier: MIT
"""What a program does with devices: open, use, reset and close them. For engine.py."""

import asyncio
import os
import struct

import inject
import vfs
import virtio
from engine import Broken, bound, eventually, expect
from virtio.drivers import entropy
from virtio.platform import dma
from virtio.transport import mmio

TIMEOUT_MS = 3000
PART = 4096  # where on the disk a filesystem is, whose dropped files the collector closes
FAULTY = mmio.FAILED | mmio.DRIVER_OK


def pattern(first, count=1):
    return b"".join([struct.pack("<I", n) * 128 for n in range(first, first + count)])


def short(data):
    return bytes(data[:16]) if isinstance(data, bytearray) else data


class Devices:
    """The disk 0 and the entropy device."""

    def __init__(self, ring, operations=None):
        self.ring = ring
        self.disk = self.rng = None
        self.free = dma.available()
        self.open()
        self.free_open = dma.available()
        self.operations = bound(self, operations or OPERATIONS)

    # Open and closed

    def open(self):
        if self.disk is None:
            self.disk = virtio.Block(0, ring=self.ring)
            self.disk.timeout_ms = TIMEOUT_MS
        if self.rng is None:
            self.rng = virtio.Rng(0, ring=self.ring)
            self.rng.timeout_ms = TIMEOUT_MS

    def close(self):
        self.umount()
        for device in virtio.opened():
            device.deinit()
        self.disk = self.rng = None
        expect(virtio.opened() == [], "still opened:", virtio.opened())
        expect(dma.available() == self.free, dma.available(), "of", self.free, "bytes of DMA")
        for transport in virtio.scan():
            status = transport.status
            expect(status & FAULTY != mmio.DRIVER_OK, "left running:", transport, status)

    # What the engine asks for

    def before(self, kind):
        asyncio.new_event_loop()
        self.open()
        if kind == inject.COLLECT:
            self.drop()

    def bears(self, error):
        return False

    def visit(self):
        """Use the devices that are open, as far as they can be used."""
        for device in virtio.opened():
            try:
                if isinstance(device, virtio.Block):
                    buf = bytearray(1024)
                    device.readblocks(77, buf)
                    expect(buf == pattern(77, 2), "the scheduled function reads something else")
                else:
                    device.read(16)
            except OSError:
                # One that is being opened, reset or closed says so.
                if device in (self.disk, self.rng) and not self.unsettled:
                    raise
        try:
            os.urandom(8)
        except virtio.AlreadyUsed:
            pass  # it is just being opened, reset or closed

    unsettled = False

    def check(self):
        """All are open and work, and have all that is theirs."""
        self.umount()
        self.unsettled = False
        opened = virtio.opened()
        expect(len(opened) == 2, "opened:", opened)
        for device in opened:
            expect(device.transport.status & FAULTY == mmio.DRIVER_OK, "not running:", device)
            for queue in device.queues:
                ahead = entropy._ahead  # what os.urandom has asked for already
                spare = int(ahead is not None and ahead[0] is queue)
                queue.kick()  # as the next request does, where there was no stack to tell
                eventually(
                    lambda: not queue.can_pop() and queue.available_desc() >= queue.size - spare,
                    lambda: "%d descriptors of %r" % (queue.available_desc(), queue),
                )
        expect(dma.available() == self.free_open, dma.available(), "of", self.free_open, "DMA")
        self.works()

    def works(self):
        buf = bytearray(2048)
        self.disk.readblocks(9, buf)
        expect(buf == pattern(9, 4), "the disk reads something else")
        self.disk.readblocks(5, buf, 100)
        expect(buf == pattern(5, 5)[100:2148], "the disk reads something else from an offset")
        self.disk.writeblocks(300, buf)
        self.disk.flush()
        self.disk.readmany([(n, buf[:512]) for n in range(10)])
        expect(self.rng.readinto(buf) == 2048, "entropy")
        expect(len(os.urandom(20)) == 20, "urandom")

    # Files that the collector closes, on the same disk

    def drop(self):
        part = virtio.Partition(self.disk, PART)
        if not hasattr(self, "formatted"):
            virtio.format(part, "FAT", confirm="erase")
            self.formatted = True
        virtio.mount(part, "/p")
        for _ in range(3):
            file = open("/p/dropped", "wb")
            file.write(b"dropped" * 100)
            file = None

    def umount(self):
        if "p" in os.listdir("/"):
            try:
                vfs.umount("/p")
            except OSError:
                expect(self.unsettled, "its disk is open, and /p cannot be unmounted")


# Each operation is (prepare, run, verify), of the world; `data` is what it read, or wrote.


def same(expected):
    def verify(world, done, result):
        expect(not done or result == expected, "it returned", short(result))

    return verify


def old_or_new(block, count, new):
    """What was written is there, and if it was interrupted each block is the old one or the new."""

    def verify(world, done, _):
        buf = bytearray(512)
        for n in range(count):
            world.disk.readblocks(block + n, buf)
            wanted = new[512 * n : 512 * n + 512]
            expect(
                buf == wanted or (not done and buf == pattern(block + n)),
                "block",
                block + n,
                "is",
                bytes(buf[:16]),
            )
        world.disk.writeblocks(block, pattern(block, count))

    return verify


def any_end(world, done, result):
    pass


def read(world):
    buf = bytearray(4096)
    world.disk.readblocks(40, buf)
    return buf


def read_part(world):
    buf = bytearray(700)
    world.disk.readblocks(40, buf, 100)
    return buf


NEW = bytes([n & 0xFF for n in range(4096)])


def write(world):
    world.disk.writeblocks(60, NEW)


def write_part(world):
    world.disk.writeblocks(60, NEW[100:800], 100)


def readmany(world):
    bufs = [bytearray(512) for _ in range(8)]
    world.disk.readmany([(n, buf) for n, buf in enumerate(bufs)])
    return b"".join(bufs)


def writemany(world):
    world.disk.writemany([(60 + n, NEW[512 * n : 512 * n + 512]) for n in range(8)])


def readv(world):
    bufs = [bytearray(300), bytearray(724)]
    world.disk.readv(20, bufs)
    return bufs[0] + bufs[1]


def writev(world):
    world.disk.writev(60, [NEW[:700], NEW[700:1024]])


def flush(world):
    world.disk.flush()


def discard(world):
    world.disk.discard(60, 8)


def put_back(world, done, _):
    world.disk.writeblocks(60, pattern(60, 8))


def write_zeroes(world):
    world.disk.write_zeroes(60, 8)


def serial(world):
    return world.disk.serial


def ioctl(world):
    return [world.disk.ioctl(op, 0) for op in (3, 4, 5, 6)]  # 1 would mount it


def rng_read(world):
    return world.rng.read(64)


def rng_readinto(world):
    return world.rng.readinto(bytearray(300))


def rng_readsome(world):
    return world.rng.readsome(bytearray(16))


def without_pool(world):
    entropy._left = 0
    entropy._abandon(entropy._ahead)
    entropy._ahead = None


def urandom(world):
    return os.urandom(10) + os.urandom(100) + os.urandom(200)


def urandom_is(world, done, result):
    expect(not done or len(result) == 310, "urandom gave", result)


# Opening, resetting, closing


def closed(world):
    world.close()
    world.unsettled = True


def open_disk(world):
    world.disk = virtio.Block(0, ring=world.ring)


def open_rng(world):
    world.rng = virtio.Rng(0, ring=world.ring)


def close_disk(world):
    world.disk.deinit()


def close_rng(world):
    world.rng.deinit()


def reopen(world, done, _):
    """Close what is open, of which nothing may be left, and open all again."""
    world.close()
    world.open()


def unsettled(world):
    world.unsettled = True


def reset_disk(world):
    world.disk.reset()


def reset_rng(world):
    world.rng.reset()


def reset_again(world, done, _):
    if not done:
        world.disk.reset()
        world.rng.reset()


def urandom_closed(world):
    return os.urandom(10)


def urandom_closed_is(world, done, result):
    expect(not done or len(result) == 10, "urandom gave", result)
    expect(not done or virtio.opened() == [], "urandom left open", virtio.opened())
    reopen(world, done, None)


def partitions(world):
    return virtio.partitions(world.disk)


def scan(world):
    return len(virtio.scan())


# A queue by hand


def driver(world):
    """What there is beneath a queue of disk 0."""
    closed(world)
    features = virtio.features
    transport = world.transport = virtio.scan()[0]
    transport.reset()
    transport.add_status(mmio.ACKNOWLEDGE | mmio.DRIVER)
    taken = 0 if transport.legacy else features.VERSION_1
    taken |= features.RING_PACKED if world.ring == "packed" else 0
    taken |= features.EVENT_IDX | features.INDIRECT_DESC
    transport.write_driver_features(taken)
    if not transport.legacy:
        transport.add_status(mmio.FEATURES_OK)
    world.queue = None


def make_queue(world):
    kind = virtio.PackedVirtQueue if world.ring == "packed" else virtio.VirtQueue
    world.queue = kind(world.transport, 0, 64, True, True)


def drop_queue(world, done, _):
    """Whether it was made or not, the device is let go, and all memory is free."""
    if world.queue is None:
        # Made, and never named: the transport is all that its maker has.
        for queue in virtio.ring.base._live:
            world.queue = queue
    if world.queue is not None:
        world.queue.deinit()
    world.transport.reset()
    world.queue = None
    reopen(world, done, None)


def queue_ready(world):
    driver(world)
    make_queue(world)
    world.transport.add_status(mmio.DRIVER_OK)


def queue_deinit(world):
    world.queue.deinit()


def header(sector):
    return struct.pack("<IIQ", 0, 0, sector)


def one_by_one(world):
    queue, bufs = world.queue, []
    for n in range(3):
        bufs.append(bytearray(512))
        queue.add([header(30 + n)], [bufs[n], bytearray(1)])
        if queue.should_notify():
            world.transport.notify(0)
    for n in range(3):
        while not queue.can_pop():
            pass
        queue.pop_used(queue.peek_used())
    return b"".join(bufs)


def all_at_once(world):
    buf = bytearray(512)
    world.queue.add_notify_wait_pop([header(30)], [buf, bytearray(1)], None, TIMEOUT_MS)
    return buf


def by_token(world):
    queue, buf = world.queue, bytearray(512)
    outputs = [buf, bytearray(1)]
    inputs = [header(30)]
    token = queue.add(inputs, outputs)
    queue.kick()
    while not queue.can_pop():
        pass
    queue.pop_used(token, inputs, outputs)
    return buf


def queue_whole(length):
    def verify(world, done, result):
        queue = world.queue
        expect(not done or result == pattern(30, length), "it returned", short(result))
        queue.kick()  # Ctrl-C may have come between add and notification, which are the user's
        if not done and queue.available_desc() < queue.size:
            world.transport.notify(0)

        def back():
            while queue.can_pop():
                queue.pop_used(queue.peek_used())
            return queue.available_desc() == queue.size

        eventually(back, lambda: "%d descriptors of %r" % (queue.available_desc(), queue))
        expect(all_at_once(world) == pattern(30), "the queue reads something else")
        drop_queue(world, done, None)

    return verify


OPERATIONS = {
    "read": (None, read, same(pattern(40, 8))),
    "read-part": (None, read_part, same(pattern(40, 8)[100:800])),
    "write": (None, write, old_or_new(60, 8, NEW)),
    "write-part": (
        None,
        write_part,
        old_or_new(60, 2, pattern(60)[:100] + NEW[100:800] + pattern(61)[288:]),
    ),
    "readmany": (None, readmany, same(pattern(0, 8))),
    "writemany": (None, writemany, old_or_new(60, 8, NEW)),
    "readv": (None, readv, same(pattern(20, 2))),
    "writev": (None, writev, old_or_new(60, 2, NEW)),
    "flush": (None, flush, any_end),
    "discard": (None, discard, put_back),
    "write_zeroes": (None, write_zeroes, old_or_new(60, 8, bytes(4096))),
    "serial": (None, serial, same("swept")),
    "ioctl": (None, ioctl, any_end),
    "partitions": (None, partitions, any_end),
    "scan": (None, scan, any_end),
    "rng-read": (None, rng_read, any_end),
    "rng-readinto": (None, rng_readinto, any_end),
    "rng-readsome": (None, rng_readsome, any_end),
    "urandom": (None, urandom, urandom_is),
    "urandom-first": (without_pool, urandom, urandom_is),
    "urandom-closed": (closed, urandom_closed, urandom_closed_is),
    "disk-open": (closed, open_disk, reopen),
    "disk-reset": (unsettled, reset_disk, reset_again),
    "disk-close": (unsettled, close_disk, reopen),
    "rng-open": (closed, open_rng, reopen),
    "rng-reset": (unsettled, reset_rng, reset_again),
    "rng-close": (unsettled, close_rng, reopen),
    "queue-open": (driver, make_queue, drop_queue),
    "queue-close": (queue_ready, queue_deinit, drop_queue),
    "queue-one-by-one": (queue_ready, one_by_one, queue_whole(3)),
    "queue-all-at-once": (queue_ready, all_at_once, queue_whole(1)),
    "queue-by-token": (queue_ready, by_token, queue_whole(1)),
}
