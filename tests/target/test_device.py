"""The life of a device (virtio 1.2, section 3.1), with a driver that does nothing."""

from binascii import crc32

import fake
import pytest
import virtio
from check import raises
from virtio import AlreadyUsed, DeviceFault, NoDevice, Unsupported, slowmotion
from virtio.device import Device, opened
from virtio.device.receiving import Receiving
from virtio.platform import board, dma
from virtio.ring import base, split
from virtio.transport import mmio

pytestmark = pytest.mark.board(interface=("modern",))

PACKED, IN_ORDER = 1 << 34, 1 << 35
COMMON = fake.INDIRECT_DESC | fake.EVENT_IDX | 1 << 33 | PACKED | 1 << 36 | 1 << 40


class Nothing(Device):
    TYPE = 4
    FEATURES = 1 << 3

    def _setup(self):
        self.queue(0, 8)


def test_a_modern_device_is_brought_up_in_the_order_of_the_specification():
    transport = fake.FakeTransport()
    device = Nothing(transport)
    reset, acknowledge, driver, features_ok, driver_ok = transport.device.status_log
    assert (reset, acknowledge, driver, features_ok, driver_ok) == (0, 1, 3, 11, 15)
    assert transport.queue_used(0)
    device.deinit()
    assert transport.status == 0 and not transport.queue_used(0)


def test_a_legacy_device_knows_no_FEATURES_OK():
    transport = fake.FakeTransport(version=1, features=1 << 3)
    device = Nothing(transport)
    assert transport.device.status_log == [0, 1, 3, 7]
    assert transport.device.driver_features == [1 << 3, 0]
    device.deinit()


def test_features_are_those_that_both_sides_have():
    offered = fake.VERSION_1 | COMMON | 1 << 3 | 1 << 4 | 1 << 50
    transport = fake.FakeTransport(features=offered)
    device = Nothing(transport)
    # Neither the driver nor the queue knows of bits 4 and 50.
    expected = offered & ~(1 << 4 | 1 << 50)
    assert device.features == expected
    low, high = transport.device.driver_features
    assert high << 32 | low == expected
    device.deinit()


def test_the_queue_has_the_forms_that_were_negotiated():
    for features, flags in (
        (0, "silent"),
        (fake.INDIRECT_DESC, "indirect|silent"),
        (fake.EVENT_IDX, "event_idx|silent"),
        (fake.INDIRECT_DESC | fake.EVENT_IDX, "indirect|event_idx|silent"),
        (PACKED | fake.EVENT_IDX, "packed|event_idx|silent"),
    ):
        device = Nothing(fake.FakeTransport(features=fake.VERSION_1 | features))
        assert "flags=%s)" % flags in repr(device.queues[0])
        device.deinit()


def test_the_ring_can_be_asked_for_by_name():
    for offered, ring, kind in (
        (0, None, virtio.VirtQueue),
        (0, "split", virtio.VirtQueue),
        (PACKED, None, virtio.PackedVirtQueue),
        (PACKED, "split", virtio.VirtQueue),
        (PACKED, "packed", virtio.PackedVirtQueue),
    ):
        device = Nothing(fake.FakeTransport(features=fake.VERSION_1 | offered), ring)
        assert type(device.queues[0]) is kind
        assert bool(device.features & PACKED) == (kind is virtio.PackedVirtQueue)
        device.deinit()
    raises(Unsupported, Nothing, fake.FakeTransport(), "packed")
    raises(Unsupported, Nothing, fake.FakeTransport(version=1, features=0), "packed")
    raises(virtio.InvalidParam, Nothing, fake.FakeTransport(), "round")


def test_a_queue_is_as_large_as_the_device_allows_and_no_larger_than_asked():
    for maximum, size in ((4, 4), (8, 8), (1024, 8)):
        device = Nothing(fake.FakeTransport(queue_max=(maximum,)))
        assert device.queues[0].size == size
        device.deinit()


def test_a_device_that_refuses_the_features_is_given_up():
    transport = fake.FakeTransport()
    transport.device.refused_status = mmio.FEATURES_OK
    before = dma.available()
    raises(Unsupported, Nothing, transport, errno=95)
    assert transport.status & mmio.FAILED
    assert opened().count(transport) == 0 and dma.available() == before


