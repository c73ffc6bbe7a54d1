"""The virtqueue (virtio 1.2, sections 2.7 and 2.8) against a fake device.

A test of `every_form` runs in each of FORMS: the split ring of both interfaces and the packed
one, direct and indirect descriptors, with and without event indices.
"""

import gc
from array import array

import fake
import pytest
import uctypes
from check import allocates_nothing, raises
from virtio import (
    AlreadyUsed,
    DeviceFault,
    DmaError,
    InvalidParam,
    NotReady,
    PackedVirtQueue,
    QueueFull,
    Timeout,
    Unsupported,
    VirtQueue,
    WrongToken,
)
from virtio.device.waiting import Waiting
from virtio.platform import dma
from virtio.ring.packed import PackedRing
from virtio.ring.split import SplitRing
from virtio.transport import mmio

pytestmark = pytest.mark.board(interface=("modern",))

AVAIL_IDX, USED_IDX = 6, 7  # words of the queue's private array

RINGS = ("legacy", "split", "packed")
FORMS = [(r, i, e) for r in RINGS for i in (False, True) for e in (False, True)]


class Rig:
    """A queue, and the device's half of it."""

    def __init__(self, form=("split", False, False), size=8, lengths=True):
        self.ring, self.indirect, event_idx = form
        version = 1 if self.ring == "legacy" else 2
        self.transport = fake.FakeTransport(version=version, queue_max=(size,))
        self.transport.reset()
        self.packed = self.ring == "packed"
        kind = PackedVirtQueue if self.packed else VirtQueue
        self.queue = kind(self.transport, 0, size, self.indirect, event_idx, lengths=lengths)
        self.device = self.device_half()

    def device_half(self):
        return (fake.FakePackedQueue if self.packed else fake.FakeQueue)(self.transport)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.queue.deinit()

    def use_next(self, length=0):
        head, _ = self.device.pop()
        self.device.use(head, length)
        return head


def every_form(test):
    """Turn a test of one rig into a test of all forms, which says which one failed."""

    def all_forms():
        for form in FORMS:
            try:
                with Rig(form) as rig:
                    test(rig)
            except Exception as error:
                print("form (ring, indirect, event_idx):", form)
                raise error

    return all_forms


def every_split_form(test):
    """For what the packed ring has no like of."""
    return every_form(lambda rig: None if rig.packed else test(rig))


# Set-up


def test_a_ring_works_alone_and_waiting_is_given_to_it_above():
    for kind, half in ((SplitRing, fake.FakeQueue), (PackedRing, fake.FakePackedQueue)):
        transport = fake.FakeTransport()
        queue, device = kind(transport, 0, 8), half(transport)
        assert not isinstance(queue, Waiting) and not hasattr(queue, "add_notify_wait_pop")
        token = queue.add([b"x"], [bytearray(4)])
        assert queue.should_notify() and device.pop()[0] == token
        device.use(token, 4)
        assert queue.can_pop() and queue.pop_used(token) == 4
        queue.deinit()


def test_a_size_that_is_no_power_of_two_or_too_large_is_refused():
    transport = fake.FakeTransport(queue_max=(8,))
    for size in (0, -8, 3, 6, 16, 65536, "8", None):
        raises(InvalidParam, VirtQueue, transport, 0, size)


def test_a_number_that_no_queue_has_is_refused():
    transport = fake.FakeTransport(queue_max=(8,))
    for idx in (5000, -1, 1 << 32, 1 << 40, 1024, 0.0, "0", None):
        raises(InvalidParam, VirtQueue, transport, idx, 8)
        raises(InvalidParam, transport.max_queue_size, idx)
    assert not transport.failed and not transport.queue_used(0)


def test_sizes_from_1_to_the_maximum_work():
    for size in (1, 2, 64, 1024):
        transport = fake.FakeTransport(queue_max=(1024,))
        queue = VirtQueue(transport, 0, size)
        assert queue.available_desc() == size
        queue.deinit()


def test_a_queue_maximum_of_0_is_a_fault():
    for kind in (VirtQueue, PackedVirtQueue):
        for idx in (1, 2):  # the one that says so, and the one that is not there
            transport = fake.FakeTransport(queue_max=(8, 0))
            raises(DeviceFault, kind, transport, idx, 8, errno=71)
            assert transport.failed and transport.status & mmio.FAILED


def test_a_queue_maximum_that_is_no_power_of_two_is_a_fault_of_a_split_ring():
    transport = fake.FakeTransport(queue_max=(12,))
    raises(DeviceFault, VirtQueue, transport, 0, 8, errno=71)
    assert transport.failed
    transport.reset()
    PackedVirtQueue(transport, 0, 8).deinit()


