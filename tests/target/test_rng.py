"""The entropy device, QEMU's and a fake one that gives little."""

from array import array

import fake
import virtio
from check import allocates_nothing, raises
from virtio import DeviceFault, Timeout


class Entropy:
    def __enter__(self):
        self.rng = virtio.Rng(0)
        return self.rng

    def __exit__(self, *_):
        self.rng.deinit()


def test_a_buffer_of_any_length_is_filled():
    with Entropy() as rng:
        for length in (0, 1, 7, 64, 4096, 65536, 1 << 20):
            buf = bytearray(length)
            assert rng.readinto(buf) == length
            # A byte stays 0 once in 256; a tail that was not filled would be all zeros.
            assert length < 64 or any(buf[-32:])
            assert length < 4096 or abs(sum(buf[:4096]) / 4096 - 127.5) < 10


def test_read_gives_bytes_that_differ_each_time():
    with Entropy() as rng:
        assert rng.read(0) == b""
        first, second = rng.read(32), rng.read(32)
        assert isinstance(first, bytes) and len(first) == len(second) == 32
        assert first != second


def test_what_cannot_be_filled_is_a_TypeError():
    with Entropy() as rng:
        raises(TypeError, rng.readinto, b"read-only")
        raises(TypeError, rng.readinto, 32)
        assert len(rng.read(4)) == 4


def test_a_request_allocates_nothing():
    with Entropy() as rng:
        buf = bytearray(64)

        def cycle():
            rng.readinto(buf)

        allocates_nothing(cycle)


class Stingy:
    """An entropy device that gives `step` bytes at a time, counting up."""

    def __init__(self, step, version=2):
        self.transport = fake.FakeTransport(version=version)
        self.transport.device.on_notify = self.work
        self.step = step
        self.given = 0
        self.rng = virtio.Rng(self.transport)
        self.queue = fake.FakeQueue(self.transport)

    def work(self, idx):
        head, chain = self.queue.pop()
        address, length, _ = chain[0]
        count = min(length, self.step)
        for i in range(count):
            fake.mem8[address + i] = self.given + i
        self.given += count
        self.queue.use(head, count)


def on_both_versions(check):
    for version in (1, 2):
        for step in (1, 3, 10, 100):
            device = Stingy(step, version)
            check(device.rng)
            device.rng.deinit()


def test_a_device_that_gives_little_is_asked_again():
    def check(rng):
        buf = bytearray(25)
        assert rng.readinto(buf) == 25
        assert buf == bytes(range(25))
        assert rng.read(10) == bytes(range(25, 35))

    on_both_versions(check)


def test_buffers_of_wider_items_are_filled_byte_for_byte():
    def check(rng):
        words = array("I", [0, 0, 0])
        assert rng.readinto(words) == 12
        assert bytes(words) == bytes(range(12))

    on_both_versions(check)


def test_an_awaited_buffer_is_filled_the_same_way():
    import asyncio

    def check(rng):
        buf, words = bytearray(25), array("I", [0, 0, 0])
        assert asyncio.run(rng.areadinto(buf)) == 25
        assert asyncio.run(rng.areadinto(words)) == 12
        assert buf + bytes(words) == bytes(range(37))

    on_both_versions(check)
    asyncio.new_event_loop()


def test_a_device_that_gives_nothing_is_a_fault():
    # Section 5.4.6.2: one byte at least.
    device = Stingy(0)
    raises(DeviceFault, device.rng.readinto, bytearray(4))
    device.step = 4
    device.rng.reset()
    device.queue = fake.FakeQueue(device.transport)
    device.rng.readinto(bytearray(4))
    device.rng.deinit()


def test_a_device_that_does_not_answer_is_a_Timeout():
    device = Stingy(4)
    device.transport.device.on_notify = None
    device.rng.timeout_ms = 10
    raises(Timeout, device.rng.read, 4, errno=110)
    device.rng.deinit()


def test_what_lies_between_the_parts_of_a_ring_is_not_taken():
    """Those of a legacy ring lie a page apart."""
    from virtio.platform import dma

    before = dma.available()
    rng = virtio.Rng(0)
    assert before - dma.available() < 4096
    rng.deinit()
    assert dma.available() == before