def test_a_modern_transport_without_VERSION_1_is_given_up():
    transport = fake.FakeTransport(features=0)
    raises(Unsupported, Nothing, transport)
    assert transport.status & mmio.FAILED


def test_a_set_up_that_fails_half_way_leaves_nothing_behind():
    before, open_before = dma.available(), opened()
    transport = fake.FakeTransport(queue_max=(0,))
    raises(DeviceFault, Nothing, transport)
    assert dma.available() == before and opened() == open_before
    # And the device can be had once it is whole.
    transport.device.queue_max = (8,)
    Nothing(transport).deinit()


def test_a_device_has_one_driver():
    transport = fake.FakeTransport()
    device = Nothing(transport)
    raises(AlreadyUsed, Nothing, transport, errno=16)
    transport.fail()
    raises(AlreadyUsed, Nothing, transport)
    device.deinit()
    Nothing(transport).deinit()


def test_a_device_driven_by_hand_is_in_use():
    transport = fake.FakeTransport()
    transport.add_status(mmio.ACKNOWLEDGE)
    transport.add_status(mmio.DRIVER)
    raises(AlreadyUsed, Nothing, transport)
    transport.reset()
    Nothing(transport).deinit()


def test_a_driver_takes_only_its_own_type():
    raises(NoDevice, Nothing, fake.FakeTransport(device_type=2), errno=19)


def test_no_device_at_an_index_is_ENODEV():
    for index in (1, 99, -1):
        raises(OSError, virtio.Rng, index, errno=19)


def test_reset_brings_a_broken_device_back():
    transport = fake.FakeTransport()
    device = Nothing(transport)
    device.queues[0].add([b"x"], [bytearray(8)])
    fake.FakeQueue(transport).use(7, 99)
    raises(DeviceFault, device.queues[0].can_pop)
    before = dma.available()
    device.reset()
    assert dma.available() == before
    queue = device.queues[0]
    token = queue.add([b"x"], [bytearray(8)])
    fake.answer(fake.FakeQueue(transport), b"back")
    assert queue.pop_used(token) == 4
    device.deinit()


def test_reset_of_a_device_that_does_not_reset_keeps_its_buffers():
    transport = fake.FakeTransport()
    device = Nothing(transport)
    data = bytearray(8)
    queue = device.queues[0]
    queue.add([], [data])
    transport.device.sticky_status = 4
    raises(DeviceFault, device.reset)
    raises(DeviceFault, device.deinit)
    assert device in opened() and any(buf is data for buf in queue._held)
    transport.device.sticky_status = 0
    device.deinit()
    assert device not in opened()


def test_an_open_driver_stays_though_the_program_forgets_it():
    import gc

    transport = fake.FakeTransport()
    Nothing(transport)
    gc.collect()
    assert [d.transport for d in opened() if d.transport is transport]
    opened()[-1].deinit()
    assert not [d.transport for d in opened() if d.transport is transport]


# Opening, resetting and closing, whoever comes


def test_a_closed_driver_says_so_and_does_not_come_back():
    for offered in (0, PACKED, fake.INDIRECT_DESC, 1 << 35, PACKED | 1 << 35):
        transport = fake.FakeTransport(features=fake.VERSION_1 | offered)
        device = Nothing(transport)
        ring = device.queues[0]
        token = ring.submit([b"x"], [])
        device.deinit()
        again = Nothing(transport)
        for method, args in (
            (device.reset, ()),
            (ring.add, ([b"x"], [])),
            (ring.submit, ([b"x"], [])),
            (ring.add_notify_wait_pop, ([b"x"], [])),
            (ring.can_pop, ()),
            (ring.peek_used, ()),
            (ring.pop_used, (token,)),
            (ring.finished, (token,)),
        ):
            error = raises(NoDevice, method, *args, errno=19)
            assert "closed" in str(error)
        ring.abandon(token)
        device.deinit()
        device.queues[0].deinit()
        assert device.queues[0] is ring
        assert transport.status & mmio.DRIVER_OK and again.queues[0].alive
        again.queues[0].add([b"x"], [])
        assert [driver for driver in opened() if driver is again]
        again.deinit()


