"""The life of a device (virtio 1.2, section 3.1), with a driver that does nothing."""

import fake
import virtio
from check import raises
from virtio import AlreadyUsed, DeviceFault, NoDevice, Unsupported, dma, mmio
from virtio.device import Device, opened

CONFIGS = ("modern",)

PACKED = 1 << 34
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
