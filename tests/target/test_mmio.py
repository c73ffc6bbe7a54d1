"""The MMIO transport (virtio 1.2, section 4.2), on a fake register file and on the board."""

import struct

import fake
import uctypes
import virtio
from check import raises
from virtio import DeviceFault, InvalidParam, NoDevice, Unsupported
from virtio.platform import board
from virtio.transport import mmio

NOBODY = 0x0B000000  # on this board


def test_a_slot_with_another_magic_is_refused():
    memory = fake.slot(magic=b"trev")
    raises(NoDevice, virtio.MmioTransport, uctypes.addressof(memory))


def test_an_unknown_version_is_refused():
    for version in (0, 3):
        memory = fake.slot(version=version)
        raises(Unsupported, virtio.MmioTransport, uctypes.addressof(memory))


def test_an_empty_slot_is_refused():
    memory = fake.slot(device_type=0)
    raises(NoDevice, virtio.MmioTransport, uctypes.addressof(memory), errno=19)


def test_an_address_where_nothing_answers_is_no_device():
    raises(NoDevice, virtio.MmioTransport, NOBODY, errno=19)
    memory = fake.slot(device_type=4)
    mmio.board = FakeBoard([(NOBODY, 0x200, 48), (uctypes.addressof(memory), 0x200, 49)])
    try:
        assert [transport.slot for transport in mmio.scan()] == [1]
    finally:
        mmio.board = board


def test_scan_passes_over_what_is_no_device():
    good = [fake.slot(device_type=n) for n in (4, 2)]
    bad = [fake.slot(device_type=0), fake.slot(version=7), fake.slot(magic=b"none")]
    memories = [bad[0], good[0], bad[1], good[1], bad[2]]
    devices = board.devices
    mmio.board = FakeBoard([(uctypes.addressof(m), 0x200, 48 + i) for i, m in enumerate(memories)])
    try:
        found = mmio.scan()
    finally:
        mmio.board = board
    assert devices is board.devices
    # The last slot comes first, as QEMU fills them.
    assert [(t.slot, t.device_type, t.intid) for t in found] == [(3, 2, 51), (1, 4, 49)]


class FakeBoard:
    def __init__(self, slots):
        self.slots = slots

    def devices(self, compatible):
        assert compatible == "virtio,mmio"
        return self.slots


def test_a_board_without_device_tree_has_the_slots_of_the_virt_machine():
    try:
        mmio.board = FakeBoard([])
        fallback = [(t.base, t.intid, t.slot) for t in mmio.scan()]
    finally:
        mmio.board = board
    assert fallback == [(t.base, t.intid, t.slot) for t in mmio.scan()]
    assert fallback


def test_scan_gives_the_order_of_the_command_line():
    assert [t.device_type for t in virtio.scan()] == [2, 2, 2, 4]
    slots = [t.slot for t in virtio.scan()]
    assert slots == sorted(slots, reverse=True)


def test_reset_writes_0_and_waits_until_it_reads_0():
    transport = fake.FakeTransport()
    transport.add_status(mmio.ACKNOWLEDGE)
    transport.reset()
    assert transport.device.status_log == [1, 0]
    assert transport.status == 0 and not transport.failed


def test_a_reset_that_does_not_end_is_a_fault():
    transport = fake.FakeTransport()
    transport.device.sticky_status = 4
    raises(DeviceFault, transport.reset, errno=71)
    assert transport.failed
    transport.device.sticky_status = 0
    transport.reset()
    assert not transport.failed


def test_status_bits_are_added_and_never_cleared():
    transport = fake.FakeTransport()
    transport.reset()
    for bits in (mmio.ACKNOWLEDGE, mmio.DRIVER, mmio.FEATURES_OK, mmio.DRIVER_OK):
        transport.add_status(bits)
    assert transport.device.status_log == [0, 1, 3, 11, 15]


def test_features_have_64_bits_both_ways():
    features = 1 << 63 | 1 << 40 | 1 << 32 | 1 << 31 | 1
    transport = fake.FakeTransport(features=features)
    assert transport.read_device_features() == features
    transport.write_driver_features(features)
    assert transport.device.driver_features == [1 << 31 | 1, 1 << 31 | 1 << 8 | 1]