def test_a_queue_has_one_owner():
    for version, kind in ((1, VirtQueue), (2, VirtQueue), (2, PackedVirtQueue)):
        transport = fake.FakeTransport(version=version)
        queue = kind(transport, 0, 8)
        raises(AlreadyUsed, kind, transport, 0, 8, errno=16)
        queue.deinit()
        kind(transport, 0, 8).deinit()


def test_a_legacy_transport_has_no_packed_ring():
    before = dma.available()
    raises(Unsupported, PackedVirtQueue, fake.FakeTransport(version=1), 0, 8)
    assert dma.available() == before


def test_the_rings_are_aligned_as_section_2_7_asks():
    for ring in ("legacy", "split"):
        with Rig((ring, False, False)) as rig:
            assert rig.device.desc % (4096 if ring == "legacy" else 16) == 0
            assert rig.device.avail % 2 == 0
            assert rig.device.used % (4096 if ring == "legacy" else 4) == 0
            # And the driver has them where the device finds them.
            parts = rig.device.desc, rig.device.avail, rig.device.used
            assert tuple(rig.queue._state[:3]) == parts


def test_rings_that_do_not_fit_lose_nothing():
    before = dma.available()
    hoard = []
    try:
        while True:
            hoard.append(dma.alloc(8192))
    except DmaError:
        pass
    # With 16 KiB free the rings of this one fit, its indirect tables do not.
    dma.free(hoard.pop())
    dma.free(hoard.pop())
    left = dma.available()
    transport = fake.FakeTransport(queue_max=(256,))
    raises(DmaError, VirtQueue, transport, 0, 256, True)
    assert dma.available() == left
    for piece in hoard:
        dma.free(piece)
    assert dma.available() == before


# Adding


@every_form
def test_add_describes_the_chain(rig):
    a, b, c, d = b"ab", bytearray(3), bytearray(4), memoryview(bytearray(9))[2:7]
    token = rig.queue.add([a, b], (c, d))
    head, buffers = rig.device.pop()
    assert head == token
    address = uctypes.addressof
    assert buffers == [
        (address(a), 2, 0),
        (address(b), 3, 0),
        (address(c), 4, fake.WRITE),
        (address(d), 5, fake.WRITE),
    ]
    assert rig.device.is_indirect(token) == rig.indirect
    assert rig.queue.available_desc() == (7 if rig.indirect else 4)
    rig.device.use(head, 0)
    rig.queue.pop_used(token)


@every_form
def test_add_refuses_what_is_no_buffer_and_changes_nothing(rig):
    good = bytearray(4)
    for inputs, outputs, kind in (
        ((), (), InvalidParam),
        ([], [bytearray(0)], InvalidParam),
        ([b""], [good], InvalidParam),
        ([7], [], TypeError),
        ([None], [good], TypeError),
        ([[1, 2]], [], TypeError),
        ([good], [b"read-only"], TypeError),
        ([good], ["read-only"], TypeError),
        ([good], [memoryview(b"read-only")], TypeError),
        (None, [good], TypeError),
        (good, 5, TypeError),
    ):
        raises(kind, rig.queue.add, inputs, outputs)
        assert not rig.device.waiting
        assert rig.queue.available_desc() == 8
    # And the queue is as good as new.
    token = rig.queue.add([good], [good])
    assert rig.device.pop() == (
        token,
        [(uctypes.addressof(good), 4, 0), (uctypes.addressof(good), 4, fake.WRITE)],
    )
    rig.device.use(token, 0)
    rig.queue.pop_used(token)


@every_form
def test_a_full_queue_refuses_and_changes_nothing(rig):
    buffers = [bytearray(1) for _ in range(8)]
    tokens = [rig.queue.add([b], []) for b in buffers]
    assert sorted(tokens) == list(range(8))
    assert rig.queue.available_desc() == 0
    raises(QueueFull, rig.queue.add, [b"x"], [], errno=28)
    raises(QueueFull, rig.queue.add, [b"x"], [bytearray(1)])
    rig.use_next()
    rig.queue.pop_used(tokens[0])
    assert rig.queue.add([b"x"], []) == tokens[0]
    for token in tokens[1:] + tokens[:1]:
        assert rig.use_next() == token
        rig.queue.pop_used(token)
    assert rig.queue.available_desc() == 8
    assert not rig.device.waiting


