"""urandom and its pool, on QEMU's entropy device and on a fake one that counts."""

import fake
import micropython
import virtio
from check import raises
from virtio import DeviceFault, NoDevice, Timeout, entropy


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


def test_few_bytes_at_a_time_are_one_request_for_256_of_them():
    device = Counter(256)
    empty_pool()
    for pools in range(1, 10):
        draws = [virtio.urandom(4) for _ in range(64)]
        assert device.requests == pools + 1  # the last one was made ahead
        # Each byte the device gave went out once.
        assert sorted(b"".join(draws)) == list(range(256))
    device.rng.deinit()


def test_a_pool_that_has_bytes_does_not_wait_for_the_next():
    device = Counter(256)
    device.answers = 1
    empty_pool()
    draws = [virtio.urandom(4)]
    assert device.queue.waiting
    device.rng.timeout_ms = 0
    draws += [virtio.urandom(4) for _ in range(63)]
    assert sorted(b"".join(draws)) == list(range(256))
    raises(Timeout, virtio.urandom, 4)
    device.rng.deinit()


def test_the_next_pool_is_filled_while_this_one_is_used():
    device = Counter(256)
    device.answers = 1
    empty_pool()
    draws = [virtio.urandom(4)]
    device.answer(1)
    draws += [virtio.urandom(4) for _ in range(63)]
    device.rng.timeout_ms = 0  # so from here on whoever waits fails
    draws += [virtio.urandom(4) for _ in range(64)]
    assert device.requests == 2
    assert sorted(b"".join(draws)) == sorted(2 * bytes(range(256)))
    raises(Timeout, virtio.urandom, 4)
    device.rng.deinit()


def test_what_the_device_gives_in_parts_is_joined():
    device = Counter(3)
    empty_pool()
    assert sorted(virtio.urandom(10)) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 11]
    assert device.requests == 5  # 12 bytes, and 3 ahead
    assert sorted(virtio.urandom(5)) == [9, 10, 12, 13, 14] and device.requests == 6
    assert virtio.urandom(200) == bytes(range(18, 218))
    device.rng.deinit()


def test_a_late_answer_does_not_reach_the_pool():
    device = Counter(256)
    device.answers = 0
    empty_pool()
    device.rng.timeout_ms = 10
    raises(Timeout, virtio.urandom, 4)
    pool = bytes(entropy._pool)
    device.answer(1)
    assert entropy._pool == pool and entropy._left == 0
    device.answer(1000)
    assert len(virtio.urandom(4)) == 4
    assert device.rng.queues[0].available_desc() == 7  # but for the one ahead
    device.rng.deinit()


def test_what_was_asked_ahead_ends_with_the_reset_of_the_device():
    device = Counter(256)
    for end in (device.reset, device.reopen):
        empty_pool()
        virtio.urandom(4)
        empty_pool()
        given = device.given  # the last 256 of them wait as the next pool
        end()
        assert virtio.urandom(4) == bytes([n & 0xFF for n in range(given + 252, given + 256)])
        assert device.rng.queues[0].available_desc() == 7
    device.rng.deinit()
    empty_pool()
    draws = {virtio.urandom(8) for _ in range(100)}  # from the board's own device
    assert len(draws) == 100


def test_a_device_that_fails_with_a_request_ahead_is_a_fault_until_its_reset():
    device = Counter(256)
    device.answers = 1
    empty_pool()
    virtio.urandom(4)
    device.queue.use(0, 99999)
    assert len(virtio.urandom(100)) == 100  # the pool has them
    empty_pool()
    raises(DeviceFault, virtio.urandom, 4)
    raises(DeviceFault, virtio.urandom, 4)
    device.reset()
    device.answer(1000)
    assert len(virtio.urandom(4)) == 4
    device.rng.deinit()


def test_a_device_that_gives_nothing_is_a_fault():
    device = Counter(0)
    empty_pool()
    raises(DeviceFault, virtio.urandom, 4)
    device.rng.deinit()


def test_requests_of_others_find_room_beside_the_one_made_ahead():
    for size in (1, 2, 8):
        device = Counter(256, size)
        empty_pool()
        virtio.urandom(4)
        assert device.rng.queues[0].available_desc() == max(1, size - 1)
        assert len(device.rng.read(16)) == 16
        virtio.urandom(4)
        device.rng.deinit()


def test_a_scheduled_function_that_asks_meanwhile_gets_other_bytes():
    device = Words(256)
    draws = []

    def interrupt(n):
        draws.append(virtio.urandom(n))

    def work(idx):
        micropython.schedule(interrupt, 8)  # which runs before the device has answered
        device.work(idx)

    device.transport.device.on_notify = work
    empty_pool()
    for n in range(1000):
        if n % 7 == 0:
            micropython.schedule(interrupt, 4)
        draws.append(virtio.urandom(4))
    given = b"".join(draws)
    words = {given[at : at + 4] for at in range(0, len(given), 4)}
    assert len(words) == len(given) // 4 > 1100
    assert device.rng.queues[0].available_desc() == 7
    device.rng.deinit()


def test_os_urandom_draws_from_the_pool():
    import os

    virtio.urandom(4)
    left = entropy._left
    assert len(os.urandom(8)) == 8 and entropy._left in (left - 8, 248)
    assert len({os.urandom(8) for _ in range(100)}) == 100


def test_less_than_nothing_is_a_ValueError():
    raises(ValueError, virtio.urandom, -1)
    assert len(virtio.urandom(4)) == 4


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

    def __init__(self, step, size=8):
        self.transport = fake.FakeTransport(queue_max=(size,))
        self.transport.device.on_notify = self.work
        self.step = step
        self.given = self.requests = 0
        self.answers = 1000  # that it will give yet
        self.reopen()

    def reopen(self):
        if self.given:
            self.rng.deinit()
        self.rng = virtio.Rng(self.transport)
        self.queue = fake.FakeQueue(self.transport)

    def reset(self):
        self.rng.reset()
        self.queue = fake.FakeQueue(self.transport)

    def answer(self, count):
        """Answer so many requests of those that have come and that will come."""
        self.answers = count
        self.work(0)

    def byte(self, n):
        return n & 0xFF

    def work(self, idx):
        while self.answers and self.queue.waiting:
            self.answers -= 1
            self.requests += 1
            head, chain = self.queue.pop()
            address, length, _ = chain[0]
            count = min(length, self.step)
            for i in range(count):
                fake.mem8[address + i] = self.byte(self.given + i)
            self.given += count
            self.queue.use(head, count)


class Words(Counter):
    """One that counts in words of four bytes."""

    def byte(self, n):
        return n // 4 >> n % 4 * 8 & 0xFF
