"""A real block device driven by hand through every form of the queue, every byte checked."""

import struct

import virtio
from virtio import features
from virtio.transport import mmio

SECTOR = 512
DEPTH = 32


def forms(transport):
    """(ring, indirect, event_idx) of all that the transport can do."""
    rings = ("split",) if transport.legacy else ("split", "packed")
    return [(r, i, e) for r in rings for i in (False, True) for e in (False, True)]


class Driven:
    """A block device brought up for one form: the least there is between a test and its queue."""

    def __init__(self, transport, form, size=256):
        ring, indirect, event_idx = form
        self.transport = transport
        taken = 0 if transport.legacy else features.VERSION_1
        taken |= features.RING_PACKED if ring == "packed" else 0
        taken |= features.INDIRECT_DESC if indirect else 0
        taken |= features.EVENT_IDX if event_idx else 0
        offered = transport.read_device_features()
        assert offered & taken == taken, "the device lacks 0x%x" % (taken & ~offered)
        transport.reset()
        transport.add_status(mmio.ACKNOWLEDGE | mmio.DRIVER)
        transport.write_driver_features(taken)
        if not transport.legacy:
            transport.add_status(mmio.FEATURES_OK)
            assert transport.status & mmio.FEATURES_OK
        kind = virtio.PackedVirtQueue if ring == "packed" else virtio.VirtQueue
        self.queue = kind(transport, 0, size, indirect, event_idx)
        transport.add_status(mmio.DRIVER_OK)
        self.notifies = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.queue.deinit()
        self.transport.reset()

    def notify(self):
        if self.queue.should_notify():
            self.transport.notify(0)
            self.notifies += 1


class OwnRequests:
    """`virtio.Block` on disk 0 in one form, which sends its own requests, with a frame each."""

    def __init__(self, form):
        self.ring, self.indirect, self.event_idx = form

    def __enter__(self):
        refused = 0 if self.indirect else features.INDIRECT_DESC
        refused |= 0 if self.event_idx else features.EVENT_IDX
        virtio.Block.REFUSED = refused
        try:
            self.disk = virtio.Block(0, ring=self.ring)
        finally:
            virtio.Block.REFUSED = 0
        assert ("indirect" in repr(self.disk.queues[0])) == self.indirect
        return self.disk

    def __exit__(self, *_):
        self.disk.deinit()


def own_reads_checked(disk, count, sectors, batch=DEPTH):
    """*count* reads of one sector, one by one and in batches by turns, every byte compared."""
    expected = bytearray(SECTOR)
    words = memoryview(expected)
    requests = [[0, bytearray(SECTOR)] for _ in range(batch)]
    done = 0
    while done < count:
        for n in range(batch):
            requests[n][0] = (done + n) * 37 % sectors
        if done // batch % 2:
            disk.readmany(requests)
        else:
            for block_num, buf in requests:
                disk.readblocks(block_num, buf)
        for block_num, buf in requests:
            fill(words, block_num)
            assert buf == expected, block_num
            buf[0:4] = b"\xff\xff\xff\xff"
        done += batch


class Read:
    """A read of one sector; of as many buffers as `pieces` says, its last one the status."""

    def __init__(self, pieces):
        self.header = bytearray(16)
        self.data = bytearray(SECTOR)
        self.status = bytearray(1)
        view = memoryview(self.data)
        step = SECTOR // pieces
        self.inputs = [self.header]
        self.outputs = [view[i : i + step] for i in range(0, SECTOR, step)] + [self.status]

    def prepare(self, sector):
        self.sector = sector
        struct.pack_into("<IIQ", self.header, 0, 0, 0, sector)
        self.status[0] = 0xFF


def read_checked(driven, count, sectors, batch=DEPTH):
    """*count* reads in batches, the answers taken as they come, every byte compared.

    Sector n of the disk is the number n, 128 times over. Returns the number of notifies.
    """
    queue = driven.queue
    reads = [Read(1 + n % 2) for n in range(batch)]
    expected = bytearray(SECTOR)
    words = memoryview(expected)
    done = 0
    driven.notifies = 0
    while done < count:
        in_flight = {}
        for read in reads[: count - done]:
            read.prepare((done + len(in_flight)) * 37 % sectors)
            in_flight[queue.add(read.inputs, read.outputs)] = read
        driven.notify()
        while in_flight:
            token = queue.peek_used()
            if token is None:
                continue
            length = queue.pop_used(token)
            read = in_flight.pop(token)
            done += 1
            assert length == SECTOR + 1 and read.status[0] == 0, (length, read.status)
            fill(words, read.sector)
            assert read.data == expected, read.sector
            read.data[0:4] = b"\xff\xff\xff\xff"
    return driven.notifies


@micropython.viper
def fill(words, number: int):
    p = ptr32(words)
    for i in range(128):
        p[i] = number