@every_form
def test_a_chain_is_never_longer_than_the_queue(rig):
    # Section 2.7.5.3.1, of direct chains and of indirect ones alike.
    raises(QueueFull, rig.queue.add, [b"x"] * 9, [])
    token = rig.queue.add([b"x"] * 8, [])
    assert len(rig.device.pop()[1]) == 8
    rig.device.use(token, 0)
    rig.queue.pop_used(token)


def test_a_chain_too_long_for_an_indirect_table_goes_without():
    with Rig(("split", True, False), 32) as rig:
        token = rig.queue.add([b"x"] * 20, [bytearray(1)])
        assert rig.queue.available_desc() == 11
        assert len(rig.device.pop()[1]) == 21
        rig.device.use(token, 1)
        assert rig.queue.pop_used(token) == 1
        assert rig.queue.available_desc() == 32


def test_lengths_are_counted_in_bytes():
    with Rig() as rig:
        words = array("I", [1, 2, 3])
        token = rig.queue.add([words], [memoryview(array("H", [1, 2, 3]))[1:]])
        assert [n for _, n, _ in rig.device.pop()[1]] == [12, 4]
        rig.device.use(token, 4)
        rig.queue.pop_used(token)


# Popping


@every_form
def test_pop_gives_the_length_and_the_descriptors_back(rig):
    data = bytearray(4)
    token = rig.queue.add([b"in"], [data])
    assert not rig.queue.can_pop() and rig.queue.peek_used() is None
    assert fake.answer(rig.device, b"out") == token
    assert rig.queue.can_pop() and rig.queue.peek_used() == token
    assert rig.queue.pop_used(token) == 3
    assert data == b"out\0"
    assert rig.queue.available_desc() == 8
    assert not rig.queue.can_pop()


@every_form
def test_pop_of_nothing_is_NotReady(rig):
    raises(NotReady, rig.queue.pop_used, 0, errno=11)
    token = rig.queue.add([b"x"], [])
    raises(NotReady, rig.queue.pop_used, token)
    rig.use_next()
    rig.queue.pop_used(token)
    raises(NotReady, rig.queue.pop_used, token)


@every_form
def test_pop_of_another_chain_is_WrongToken_and_pops_nothing(rig):
    first, second = rig.queue.add([b"1"], []), rig.queue.add([b"2"], [])
    rig.device.pop(), rig.device.pop()
    rig.device.use(second, 0)
    for wrong in (first, 7, 8, -1, 1 << 20):
        raises(WrongToken, rig.queue.pop_used, wrong, errno=22)
    assert rig.queue.peek_used() == second
    rig.queue.pop_used(second)
    rig.device.use(first, 0)
    rig.queue.pop_used(first)


@every_form
def test_pop_checks_the_buffers_it_is_given(rig):
    a, b, c = b"a", bytearray(2), bytearray(3)
    token = rig.queue.add([a], [b, c])
    rig.use_next(5)
    for inputs, outputs in (
        ([a], [b]),
        ([a], [c, b]),
        ([], [b, c]),
        ([a], [b, c, c]),
        ([a, b], None),
    ):
        raises(InvalidParam, rig.queue.pop_used, token, inputs, outputs)
    assert rig.queue.pop_used(token, [a], [b, c]) == 5


@every_form
def test_chains_complete_in_any_order(rig):
    tokens = [rig.queue.add([b"x"], [bytearray(9)]) for _ in range(4)]
    if rig.indirect:
        assert rig.queue.available_desc() == 4
    assert [rig.device.pop()[0] for _ in range(4)] == tokens
    for i in (2, 0, 3, 1):
        rig.device.use(tokens[i], i)
    for i in (2, 0, 3, 1):
        assert rig.queue.peek_used() == tokens[i]
        assert rig.queue.pop_used(tokens[i]) == i
    assert rig.queue.available_desc() == 8


@every_form
def test_indices_wrap_at_65536(rig):
    data = bytearray(4)
    inputs, outputs = [b"x"], [data]
    queue = rig.queue
    idx = 65536 - 6
    wind(rig, idx)
    for _ in range(12):
        tokens = [queue.add(inputs, outputs) for _ in range(2)]
        for token in tokens:
            assert rig.use_next(4) == token
        for token in tokens:
            assert queue.pop_used(token) == 4
        idx += 2 if rig.indirect or not rig.packed else 4
        assert "avail=%d, used=%d" % (idx & 0xFFFF, idx & 0xFFFF) in repr(queue)
    assert queue.available_desc() == 8


def wind(rig, idx):
    """Bring an idle queue to where it has had so many chains."""
    state = rig.queue._state
    state[AVAIL_IDX] = state[USED_IDX] = idx
    if rig.packed:
        rig.device.next_avail = rig.device.next_used = idx & 2 * rig.device.size - 1
    else:
        rig.device.seen = rig.device.used_idx = idx
        fake.mem16[rig.device.avail + 2] = idx


