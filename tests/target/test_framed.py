"""Requests with a frame: a header and a status in the queue's own memory, one buffer between."""

import struct

import fake
import virtio
from check import raises
from virtio import BatchError, DeviceFault, QueueFull, Timeout, features

SIZE = 8
FORMS = [(r, i, e) for r in ("legacy", "split", "packed") for i in (0, 1) for e in (0, 1)]


class Disk:
    """A disk of 1024 sectors in a test's hands, in one form of the ring; it answers when notified."""

    def __init__(self, form, in_order=False):
        ring, indirect, event_idx = form
        offered = features.RING_PACKED if ring == "packed" else 0
        offered |= features.INDIRECT_DESC if indirect else 0
        offered |= features.EVENT_IDX if event_idx else 0
        offered |= features.IN_ORDER if in_order else 0
        offered |= 0 if ring == "legacy" else fake.VERSION_1
        config = struct.pack("<QIIII", 1024, 0, 0, 0, 512)
        version = 1 if ring == "legacy" else 2
        self.transport = fake.FakeTransport(2, version, offered | 1 << 9, (SIZE,), config)
        self.transport.device.on_notify = self.work
        self.ring = ring
        self.statuses = {}
        self.silent = self.backwards = False
        self.requests = []
        self.disk = virtio.Block(self.transport)
        self.attach()

    def attach(self):
        kind = fake.FakePackedQueue if self.ring == "packed" else fake.FakeQueue
        self.queue = kind(self.transport)
        if self.ring == "packed":
            self.queue.notify_always()

    def work(self, _=0):
        taken = []
        while self.queue.waiting and not self.silent:
            taken.append(self.queue.pop())
        for token, buffers in reversed(taken) if self.backwards else taken:
            self.requests.append((token, buffers))
            self.answer(token, buffers)
        if self.ring != "packed":
            self.queue.notify_at(self.queue.avail_idx)

    def header(self):
        """Kind, zero and sector of the last request."""
        return struct.unpack("<IIQ", fake.readable(self.requests.pop()[1]))

    def answer(self, token, buffers):
        header = fake.readable(buffers)
        kind, zero, sector = struct.unpack("<IIQ", header[:16])
        assert zero == 0
        written = 0
        for address, length, writable in buffers:
            if writable:
                written += length
        for address, length, writable in buffers[1:-1]:
            if writable:
                fake.uctypes.bytearray_at(address, length)[:] = bytes([sector & 0xFF]) * length
        fake.mem8[buffers[-1][0]] = self.statuses.get(sector, 0)
        self.queue.use(token, written)


def in_every_form(test):
    def run():
        for form in FORMS:
            rig = Disk(form)
            try:
                test(rig)
            except Exception as error:
                print("form (ring, indirect, event_idx):", form)
                raise error
            finally:
                rig.disk.deinit()

    return run


@in_every_form
def test_header_data_and_status_are_a_chain_of_three(rig):
    for n in range(5 * SIZE):
        buf = bytearray(512)
        rig.disk.readblocks(n, buf)
        assert buf == bytes([n]) * 512
        token, buffers = rig.requests.pop()
        assert [w != 0 for _, _, w in buffers] == [False, True, True]
        assert [length for _, length, _ in buffers] == [16, 512, 1]
        assert buffers[1][0] == fake.uctypes.addressof(buf)
        rig.disk.writeblocks(n, buf)
        token, buffers = rig.requests.pop()
        assert [w != 0 for _, _, w in buffers] == [False, False, True]
        assert fake.readable(buffers) == struct.pack("<IIQ", 1, 0, n) + buf


@in_every_form
def test_without_data_a_chain_of_two(rig):
    for _ in range(3 * SIZE):
        rig.disk.flush()
        token, buffers = rig.requests.pop()
        assert [length for _, length, _ in buffers] == [16, 1]
        assert fake.readable(buffers) == struct.pack("<IIQ", 4, 0, 0)
        rig.disk.readblocks(1, bytearray(512))  # the next has three again
        assert len(rig.requests.pop()[1]) == 3


@in_every_form
def test_a_position_has_64_bits(rig):
    rig.disk.capacity = rig.disk.block_count = 1 << 45
    for sector in (1023, 1 << 30, (1 << 32) + 5, (1 << 44) - 1):
        rig.disk.readblocks(sector, bytearray(512))
        # Looked at before the next request has the same frame.
        assert rig.header() == (0, 0, sector)
        rig.disk.readmany([(sector, bytearray(512))])
        assert rig.header() == (0, 0, sector)


