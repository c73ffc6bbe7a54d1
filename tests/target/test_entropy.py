"""urandom and its pool, on QEMU's entropy device and on a fake one that counts."""

import fake
import virtio
from check import raises
from virtio import NoDevice, Timeout, entropy


def test_any_number_of_bytes_which_differ_each_time():
    for n in (0, 1, 4, 16, 128, 129, 256, 5000):
        data = virtio.urandom(n)
        assert isinstance(data, bytes) and len(data) == n
    draws = {virtio.urandom(8) for _ in range(200)}
    assert len(draws) == 200


def test_the_device_stays_as_it_was():
    before = virtio.opened()
    virtio.urandom(1000)
    assert virtio.opened() == before
    rng = virtio.Rng(0)
    virtio.urandom(1000)
    empty_pool()
    virtio.urandom(4)
    assert virtio.opened() == before + [rng]
    assert rng.queues[0].alive and len(rng.read(4)) == 4
    rng.deinit()


def test_bytes_are_wiped_as_they_are_given_out():
    virtio.urandom(4)
    for _ in range(100):
        before = bytes(entropy._pool)
        data = virtio.urandom(4)
        at = before.find(data)
        if at >= 0:  # otherwise the pool was filled anew
            assert entropy._pool[at : at + 4] == bytes(4)
        assert not any(entropy._pool[entropy._left :])


def test_few_bytes_at_a_time_are_one_request_for_many():
    device = Counter(256)
    empty_pool()
    draws = [virtio.urandom(4) for _ in range(64)]
    assert device.requests == 1
    # Each byte the device gave went out once.
    assert sorted(b"".join(draws)) == list(range(256))
    virtio.urandom(4)
    assert device.requests == 2
    device.rng.deinit()


def test_what_the_device_gives_in_parts_is_joined():
    device = Counter(3)
    empty_pool()
    assert sorted(virtio.urandom(10)) == list(range(2, 12))
    assert device.requests == 4  # 12 bytes, of which 2 are left
    assert virtio.urandom(2) == bytes((0, 1)) and device.requests == 4
    assert virtio.urandom(200) == bytes(range(12, 212))
    device.rng.deinit()


def test_a_late_answer_does_not_reach_the_pool():
    device = Counter(256)
    empty_pool()
    device.transport.device.on_notify = None
    device.rng.timeout_ms = 10
    raises(Timeout, virtio.urandom, 4)
    pool = bytes(entropy._pool)
    device.work(0)
    assert entropy._pool == pool and entropy._left == 0
    device.transport.device.on_notify = device.work
    assert len(virtio.urandom(4)) == 4
    device.rng.deinit()


def test_after_the_pool_is_used_up_a_missing_device_is_said():
    empty_pool()
    scan = virtio.device.scan
    virtio.device.scan = lambda: []
    try:
        raises(NoDevice, virtio.urandom, 4, errno=19)
    finally:
        virtio.device.scan = scan


def empty_pool():
    entropy._left = 0


class Counter:
    """An entropy device that gives `step` bytes at a time, counting up, and is open."""

    def __init__(self, step):
        self.transport = fake.FakeTransport()
        self.transport.device.on_notify = self.work
        self.step = step
        self.given = self.requests = 0
        self.rng = virtio.Rng(self.transport)
        self.queue = fake.FakeQueue(self.transport)

    def work(self, idx):
        head, chain = self.queue.pop()
        address, length, _ = chain[0]
        count = min(length, self.step)
        for i in range(count):
            fake.mem8[address + i] = self.given + i & 0xFF
        self.given += count
        self.requests += 1
        self.queue.use(head, count)