WRONG = (-1, 8, 1 << 16, 1 << 29, 1 << 30, 1 << 32, -1 << 32, (1 << 32) + 1, (1 << 40) + 2)


@every_form
def test_a_token_that_was_not_submitted_is_WrongToken_and_changes_nothing(rig):
    queue = rig.queue
    bufs = [bytearray(4) for _ in range(4)]
    added = queue.add([], [bufs[0]])
    given_up, taken, waiting = [queue.submit([], [buf]) for buf in bufs[1:]]
    queue.abandon(given_up)
    for token in (added, given_up, taken):
        assert rig.use_next(4) == token
    assert queue.finished(taken) and queue.take(taken) == 4
    for token in WRONG + (added, given_up, taken, None, "1", 1.0, True):
        for method in (queue.take, queue.abandon, queue.finished):
            raises(WrongToken, method, token, errno=22)
    raises(NotReady, queue.take, waiting)
    assert queue.available_desc() == 6
    assert rig.use_next(3) == waiting
    assert queue.finished(waiting) and queue.take(waiting) == 3
    assert queue.pop_used(added) == 4
    assert sorted([queue.add([b"x"], []) for _ in range(8)]) == list(range(8))


@every_form
def test_pop_takes_no_number_for_the_token_that_it_is_like(rig):
    tokens = [rig.queue.add([b"x"], []) for _ in range(3)]
    for token in tokens:
        rig.use_next()
    for token in tokens:
        for wrong in WRONG + (token + (1 << 30), token + (1 << 32), token - (1 << 32)):
            raises(WrongToken, rig.queue.pop_used, wrong)
        raises(TypeError, rig.queue.pop_used, None)
        rig.queue.pop_used(token)
    assert rig.queue.available_desc() == 8


@every_form
def test_pop_with_the_buffers_allocates_nothing(rig):
    inputs, outputs = [b"header"], (bytearray(512), memoryview(bytearray(8))[1:2])
    queue = rig.queue
    rig.place = 0

    def cycle():
        token = queue.add(inputs, outputs)
        answer_at_once(rig, token)
        return queue.pop_used(token, inputs, outputs)

    assert allocates_nothing(cycle) == 0


# Lengths that carry nothing


def test_lengths_are_not_checked_where_they_carry_nothing():
    for form in FORMS:
        with Rig(form, lengths=False) as rig:
            data = bytearray(4)
            # What was read, in a chain with nothing to write; nonsense; what is right.
            for bufs, length, most in (
                (([b"event"], ()), 5, 0),
                (([b"x"], [data]), 0x7FFFFFFF, 4),
                (([b"x"], [data]), -1, 4),
                (([b"x"], [data, data]), 3, 8),
            ):
                token = rig.queue.add(*bufs)
                rig.use_next(length)
                assert 0 <= rig.queue.pop_used(token, *bufs) <= most, form
                rig.transport.device.on_notify = lambda idx: rig.use_next(length)
                assert 0 <= rig.queue.add_notify_wait_pop(*bufs) <= most, form
                rig.transport.device.on_notify = None
            token = rig.queue.submit([b"x"], [])
            rig.use_next(1)
            assert rig.queue.finished(token) and rig.queue.take(token) == 0
            # Nothing else is believed.
            rig.queue.add([b"x"], [])
            rig.device.pop()
            rig.device.use(7, 0)
            raises(DeviceFault, rig.queue.can_pop)


# Buffers in flight


@every_form
def test_buffers_in_flight_stay_referenced(rig):
    # The lists are the caller's to reuse; what was in them is not.
    lists = [None], [None, None]
    addresses = []
    for i in range(2):
        lists[0][0] = bytearray(b"in%d" % i * 100)
        lists[1][0] = bytearray(500)
        lists[1][1] = bytearray(600)
        rig.queue.add(lists[0], lists[1])
        addresses.append(uctypes.addressof(lists[0][0]))
        lists[0][0] = lists[1][0] = lists[1][1] = None
    for _ in range(4):
        gc.collect()
        litter = [bytearray(n) for n in (300, 500, 600) * 20]
        for piece in litter:
            piece[:] = b"\x55" * len(piece)
    for i in range(2):
        head, buffers = rig.device.pop()
        assert fake.readable(buffers) == b"in%d" % i * 100
        rig.device.use(head, 0)
        rig.queue.pop_used(head)
    held = rig.queue._held
    assert all(buf is None for buf in held)