def test_a_driver_is_in_opened_between_and_not_while_it_changes():
    seen = []

    class Looking(Nothing):
        def _setup(self):
            super()._setup()
            seen.append(self in opened())
            if len(seen) > 1:
                raises(AlreadyUsed, self.reset)
                raises(AlreadyUsed, self.deinit)

    transport = fake.FakeTransport()
    device = Looking(transport)
    assert device in opened()
    device.reset()
    assert seen == [False, False] and device in opened()
    reset = transport.reset
    transport.reset = lambda: seen.append(device in opened()) or reset()
    device.deinit()
    assert seen == [False] * 3 and device not in opened()


STEPS = ("reset", "read_device_features", "write_driver_features", "max_queue_size", "queue_used")
STEPS += ("queue_set", "listen", "add_status", "check")


class Ended(BaseException):
    pass


def test_whatever_ends_an_opening_leaves_nothing_behind():
    before, live, open_before = dma.available(), len(base._live), opened()
    for offered in (0, PACKED, fake.INDIRECT_DESC):
        for step in STEPS:
            for kind in (MemoryError, KeyboardInterrupt, Ended):
                for n in range(4):
                    transport = fake.FakeTransport(features=fake.VERSION_1 | offered)
                    method, calls = getattr(transport, step), [0]

                    def end(*args):
                        calls[0] += 1
                        if calls[0] == n + 1:
                            raise kind
                        return method(*args)

                    setattr(transport, step, end)
                    try:
                        Nothing(transport).deinit()
                    except kind:
                        pass
                    setattr(transport, step, method)
                    for driver in opened():
                        if driver.transport is transport:
                            driver.deinit()
                    assert transport.status & (mmio.DRIVER_OK | mmio.FAILED) != mmio.DRIVER_OK
                    assert dma.available() == before, (step, n)
                    assert len(base._live) == live and opened() == open_before, (step, n)
                    Nothing(transport).deinit()


def test_a_queue_that_there_is_no_memory_for_takes_none():
    before, live = dma.available(), len(base._live)
    transport = fake.FakeTransport(queue_max=(1024,))
    for module, name in ((base, "_new_state"), (split, "fill_frame_tables")):
        function = getattr(module, name)

        def fail(*args):
            raise MemoryError

        setattr(module, name, fail)
        try:
            raises(MemoryError, virtio.VirtQueue, transport, 0, 1024, True, True, True)
        finally:
            setattr(module, name, function)
        assert dma.available() == before and len(base._live) == live
    virtio.VirtQueue(transport, 0, 1024).deinit()


def test_a_driver_whose_slot_is_gone_can_be_closed():
    before = dma.available()
    transport = fake.FakeTransport()
    device = Nothing(transport)
    device.queues[0].add([b"x"], [bytearray(8)])
    transport.device.Version = 0xFFFFFFFF
    error = raises(DeviceFault, device.reset)
    assert "gone" in str(error) and "gone" in str(raises(DeviceFault, device.queues[0].can_pop))
    device.deinit()
    assert dma.available() == before and device not in opened()


def test_a_driver_that_could_not_start_again_says_why_until_it_can():
    transport = fake.FakeTransport()
    device = Nothing(transport)
    transport.device.refused_status = mmio.FEATURES_OK
    raises(Unsupported, device.reset)
    for _ in range(2):
        assert "start" in str(raises(DeviceFault, device.queues[0].can_pop))
    assert transport.status & mmio.FAILED and device in opened()
    transport.device.refused_status = 0
    device.reset()
    assert not device.queues[0].can_pop()
    device.deinit()


def test_what_a_callback_raises_is_printed_and_ends_nothing():
    class Raising(Nothing):
        def config_changed(self):
            changed.append(1)
            raise ValueError("from a callback")

    changed, looked = [], []
    device = Raising(fake.FakeTransport())

    class Waiters:
        def look(self):
            looked.append(len(changed))

    device._waiters = Waiters()
    for _ in range(2):
        device._interrupted(mmio.CONFIG_CHANGE | mmio.USED_BUFFER)
    assert changed == [1, 1] and looked == [0, 1]
    device._waiters = None
    device.deinit()