def test_configuration_fields_have_their_widths_and_order():
    config = bytes(range(1, 17))
    transport = fake.FakeTransport(config=config)
    expected = struct.unpack("<B", config[1:2]) + struct.unpack("<HIQ", config[2:4] + config[4:16])
    assert transport.read_config((1, 1), (2, 2), (4, 4), (8, 8)) == expected


def test_configuration_is_written_by_width():
    transport = fake.FakeTransport()
    transport.write_config(0, 1, 0x11)
    transport.write_config(2, 2, 0x3322)
    transport.write_config(4, 4, 0x87654321)
    transport.write_config(8, 8, 0xFEDCBA9876543210)
    expected = struct.pack("<BxHIQ", 0x11, 0x3322, 0x87654321, 0xFEDCBA9876543210)
    assert bytes(transport.memory[0x100:0x110]) == expected


def test_configuration_has_bounds():
    transport = fake.FakeTransport()
    for field in ((0xFE, 4), (0x100, 1), (-1, 1), (1, 2), (2, 4), (4, 3), (0xFC, 8)):
        raises(InvalidParam, transport.read_config, field)
        raises(InvalidParam, transport.write_config, field[0], field[1], 0)
    assert transport.read_config((0xF8, 8)) == (0,)


class Changing(fake.FakeTransport):
    """A configuration that changes between two readings, so many times."""

    changes = 0

    def _read_field(self, offset, width):
        value = super()._read_field(offset, width)
        if self.changes:
            self.changes -= 1
            self.memory[0x100] += 1
            self.device.generation += 1
        return value


def test_configuration_is_read_again_until_it_held_still():
    for version in (1, 2):
        transport = Changing(version=version)
        transport.changes = 5
        assert transport.read_config((0, 1)) == (5,)


def test_a_configuration_that_never_settles_is_a_fault():
    for version in (1, 2):
        transport = Changing(version=version)
        transport.changes = 1 << 29
        transport.memory[0x100:0x101] = b"\0"
        raises(DeviceFault, transport.read_config, (0, 1))
        assert transport.failed and transport.status & mmio.FAILED


def test_a_modern_queue_is_told_in_three_addresses():
    transport = fake.FakeTransport(version=2)
    assert not transport.queue_used(0)
    transport.queue_set(0, 8, 0x81000000, 0x82000000, 0x83000000)
    assert transport.queue_used(0)
    assert transport.device.queues[0] == {
        "QueueNum": 8,
        "QueueDescLow": 0x81000000,
        "QueueDescHigh": 0,
        "QueueDriverLow": 0x82000000,
        "QueueDriverHigh": 0,
        "QueueDeviceLow": 0x83000000,
        "QueueDeviceHigh": 0,
        "QueueReady": 1,
    }
    transport.queue_unset(0)
    assert not transport.queue_used(0)


def test_a_legacy_queue_is_told_by_its_page():
    transport = fake.FakeTransport(version=1)
    assert not transport.queue_used(0)
    transport.queue_set(0, 8, 0x41234000, 0, 0)
    assert transport.queue_used(0)
    assert transport.device.queues[0] == {"QueueNum": 8, "QueueAlign": 4096, "QueuePFN": 0x41234}
    assert transport.device.GuestPageSize == 4096
    transport.queue_unset(0)
    assert not transport.queue_used(0)


def test_interrupt_reasons_are_told_apart_and_acknowledged():
    transport = fake.FakeTransport()
    assert transport.ack_interrupt() == 0 and transport.device.acknowledged == []
    transport.device.InterruptStatus = mmio.CONFIG_CHANGE
    assert transport.ack_interrupt() == mmio.CONFIG_CHANGE
    transport.device.InterruptStatus = mmio.USED_BUFFER | mmio.CONFIG_CHANGE
    assert transport.ack_interrupt() == 3
    assert transport.device.acknowledged == [2, 3]
    assert transport.device.InterruptStatus == 0


def test_the_board_has_the_interface_it_was_started_with():
    versions = {transport.version for transport in virtio.scan()}
    assert len(versions) == 1
    for transport in virtio.scan():
        assert transport.legacy == (transport.version == 1)
        # Only a modern device offers VERSION_1 (section 6).
        assert bool(transport.read_device_features() & fake.VERSION_1) == (not transport.legacy)