def test_a_dropped_queue_keeps_its_buffers_while_the_device_has_them():
    transport = fake.FakeTransport()
    transport.reset()

    def forget():
        data = bytearray(b"still here" * 50)
        VirtQueue(transport, 0, 8).add([data], [])

    forget()
    gc.collect()
    litter = [bytearray(b"\x55" * 500) for _ in range(200)]
    device = fake.FakeQueue(transport)
    assert fake.readable(device.pop()[1]) == b"still here" * 50
    assert litter
    from virtio.ring import base

    base._live[-1].deinit()


@every_form
def test_the_steady_state_allocates_nothing(rig):
    inputs, outputs = [b"header"], [bytearray(512), memoryview(bytearray(8))[1:2]]
    queue = rig.queue
    rig.place = 0

    def cycle():  # of more than five variables a closure would make an object itself
        token = queue.add(inputs, outputs)
        queue.should_notify()
        answer_at_once(rig, token)
        queue.can_pop()
        queue.peek_used()
        queue.set_dev_notify(True)
        queue.set_dev_notify(False)
        queue.available_desc()
        return queue.pop_used(token)

    assert allocates_nothing(cycle) == 0


def answer_at_once(rig, token):
    if rig.packed:
        answer_packed(rig.device.desc, rig.place, token)
        rig.place = rig.place + (1 if rig.indirect else 3) & 15
    else:
        answer_raw(rig.device.used, token)


@micropython.viper
def answer_raw(used: int, token: int):
    """The device's part of a cycle, for a locked heap."""
    ring = ptr16(used)
    idx = ring[1]
    entry = ptr32(used + 4 + 8 * (idx & 7))
    entry[0] = token
    entry[1] = 0
    ring[1] = idx + 1


@micropython.viper
def answer_packed(ring: int, place: int, token: int):
    entry = ptr16(ring + 16 * (place & 7))
    entry[4] = 0
    entry[5] = 0
    entry[6] = token
    entry[7] = 0 if place & 8 else 0x8080


# Notifications


def test_without_event_indices_the_device_wants_all_or_none():
    for ring in RINGS:
        without_event_indices(Rig((ring, False, False)))


def without_event_indices(rig):
    with rig:
        rig.queue.add([b"x"], [])
        assert rig.queue.should_notify()
        rig.device.notify_never()
        assert not rig.queue.should_notify()
        rig.device.notify_always()
        assert rig.queue.should_notify()


def test_with_event_indices_the_whole_range_added_counts():
    for start in (0, 65534, 65535, 65531):
        for added in (1, 2, 3, 5):
            for event in range(-2, 8):
                with Rig(("split", False, True)) as rig:
                    wind(rig, start)
                    rig.queue.should_notify()
                    rig.device.notify_at(start + event)
                    for _ in range(added):
                        rig.queue.add([b"x"], [])
                    # Section 2.7.10: notify when avail.idx went past the event.
                    expected = 0 <= event < added
                    assert rig.queue.should_notify() == expected, (start, added, event)
                    assert rig.queue.should_notify() == expected, "asked again"


def test_a_decision_begins_a_new_range():
    with Rig(("split", False, True)) as rig:
        rig.device.notify_at(0)
        rig.queue.add([b"x"], [])
        assert rig.queue.should_notify()
        rig.queue.add([b"x"], [])
        # The device has not moved its event; it was passed, and told, before.
        assert not rig.queue.should_notify()
        rig.device.notify_at(2)
        rig.queue.add([b"x"], [])
        assert rig.queue.should_notify()


@pytest.mark.timeout(120)
def test_a_range_of_more_than_the_index_can_tell_is_notified():
    with Rig(("split", False, True)) as rig:
        rig.device.notify_at(3)
        inputs = [b"x"]
        for _ in range(65536 + 2):
            rig.queue.pop_used(answer_add(rig, inputs))
        assert rig.queue.should_notify()


def answer_add(rig, inputs):
    token = rig.queue.add(inputs, ())
    answer_raw(rig.device.used, token)
    return token


def test_with_event_indices_the_packed_ring_counts_places():
    for start in (0, 5, 8, 13, 65534, 65535):
        for added in (1, 2, 3, 5):
            for event in range(-2, 8):
                with Rig(("packed", False, True)) as rig:
                    wind(rig, start)
                    rig.queue.should_notify()
                    rig.device.notify_at(start + event & 15)
                    for _ in range(added):
                        rig.queue.add([b"x"], [])
                    # Section 2.8.10: notify when the descriptor at that place was made available.
                    expected = 0 <= event < added
                    assert rig.queue.should_notify() == expected, (start, added, event)
                    assert rig.queue.should_notify() == expected, "asked again"


