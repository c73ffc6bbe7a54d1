"""IN_ORDER (virtio 1.2, sections 2.7.14 and 2.8.23), on a fake device: QEMU 7.2 has none."""

import fake
import pytest
import virtio
from check import raises
from virtio import DeviceFault, QueueFull, features
from virtio.device import Device
from virtio.device.inorder import InOrderPackedVirtQueue, InOrderVirtQueue

pytestmark = pytest.mark.board(interface=("modern",))
FORMS = [(p, i, e) for p in (False, True) for i in (False, True) for e in (False, True)]


class Ordered(Device):
    TYPE = 4

    def _setup(self):
        self.queue(0, 8)


class Rig:
    def __init__(self, packed, indirect, event_idx):
        offered = features.VERSION_1 | features.IN_ORDER
        offered |= features.RING_PACKED if packed else 0
        offered |= features.INDIRECT_DESC if indirect else 0
        offered |= features.EVENT_IDX if event_idx else 0
        self.transport = fake.FakeTransport(features=offered)
        self.driver = Ordered(self.transport)
        self.queue = self.driver.queues[0]
        self.device = (fake.FakePackedQueue if packed else fake.FakeQueue)(self.transport)

    def add(self, count):
        tokens = [self.queue.add([b"x"], [bytearray(8)]) for _ in range(count)]
        assert [self.device.pop()[0] for _ in range(count)] == tokens
        return tokens


def every_form(test):
    def all_forms():
        for form in FORMS:
            rig = Rig(*form)
            try:
                test(rig)
            except Exception as error:
                print("form (packed, indirect, event_idx):", form)
                raise error
            rig.driver.deinit()

    return all_forms


def test_it_is_taken_where_it_is_offered():
    for packed, kind in ((False, InOrderVirtQueue), (True, InOrderPackedVirtQueue)):
        rig = Rig(packed, False, False)
        assert type(rig.queue) is kind and "in_order" in repr(rig.queue)
        assert rig.driver.features & features.IN_ORDER
        rig.driver.deinit()


@every_form
def test_one_entry_speaks_for_a_batch(rig):
    for _ in range(9):
        tokens = rig.add(4)
        rig.device.use_up_to(tokens[:3], 5)
        # The skipped ones count as used completely.
        for token, length in zip(tokens, (8, 8, 5)):
            assert rig.queue.peek_used() == token
            assert rig.queue.pop_used(token) == length
        assert not rig.queue.can_pop()
        rig.device.use(tokens[3], 1)
        assert rig.queue.pop_used(tokens[3]) == 1
        assert rig.queue.available_desc() == 8


@every_form
def test_an_entry_for_each_will_do_too(rig):
    for _ in range(9):
        tokens = rig.add(3)
        for n, token in enumerate(tokens):
            rig.device.use(token, n)
        assert [rig.queue.pop_used(token) for token in tokens] == [0, 1, 2]


@every_form
def test_what_is_not_in_flight_is_a_fault(rig):
    tokens = rig.add(2)
    rig.device.use(next(t for t in range(8) if t not in tokens), 0)
    raises(DeviceFault, rig.queue.can_pop)
    rig.driver.reset()


@every_form
def test_a_length_beyond_the_buffers_is_a_fault(rig):
    tokens = rig.add(2)
    rig.device.use_up_to(tokens, 9)
    raises(DeviceFault, rig.queue.can_pop)


def added(rig, count):
    """Submit a chain of so many buffers, and have it answered; its token and its descriptors."""
    token = rig.queue.submit([b"x"] * count, [])
    at, chain = rig.device.pop()
    assert at == token and len(chain) == count
    places = [at]
    while rig.device.descriptor(rig.device.desc, at)[2] & fake.NEXT:
        at = rig.device.descriptor(rig.device.desc, at)[3]
        places.append(at)
    rig.device.use(token, 0)
    return token, places


def taken(rig, token):
    assert rig.queue.finished(token)
    rig.queue.take(token)


def test_the_descriptors_of_a_chain_follow_each_other():
    """However the chains before it were taken (2.7.5.2)."""
    for indirect, counts in ((False, (2, 3, 1)), (True, (5, 2, 6))):
        rig = Rig(False, indirect, False)
        held, full = [], 0
        for n in range(300):
            count = counts[n % 3]
            try:
                token, places = added(rig, count)
            except QueueFull:
                full += 1
                assert rig.queue.available_desc() < count
            else:
                held.append(token)
                assert places == [(token + i) % 8 for i in range(len(places))]
            if len(held) > 3 or n % 7 == 0:
                taken(rig, held.pop(n * 5 % len(held)))
        for token in held:
            taken(rig, token)
        assert rig.queue.available_desc() == 8 and full
        rig.driver.deinit()


def test_the_first_descriptor_follows_the_last():
    rig = Rig(False, False, False)
    tokens = [added(rig, count)[0] for count in (2, 2, 3)]
    taken(rig, tokens[0])
    assert rig.queue.available_desc() == 3
    assert added(rig, 3)[1] == [7, 0, 1]
    rig.driver.deinit()


def test_a_batch_shorter_than_the_index_says_is_a_fault():
    rig = Rig(False, False, False)
    tokens = rig.add(3)
    rig.device.use(tokens[0], 0, publish=False)
    rig.device.used_idx = 2
    raises(virtio.VirtioError, rig.queue.can_pop)
    rig.driver.deinit()