@in_every_form
def test_all_descriptors_come_back(rig):
    queue = rig.disk.queues[0]
    for count in (1, 2, 3, 7, 30):
        rig.disk.readmany([(n, bytearray(512)) for n in range(count)])
        assert queue.available_desc() == SIZE
        assert all(buf is None for buf in queue._held)


@in_every_form
def test_completions_in_another_order(rig):
    rig.backwards = True
    rig.statuses = {3: 1, 20: 1}
    bufs = [bytearray(512) for _ in range(30)]
    error = raises(BatchError, rig.disk.readmany, [(n, bufs[n]) for n in range(30)])
    assert [index for index, _ in error.failed] == [3, 20]
    for n in range(30):
        assert bufs[n] == bytes([n]) * 512
    assert rig.disk.queues[0].available_desc() == SIZE


@in_every_form
def test_an_abandoned_frame_is_the_devices_until_it_has_used_it(rig):
    queue = rig.disk.queues[0]
    rig.disk.timeout_ms = 0
    rig.silent = True
    late = []
    while queue.available_desc() > 2:
        buf = bytearray(512)
        raises(Timeout, rig.disk.readblocks, len(late), buf)
        late.append(buf)
    if queue.available_desc() == 0:
        raises(QueueFull, rig.disk.readmany, [(9, bytearray(512))])
    held = [buf for buf in queue._held if buf is not None]
    assert all(any(buf is other for other in held) for buf in late)
    rig.silent = False
    rig.work()
    assert len(rig.requests) == len(late)
    for n, buf in enumerate(late):
        # Each header is still its own: no later request took over its frame.
        header = fake.readable(rig.requests[n][1])
        assert struct.unpack("<IIQ", header)[2] == n and buf == bytes([n]) * 512
    rig.disk.timeout_ms = 1000
    buf = bytearray(512)
    rig.disk.readblocks(77, buf)  # takes them all back
    assert buf == bytes([77]) * 512
    queue.can_pop()
    assert queue.available_desc() == SIZE


@in_every_form
def test_chains_of_both_kinds_go_together(rig):
    queue = rig.disk.queues[0]
    for n in range(3 * SIZE):
        rig.silent = True
        header, data, status = struct.pack("<IIQ", 0, 0, n), bytearray(20), bytearray(1)
        token = queue.add([header], [data, status])
        rig.silent = False
        buf = bytearray(512)
        rig.disk.readblocks(n + 1, buf)
        assert buf == bytes([n + 1]) * 512
        assert queue.pop_used(token, [header], [data, status]) == 21
        assert data == bytes([n]) * 20 and queue.available_desc() == SIZE


@in_every_form
def test_a_length_beyond_the_buffer_and_the_status_is_a_fault(rig):
    honest = rig.queue.use
    rig.queue.use = lambda token, written: honest(token, written + 1)
    if rig.ring == "legacy":  # but for devices that never had to tell lengths (section 5.2.6.3)
        rig.disk.readblocks(0, bytearray(512))
        return
    raises(DeviceFault, rig.disk.readblocks, 0, bytearray(512))
    rig.queue.use = honest
    raises(DeviceFault, rig.disk.readblocks, 0, bytearray(512))
    rig.disk.reset()
    rig.attach()
    rig.disk.readblocks(0, bytearray(512))


@in_every_form
def test_a_status_that_the_device_did_not_write_is_a_fault(rig):
    def keep_silent(token, buffers):
        rig.queue.use(token, 512)

    rig.answer = keep_silent
    raises(DeviceFault, rig.disk.readblocks, 0, bytearray(512))


def test_a_device_that_answers_in_order_may_answer_a_batch_at_once():
    for form in FORMS:
        if form[0] == "legacy":
            continue
        rig = Disk(form, in_order=True)
        assert "in_order" in repr(rig.disk.queues[0])

        def work(_, rig=rig):
            taken = []
            while rig.queue.waiting:
                taken.append(rig.queue.pop())
            for _, buffers in taken:
                fake.mem8[buffers[-1][0]] = 0
            if taken:
                lengths = [n for _, n, w in taken[-1][1] if w]
                rig.queue.use_up_to([token for token, _ in taken], sum(lengths))
            if rig.ring != "packed":
                rig.queue.notify_at(rig.queue.avail_idx)

        rig.transport.device.on_notify = work
        rig.disk.readmany([(n, bytearray(512)) for n in range(30)])
        rig.disk.readblocks(3, bytearray(512))
        assert rig.disk.queues[0].available_desc() == SIZE
        rig.disk.deinit()