def test_set_dev_notify_tells_the_packed_event_structure():
    with Rig(("packed", False, False)) as rig:
        assert rig.device.wish == (0, 0, 0)
        rig.queue.set_dev_notify(False)
        assert rig.device.wish[0] == 1
        rig.queue.set_dev_notify(True)
        assert rig.device.wish[0] == 0
    with Rig(("packed", False, True)) as rig:
        for round in range(20):
            rig.queue.set_dev_notify(True)
            # Wanted: at the next descriptor that the device will write.
            wrap = 1 if round // 8 % 2 == 0 else 0
            assert rig.device.wish == (2, wrap, round % 8)
            rig.queue.set_dev_notify(False)
            assert rig.device.wish[0] == 1
            token = rig.queue.add([b"x"], [])
            rig.use_next()
            rig.queue.pop_used(token)
            assert rig.device.wish[0] == 1


def test_set_dev_notify_is_told_by_flag_or_by_used_event():
    with Rig() as rig:
        assert rig.device.avail_flags == 0
        rig.queue.set_dev_notify(False)
        assert rig.device.avail_flags == 1
        rig.queue.set_dev_notify(True)
        assert rig.device.avail_flags == 0
    with Rig(("split", False, True)) as rig:
        for _ in range(3):
            # Wanted: with the next used index. Section 2.7.7.1: the flag then stays 0.
            rig.queue.set_dev_notify(True)
            assert rig.device.used_event == rig.device.used_idx
            rig.queue.set_dev_notify(False)
            assert rig.device.used_event == (rig.device.used_idx - 1) & 0xFFFF
            assert rig.device.avail_flags == 0
            token = rig.queue.add([b"x"], [])
            rig.use_next()
            rig.queue.pop_used(token)
            assert rig.device.used_event == (rig.device.used_idx - 1) & 0xFFFF
            rig.queue.set_dev_notify(True)
            token = rig.queue.add([b"x"], [])
            rig.use_next()
            rig.queue.pop_used(token)
            assert rig.device.used_event == rig.device.used_idx


@every_form
def test_a_notification_that_was_not_written_is_made_good_by_the_next(rig):
    def raise_once(*_):
        rig.transport.device.on_notify = None
        raise RuntimeError

    rig.queue.should_notify()
    idx = 0 if not rig.packed else rig.device.next_avail
    rig.device.notify_at(idx)
    for tell in (
        lambda: rig.queue.add([b"x"], []) + rig.queue.kick(),
        lambda: rig.queue.add_notify_wait_pop([b"x"], [], timeout_ms=0),
    ):
        rig.transport.device.on_notify = raise_once
        raises(RuntimeError, tell)
        del rig.transport.device.notified[:]
        raises(Timeout, rig.queue.add_notify_wait_pop, [b"x"], [], timeout_ms=0)
        # The device is told, though it asked for this long before the last chain.
        assert rig.transport.device.notified == [0]
        break


# Waiting


@every_form
def test_add_notify_wait_pop_does_all_four(rig):
    data = bytearray(5)
    rig.transport.device.on_notify = lambda idx: fake.answer(rig.device, b"hello")
    assert rig.queue.add_notify_wait_pop([b"x"], [data]) == 5
    assert data == b"hello"
    assert rig.transport.device.notified == [0]
    assert rig.queue.available_desc() == 8


@every_form
def test_a_notification_that_the_device_does_not_want_is_not_sent(rig):
    rig.device.notify_never()
    raises(Timeout, rig.queue.add_notify_wait_pop, [b"x"], [], timeout_ms=5)
    assert rig.transport.device.notified == []


@every_form
def test_after_a_timeout_the_buffers_stay_and_a_late_answer_is_taken_back(rig):
    data = bytearray(100)
    raises(Timeout, rig.queue.add_notify_wait_pop, [b"late"], [data], timeout_ms=10, errno=110)
    free = 7 if rig.indirect else 6
    assert rig.queue.available_desc() == free
    assert any(buf is data for buf in rig.queue._held)
    fake.answer(rig.device, b"now")
    assert not rig.queue.can_pop() and rig.queue.peek_used() is None
    assert rig.queue.available_desc() == 8
    assert not any(buf is data for buf in rig.queue._held)


@every_form
def test_an_exception_while_waiting_leaves_the_buffers_with_the_device(rig):
    def interrupt(idx):
        raise KeyboardInterrupt

    rig.transport.device.on_notify = interrupt
    raises(KeyboardInterrupt, rig.queue.add_notify_wait_pop, [b"x"], [bytearray(3)])
    assert rig.queue.available_desc() < 8
    fake.answer(rig.device, b"abc")
    assert rig.queue.peek_used() is None
    assert rig.queue.available_desc() == 8