class Events(Device):
    """A device that says things unasked, in four buffers of eight bytes."""

    TYPE = 18
    REFUSED = IN_ORDER

    def __init__(self, transport):
        self.events = []
        self.starts = 0
        super().__init__(transport)

    def _setup(self):
        self.unheard = self.queue(1, 4)
        self.receiving = Receiving(self.queue(0, 4, heard=True), 8)

    def _started(self):
        assert self.transport.status & mmio.DRIVER_OK
        self.starts += 1
        self.receiving.start()

    def buffers_used(self, queue):
        assert queue is self.queues[1]
        event = self.receiving.take()
        while event is not None:
            self.events.append(bytes(event))
            event = self.receiving.take()
        self.receiving.post()


def with_events(offered):
    transport = fake.FakeTransport(18, 2, fake.VERSION_1 | IN_ORDER | offered, (64, 64))
    return transport.device, Events(transport)


def say(half, texts):
    for text in texts:
        token, buffers = half.take()
        half.use(token, slowmotion.fill(buffers, text))


def test_what_a_device_says_unasked_reaches_the_driver_round_after_round():
    for offered in (0, fake.EVENT_IDX, PACKED, PACKED | fake.EVENT_IDX):
        device, driver = with_events(offered)
        half = device.queue(0)
        said = []
        for n in range(40):
            texts = [b"%d:%d" % (n, at) for at in range(n % 5)]
            before = len(device.notified)
            say(half, texts)
            if texts:
                assert half.wants_interrupt, n
                device.interrupt()
                # The device, which does not move its avail_event, may want none.
                most = len(device.notified) - before
                assert most == 1 or most == 0 and offered & fake.EVENT_IDX, "one for all of them"
            said += texts
        assert driver.events == said
        driver.deinit()


def test_a_device_has_its_buffers_again_after_each_reset():
    for offered in (0, PACKED):
        device, driver = with_events(offered)
        for starts in (1, 2, 3):
            assert driver.starts == starts
            say(device.queue(0), [b"one", b"two", b"three", b"four"])
            device.interrupt()
            assert driver.events == [b"one", b"two", b"three", b"four"]
            driver.events.clear()
            if starts == 2:
                say(device.queue(0), [b"lost"])
            driver.reset()
        driver.deinit()


def test_a_buffer_is_handed_to_nobody_when_the_device_was_let_go_or_reset():
    for offered in (0, PACKED):
        for end, error in ((Events.deinit, NoDevice), (Events.reset, DeviceFault)):
            device, driver = with_events(offered)
            receiving = driver.receiving
            say(device.queue(0), [b"an event"])
            assert bytes(receiving.take()) == b"an event"
            end(driver)
            before = crc32(board.dma())  # the rings that were, and whoever's they are now
            for hand_out in (receiving.post, receiving.start):
                raises(error, hand_out)
                assert crc32(board.dma()) == before, offered
            driver.deinit()


def test_a_queue_that_is_heard_stays_so_beside_a_wait():
    import asyncio

    device, driver = with_events(0)
    device.on_notify = lambda idx: idx == 1 and say(device.queue(1), [b"answer"])
    answer = bytearray(8)
    driver.unheard.add_notify_wait_pop((), (answer,), None, 2000)
    asyncio.run(driver.complete(driver.unheard, (), (answer,)))
    assert answer[:6] == b"answer"
    assert not device.queue(1).wants_interrupt
    say(device.queue(0), [b"an event"])
    assert device.queue(0).wants_interrupt
    device.interrupt()
    assert driver.events == [b"an event"]
    driver.deinit()


def test_a_length_beyond_a_buffer_that_was_handed_out_is_a_fault():
    device, driver = with_events(0)
    token, _ = device.queue(0).take()
    device.queue(0).use(token, 9)
    device.interrupt()
    assert driver.events == []
    raises(DeviceFault, driver.receiving.take)
    driver.reset()
    say(device.queue(0), [b"again"])
    device.interrupt()
    assert driver.events == [b"again"]
    driver.deinit()


def test_a_device_that_could_not_be_started_has_no_buffer():
    class Failing(Events):
        def _started(self):
            super()._started()
            raise ValueError("it does not know our version")

    transport = fake.FakeTransport(18, 2, fake.VERSION_1, (64, 64))
    before = dma.available()
    raises(ValueError, Failing, transport)
    assert transport.status & mmio.FAILED
    assert dma.available() == before and not [d for d in opened() if isinstance(d, Failing)]
    Events(transport).deinit()