@every_form
def test_waiting_for_one_chain_loses_no_other(rig):
    first = rig.queue.add([b"1"], [bytearray(1)])
    second = rig.queue.add([b"2"], [bytearray(2)])

    def answer_all(idx):
        third = [rig.device.pop()[0] for _ in range(3)][2]
        for token, length in ((second, 2), (third, 7), (first, 1)):
            rig.device.use(token, length)

    rig.transport.device.on_notify = answer_all
    assert rig.queue.add_notify_wait_pop([], [bytearray(9)]) == 7
    assert rig.queue.pop_used(second) == 2
    assert rig.queue.pop_used(first) == 1
    assert rig.queue.available_desc() == 8


# Devices that lie


def faults(rig, misdeed):
    """After the misdeed the queue raises DeviceFault, then refuses, and the device is failed."""
    tokens = [rig.queue.add([b"x"], [bytearray(8)]) for _ in range(2)]
    rig.device.pop(), rig.device.pop()
    misdeed(rig.device, tokens)
    raises(DeviceFault, rig.queue.can_pop, errno=71)
    assert rig.transport.failed and rig.transport.status & mmio.FAILED
    assert not rig.queue.alive
    for refused in (
        lambda: rig.queue.add([b"x"], []),
        rig.queue.can_pop,
        rig.queue.peek_used,
        lambda: rig.queue.pop_used(tokens[0]),
        lambda: rig.queue.add_notify_wait_pop([b"x"], []),
    ):
        raises(DeviceFault, refused)
    assert list(rig.queue._held).count(None) < len(rig.queue._held), (
        "buffers let go before the reset"
    )
    rig.queue.deinit()
    assert rig.transport.status == 0 and not rig.transport.failed
    again = type(rig.queue)(rig.transport, 0, 8)
    token = again.add([b"x"], [])
    fake.answer(rig.device_half())
    again.pop_used(token)
    again.deinit()


@every_form
def test_a_used_id_out_of_range_is_a_fault(rig):
    faults(rig, lambda d, t: d.use(8, 0))


@every_form
def test_a_used_id_far_out_of_range_is_a_fault(rig):
    faults(rig, lambda d, t: d.use(-1, 0))


@every_form
def test_a_used_id_not_in_flight_is_a_fault(rig):
    faults(rig, lambda d, t: d.use(next(i for i in range(8) if i not in t), 0))


@every_form
def test_a_used_id_twice_is_a_fault(rig):
    faults(rig, lambda d, t: (d.use(t[0], 0), d.use(t[0], 0)))


@every_form
def test_a_used_length_beyond_the_writable_buffers_is_a_fault(rig):
    faults(rig, lambda d, t: d.use(t[0], 9))


@every_form
def test_a_used_length_with_the_top_bit_is_a_fault(rig):
    faults(rig, lambda d, t: d.use(t[0], -1))


def jump(device, tokens):
    device.use(tokens[0], 0)
    device.used_idx = 3


def back(device, tokens):
    device.used_idx = -1


@every_split_form
def test_a_used_index_ahead_of_what_is_in_flight_is_a_fault(rig):
    faults(rig, jump)


@every_split_form
def test_a_used_index_that_runs_backwards_is_a_fault(rig):
    faults(rig, back)


@every_form
def test_descriptors_that_the_device_rewrites_change_nothing(rig):
    a, b = bytearray(b"a"), bytearray(4)
    token = rig.queue.add([a], [b, b])
    other = rig.queue.add([a], [])
    free = rig.queue.available_desc()
    rig.device.pop(), rig.device.pop()
    rig.device.scribble()
    rig.device.use(token, 8)
    rig.device.use(other, 0)
    assert rig.queue.available_desc() == free
    assert rig.queue.pop_used(token, [a], [b, b]) == 8
    rig.queue.pop_used(other)
    assert rig.queue.available_desc() == 8
    assert sorted(rig.queue.add([b"x"], []) for _ in range(8)) == list(range(8))


@every_form
def test_a_device_that_asks_for_a_reset_while_waited_for_is_a_fault(rig):
    def give_up(idx):
        rig.transport.device.status |= mmio.NEEDS_RESET

    rig.transport.device.on_notify = give_up
    raises(DeviceFault, rig.queue.add_notify_wait_pop, [b"x"], [])
    assert rig.transport.failed


@every_form
def test_a_slot_that_disappears_while_waited_for_is_a_fault(rig):
    def vanish(idx):
        rig.transport.device.Version = 0xFFFFFFFF

    rig.transport.device.on_notify = vanish
    raises(DeviceFault, rig.queue.add_notify_wait_pop, [b"x"], [bytearray(1)])
    assert rig.transport.failed and not rig.queue.alive
    raises(DeviceFault, rig.queue.add, [b"x"], [])
    rig.transport.device.Version = rig.transport.version


def says(why, function, *args):
    error = raises(DeviceFault, function, *args)
    assert why in str(error), error


@every_form
def test_the_first_reason_is_the_one_that_all_later_errors_give(rig):
    queue, transport = rig.queue, rig.transport
    token = queue.submit([b"x"], [bytearray(8)])
    rig.device.pop()
    rig.device.use(token, 9)
    for _ in range(2):
        says("larger than the writable", queue.can_pop)
    transport.fail("something else")
    for method, args in (
        (queue.add, ([b"x"], [])),
        (queue.submit, ([b"x"], [])),
        (queue.add_notify_wait_pop, ([b"x"], [])),
        (queue.pop_used, (token,)),
        (queue.finished, (token,)),
        (queue.peek_used, ()),
        (transport.check, ()),
    ):
        says("larger than the writable", method, *args)
    transport.reset()
    says("reset since", queue.add, [b"x"], [])
    assert transport.why is None
    queue.deinit()
    says("reset since", queue.add, [b"x"], [])
    again = type(queue)(transport, 0, 8)
    transport.device.status |= mmio.NEEDS_RESET
    for _ in range(2):
        says("asks for a reset", transport.check)
        says("asks for a reset", again.add, [b"x"], [])
    again.deinit()
    assert not transport.failed


def test_a_queue_that_was_given_back_says_so():
    for form in FORMS:
        rig = Rig(form)
        rig.queue.deinit()
        says("given back", rig.queue.add, [b"x"], [])
        rig.queue.deinit()


# Giving back


def test_deinit_gives_the_memory_back():
    before = dma.available()
    for form in FORMS:
        with Rig(form):
            assert dma.available() < before
        assert dma.available() == before


def test_deinit_with_nothing_in_flight_takes_the_queue_back_only():
    with Rig() as rig:
        rig.transport.add_status(mmio.DRIVER_OK)
    assert rig.transport.status == mmio.DRIVER_OK
    assert not rig.transport.queue_used(0)


@every_form
def test_deinit_with_chains_in_flight_resets_the_device(rig):
    rig.queue.add([b"x"], [bytearray(1)])
    rig.transport.add_status(mmio.DRIVER_OK)
    rig.queue.deinit()
    assert rig.transport.status == 0
    raises(DeviceFault, rig.queue.add, [b"x"], [])
    rig.queue.deinit()


def test_deinit_keeps_all_when_the_device_does_not_reset():
    rig = Rig()
    data = bytearray(1)
    rig.queue.add([], [data])
    rig.transport.device.sticky_status = mmio.DRIVER_OK
    left = dma.available()
    raises(DeviceFault, rig.queue.deinit)
    assert dma.available() == left
    assert any(buf is data for buf in rig.queue._held)
    rig.transport.device.sticky_status = 0
    rig.queue.deinit()
    assert dma.available() > left


def test_a_reset_kills_all_queues_of_the_device():
    transport = fake.FakeTransport(queue_max=(8, 8))
    queues = [VirtQueue(transport, i, 8) for i in range(2)]
    assert all(queue.alive for queue in queues)
    transport.reset()
    for queue in queues:
        assert not queue.alive
        raises(DeviceFault, queue.add, [b"x"], [])
        queue.deinit()


def test_unset_on_a_legacy_device_that_resets_kills_its_other_queues():
    # QEMU resets the whole device when a legacy driver writes 0 to QueuePFN.
    transport = fake.FakeTransport(version=1, queue_max=(8, 8))
    transport.device.resets_on_unset = True
    transport.add_status(mmio.DRIVER_OK)
    first, second = VirtQueue(transport, 0, 8), VirtQueue(transport, 1, 8)
    first.deinit()
    assert not second.alive
    second.deinit()


def test_repr_shows_index_size_free_indices_and_flags():
    with Rig(("split", True, True)) as rig:
        token = rig.queue.add([b"x"], [])
        assert repr(rig.queue) == (
            "VirtQueue(0, size=8, free=7, avail=1, used=0, flags=indirect|event_idx)"
        )
        rig.use_next()
        rig.queue.pop_used(token)
        assert "avail=1, used=1" in repr(rig.queue)
