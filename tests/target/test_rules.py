"""The specification's rules for drivers that no other test would see broken: see tests/rules."""

import struct

import fake
import pytest
import uctypes
import virtio
from check import raises
from machine import mem16, mem32
from virtio import DeviceFault, Unsupported, VirtQueue
from virtio.device import Device
from virtio.platform import processor
from virtio.ring import packed
from virtio.transport import mmio

pytestmark = pytest.mark.board(interface=("modern",))

PACKED = 1 << 34
DIRECTIONS = {  # section 4.2.2, and the legacy registers of 4.2.4
    "MagicValue": (0x000, "R"),
    "Version": (0x004, "R"),
    "DeviceID": (0x008, "R"),
    "VendorID": (0x00C, "R"),
    "DeviceFeatures": (0x010, "R"),
    "DeviceFeaturesSel": (0x014, "W"),
    "DriverFeatures": (0x020, "W"),
    "DriverFeaturesSel": (0x024, "W"),
    "GuestPageSize": (0x028, "W"),
    "QueueSel": (0x030, "W"),
    "QueueNumMax": (0x034, "R"),
    "QueueNum": (0x038, "W"),
    "QueueAlign": (0x03C, "W"),
    "QueuePFN": (0x040, "RW"),
    "QueueReady": (0x044, "RW"),
    "QueueNotify": (0x050, "W"),
    "InterruptStatus": (0x060, "R"),
    "InterruptACK": (0x064, "W"),
    "Status": (0x070, "RW"),
    "QueueDescLow": (0x080, "W"),
    "QueueDescHigh": (0x084, "W"),
    "QueueDriverLow": (0x090, "W"),
    "QueueDriverHigh": (0x094, "W"),
    "QueueDeviceLow": (0x0A0, "W"),
    "QueueDeviceHigh": (0x0A4, "W"),
    "QueueReset": (0x0C0, "RW"),
    "ConfigGeneration": (0x0FC, "R"),
}
PLACE = (
    "QueueNum",
    "QueueDescLow",
    "QueueDescHigh",
    "QueueDriverLow",
    "QueueDriverHigh",
    "QueueDeviceLow",
    "QueueDeviceHigh",
)


class Watched:
    """A register file that notes all accesses: (R or W, name, value)."""

    def __init__(self, registers, log):
        object.__setattr__(self, "registers", registers)
        object.__setattr__(self, "log", log)

    def __getattr__(self, name):
        value = getattr(self.registers, name)
        self.log.append(("R", name, value))
        return value

    def __setattr__(self, name, value):
        self.log.append(("W", name, value))
        setattr(self.registers, name, value)


def watched(**options):
    transport = fake.FakeTransport(**options)
    log = []
    transport._regs = Watched(transport._regs, log)
    return transport, log


class Nothing(Device):
    TYPE = 4

    def _setup(self):
        self.queue(0, 8)


def lives():
    """The accesses of whole lives, on both interfaces and both rings: opened, run, reset, closed."""
    for options in (
        dict(version=1, features=0),
        dict(),
        dict(features=fake.VERSION_1 | PACKED),
        dict(features=fake.VERSION_1 | 1 << 40),
    ):
        transport, log = watched(**options)
        device = Nothing(transport)
        for _ in range(2):
            token = device.queues[0].add([b"x"], [])
            kind = fake.FakePackedQueue if transport.features & PACKED else fake.FakeQueue
            device.queues[0].kick()
            fake.answer(kind(transport))
            transport.device.InterruptStatus = 3
            transport.ack_interrupt()
            device.queues[0].pop_used(token)
            transport.read_config((0, 4))
            device.reset()
        device.queues[0].deinit()
        device.reset()
        device.queues[0].add([b"x"], [])
        device.deinit()
        yield transport, log


# The status, features and configuration


def test_a_device_that_has_failed_is_reset_before_it_is_set_up_again():
    transport = fake.FakeTransport()
    transport.add_status(1 | 2)
    transport.add_status(mmio.FAILED)
    device = Nothing(transport)
    assert transport.device.status_log[2:] == [0, 1, 3, 11, 15]
    device.deinit()


def test_queues_are_set_up_and_the_configuration_read_between_FEATURES_OK_and_DRIVER_OK():
    seen = []

    class Looking(Nothing):
        def _setup(self):
            seen.append(self.transport.status)
            super()._setup()

    transport = fake.FakeTransport()
    Looking(transport).deinit()
    assert seen == [1 | 2 | 8]


def test_features_are_not_written_after_FEATURES_OK():
    for transport, log in lives():
        agreed = False
        for way, name, value in log:
            if (way, name) == ("W", "Status"):
                agreed = bool(value & mmio.FEATURES_OK)
            assert not (agreed and way == "W" and name == "DriverFeatures")


def test_the_configuration_is_not_written_before_FEATURES_OK():
    F_FLUSH, F_CONFIG_WCE = 1 << 9, 1 << 11
    config = bytearray(60)
    struct.pack_into("<Q", config, 0, 64)
    features = fake.VERSION_1 | F_FLUSH | F_CONFIG_WCE
    transport = fake.FakeTransport(2, 2, features, (16,), config)
    written, write = [], transport.write_config

    def watch(*args):
        written.append(transport.status)
        write(*args)

    transport.write_config = watch
    disk = virtio.Block(transport)
    disk.write_cache = True
    disk.reset()
    disk.deinit()
    assert len(written) == 2 and all([status & mmio.FEATURES_OK for status in written])


def test_the_configuration_is_not_read_before_FEATURES_OK():
    config = bytearray(60)
    struct.pack_into("<Q", config, 0, 64)
    transport = fake.FakeTransport(2, 2, fake.VERSION_1 | 1 << 9 | 1 << 11, (16,), config)
    looked, read = [], transport.read_config

    def watch(*fields):
        looked.append(transport.status)
        return read(*fields)

    transport.read_config = watch
    disk = virtio.Block(transport)
    assert disk.write_cache in (False, True)
    disk.deinit()
    assert looked and all([status & mmio.FEATURES_OK for status in looked])


def test_of_all_64_features_only_those_are_taken_that_mean_something_here():
    everything = (1 << 64) - 1
    queue = fake.INDIRECT_DESC | fake.EVENT_IDX | fake.VERSION_1
    queue |= 1 << 33 | PACKED | 1 << 35 | 1 << 36 | 1 << 40
    config = bytearray(60)
    struct.pack_into("<Q4xI", config, 0, 64, 8)
    struct.pack_into("<I", config, 8, 4096)
    struct.pack_into("<I", config, 20, 512)
    struct.pack_into("<H", config, 34, 1)
    disk = sum([1 << bit for bit in (1, 2, 4, 5, 6, 9, 10, 11, 12, 13, 14)])
    net = sum([1 << bit for bit in (0, 1, 3, 5, 15, 16, 17, 18, 23)])
    frames = bytes(6) + struct.pack("<HHH", 1, 1, 1500)
    for kind, type_, own, common, config in (
        (virtio.Rng, 4, 0, queue, b""),
        (virtio.Block, 2, disk, queue, config),
        (virtio.Net, 1, net, queue & ~(1 << 35), frames),
    ):
        transport = fake.FakeTransport(type_, 2, everything, (64, 64, 64), config)
        driver = kind(transport)
        low, high = transport.device.driver_features
        taken = high << 32 | low
        assert taken == own | common, (kind, hex(taken ^ (own | common)))
        driver.deinit()


def test_a_feature_is_not_taken_without_the_one_that_it_requires():
    CTRL_VQ, CTRL_RX, CTRL_MAC_ADDR = 1 << 17, 1 << 18, 1 << 23
    config = bytes(6) + struct.pack("<HHH", 1, 1, 1500)
    for offered, taken in (
        (CTRL_RX | CTRL_MAC_ADDR, 0),
        (CTRL_RX | CTRL_VQ, CTRL_RX | CTRL_VQ),
    ):
        features = fake.VERSION_1 | offered
        net = virtio.Net(fake.FakeTransport(1, 2, features, (64, 64, 4), config))
        assert net.features & (CTRL_RX | CTRL_VQ | CTRL_MAC_ADDR) == taken
        net.deinit()


def test_a_field_without_its_feature_is_not_read():
    config = bytearray(60)
    struct.pack_into("<Q12xI", config, 0, 64, 4096)  # a block size that is not offered
    disk = virtio.Block(fake.FakeTransport(2, 2, fake.VERSION_1, (16,), config))
    assert disk.block_size == 512 and disk.geometry is None and disk.num_queues == 1
    disk.deinit()


def test_a_disk_that_says_it_has_no_queue_is_broken():
    config = bytearray(60)
    struct.pack_into("<Q26xH", config, 0, 64, 0)
    features = fake.VERSION_1 | 1 << 12  # VIRTIO_BLK_F_MQ
    transport = fake.FakeTransport(2, 2, features, (16,), config)
    raises(DeviceFault, virtio.Block, transport)
    assert not [disk for disk in virtio.opened() if disk.transport is transport]
    struct.pack_into("<H", config, 34, 1)
    virtio.Block(fake.FakeTransport(2, 2, features, (16,), config)).deinit()


# Registers


def test_the_registers_are_those_of_the_table_and_all_of_32_bits():
    for name, layout in mmio._REGISTERS.items():
        assert layout == DIRECTIONS[name][0] | uctypes.UINT32, name


def test_no_register_is_read_that_is_for_writing_nor_the_other_way_round():
    for transport, log in lives():
        assert len(log) > 50
        for way, name, _ in log:
            assert way in DIRECTIONS[name][1], (way, name)


def test_the_place_of_a_queue_is_not_touched_while_it_is_ready():
    for transport, log in lives():
        if transport.legacy:
            continue
        ready = False
        for way, name, value in log:
            if (way, name) == ("W", "QueueReady"):
                ready = bool(value)
            elif (way, name, value) == ("W", "Status", 0):
                ready = False
            assert not (ready and name in PLACE), name


def test_a_queue_that_was_stopped_is_read_back():
    transport, log = watched()
    queue = VirtQueue(transport, 0, 8)
    del log[:]
    queue.deinit()
    at = log.index(("W", "QueueReady", 0))
    assert ("R", "QueueReady", 0) in log[at:]


def test_a_queue_that_does_not_stop_is_a_fault_and_its_memory_is_kept():
    transport = fake.FakeTransport()
    queue = VirtQueue(transport, 0, 8)
    read = fake.FakeDevice.read_QueueReady
    fake.FakeDevice.read_QueueReady = lambda device: 1
    try:
        raises(DeviceFault, queue.deinit)
    finally:
        fake.FakeDevice.read_QueueReady = read
    assert queue._shared
    transport.fail()
    queue.deinit()
    assert not queue._shared


def test_a_queue_is_reset_when_it_reads_back_0_and_not_before():
    transport = fake.FakeTransport()
    queue = VirtQueue(transport, 0, 8)
    transport.features |= 1 << 40
    reads = []

    def read(device):
        reads.append(device.selected["QueueReset"])
        if len(reads) == 3:
            device.selected["QueueReset"] = device.selected["QueueReady"] = 0
        return device.selected["QueueReset"]

    fake.FakeDevice.read_QueueReset = read
    try:
        assert transport.queue_reset(0)
    finally:
        del fake.FakeDevice.read_QueueReset
    assert reads == [1, 1, 1]
    queue.deinit()


def test_bits_of_the_interrupt_that_mean_nothing_are_ignored_and_not_acknowledged():
    transport = fake.FakeTransport()
    reasons = []
    transport.listen(reasons.append)
    for status in (0xFFFFFFF5, 4, 2):
        transport.device.InterruptStatus = status
        transport._serve(None)
    assert reasons == [1, 2] and transport.device.acknowledged == [1, 2]


def test_an_empty_slot_is_left_alone():
    seen = []

    class Structures:
        UINT32, NATIVE = uctypes.UINT32, uctypes.NATIVE

        @staticmethod
        def struct(base, layout, order):
            return Watched(uctypes.struct(base, layout, order), seen)

    before, mmio.uctypes = mmio.uctypes, Structures
    try:
        for memory, names in (
            (fake.slot(device_type=0), ["MagicValue", "Version", "DeviceID"]),
            (fake.slot(magic=b"none"), ["MagicValue"]),
            (fake.slot(version=3), ["MagicValue", "Version"]),
        ):
            del seen[:]
            raises(virtio.VirtioError, virtio.MmioTransport, uctypes.addressof(memory))
            assert [name for n, (_, name, _) in enumerate(seen) if name not in names[:n]] == names
    finally:
        mmio.uctypes = before


def test_a_field_of_the_configuration_is_accessed_by_its_width():
    transport = fake.FakeTransport(config=bytes(range(32)))
    seen = []

    class Memory:
        def __init__(self, width, memory):
            self.width, self.memory = width, memory

        def __getitem__(self, address):
            seen.append((address - transport.base - 0x100, self.width))
            return self.memory[address]

        def __setitem__(self, address, value):
            seen.append((address - transport.base - 0x100, self.width))
            self.memory[address] = value

    before = mmio.mem8, mmio.mem16, mmio.mem32
    mmio.mem8, mmio.mem16, mmio.mem32 = [Memory(1 << n, before[n]) for n in range(3)]
    try:
        transport.read_config((1, 1), (2, 2), (4, 4), (8, 8))
        for field in ((1, 1), (2, 2), (4, 4), (8, 8)):
            transport.write_config(*field, 1)
    finally:
        mmio.mem8, mmio.mem16, mmio.mem32 = before
    assert seen == [(1, 1), (2, 2), (4, 4), (8, 4), (12, 4)] * 2


# Queues


def test_every_part_of_a_queue_is_aligned():
    for features, kind, alignments in (
        (0, VirtQueue, (16, 2, 4)),
        (PACKED, virtio.PackedVirtQueue, (16, 4, 4)),
    ):
        for size in (1, 2, 4, 8, 64):
            transport = fake.FakeTransport(features=fake.VERSION_1 | features, queue_max=(64,))
            queues = [kind(transport, 0, size)]
            registers = transport.device.queues[0]
            for name, alignment in zip(("Desc", "Driver", "Device"), alignments):
                assert registers["Queue%sLow" % name] % alignment == 0, (size, name)
            queues[0].deinit()


def test_indirect_tables_only_where_they_were_negotiated():
    for ring in (0, PACKED):
        transport = fake.FakeTransport(features=fake.VERSION_1 | ring)
        device = Nothing(transport)
        device.queues[0].add([b"1", b"2"], [bytearray(1)])
        half = (fake.FakePackedQueue if ring else fake.FakeQueue)(transport)
        for n in range(3):
            flags = mem16[half.desc + 16 * n + (14 if ring else 12)]
            assert not flags & 4
        device.deinit()


def test_an_entry_of_a_packed_table_has_no_flag_but_WRITE():
    features = fake.VERSION_1 | PACKED | fake.INDIRECT_DESC
    device = Nothing(fake.FakeTransport(features=features))
    device.queues[0].add([b"1", b"2"], [bytearray(1)])
    half = fake.FakePackedQueue(device.transport)
    table, length = mem32[half.desc] & 0xFFFFFFFF, mem32[half.desc + 8]
    assert length == 48
    assert [mem16[table + 16 * n + 14] for n in range(3)] == [0, 0, fake.WRITE]
    device.deinit()


def test_the_first_descriptor_of_a_packed_chain_is_made_available_last():
    """By the order of the stores: a watcher sees the others before the head."""
    device = Nothing(fake.FakeTransport(features=fake.VERSION_1 | PACKED))
    queue = device.queues[0]
    half = fake.FakePackedQueue(device.transport)

    publish, seen = packed.publish_packed, []

    def watch(words, at, flags):
        seen.append([half.flags(n) & (fake.AVAIL | fake.USED) for n in range(3)])
        return publish(words, at, flags)

    packed.publish_packed = watch
    try:
        queue.add([b"1", b"2", b"3"], [])
    finally:
        packed.publish_packed = publish
    assert seen == [[0, fake.AVAIL, fake.AVAIL]]
    device.deinit()


def test_the_flags_of_a_packed_chain_are_written_when_all_else_is():
    """While buffers are looked at, none of the descriptors that were filled is available yet."""
    device = Nothing(fake.FakeTransport(features=fake.VERSION_1 | PACKED))
    half = fake.FakePackedQueue(device.transport)
    check, seen = packed.checked_length, []

    def watch(buf, write):
        seen.append([half.flags(n) for n in range(3)])
        return check(buf, write)

    packed.checked_length = watch
    try:
        device.queues[0].add([b"1", b"2", b"3"], [])
    finally:
        packed.checked_length = check
    assert seen == [[0, 0, 0]] * 3
    device.deinit()


def test_a_chain_that_does_not_fit_leaves_no_descriptor_available():
    for indirect in (0, fake.INDIRECT_DESC):
        device = Nothing(fake.FakeTransport(features=fake.VERSION_1 | PACKED | indirect))
        queue = device.queues[0]
        for _ in range(6):
            queue.add([b"x"], [])
        half = fake.FakePackedQueue(device.transport)
        raises(virtio.QueueFull, queue.add, [b"x"] * 7, [])
        assert [half.flags(n) for n in range(6, 8)] == [0, 0]
        device.deinit()


def test_the_flags_of_the_used_ring_are_0_at_the_start():
    from virtio.platform import dma

    # Memory that was somebody's before, and not zero.
    piece = dma.alloc(8192)
    for i in range(len(piece)):
        piece[i] = 0xFF
    dma.free(piece)
    transport = fake.FakeTransport()
    queue = VirtQueue(transport, 0, 8)
    half = fake.FakeQueue(transport)
    assert mem16[half.used] == 0 and half.used_idx == half.avail_idx == half.avail_flags == 0
    queue.deinit()


def test_a_notification_without_a_reason_does_no_harm():
    for ring in (0, PACKED):
        transport = fake.FakeTransport(features=fake.VERSION_1 | ring)
        device = Nothing(transport)
        half = (fake.FakePackedQueue if ring else fake.FakeQueue)(transport)
        for _ in range(3):
            transport.device.interrupt()
        token = device.queues[0].add([b"x"], [bytearray(1)])
        transport.device.interrupt()
        assert not device.queues[0].can_pop()
        fake.answer(half, b"y")
        transport.device.interrupt()
        assert device.queues[0].pop_used(token) == 1
        device.deinit()


def test_without_event_indices_only_the_flag_counts_and_with_them_only_the_event():
    for event_idx in (False, True):
        queue = VirtQueue(fake.FakeTransport(), 0, 8, False, event_idx)
        half = fake.FakeQueue(queue._transport)
        for n, wanted in enumerate((True, False, True)):
            queue.kick()  # a decision, after which the range is what is added now
            mem16[half.used] = int(wanted) if event_idx else int(not wanted)
            # Of this chain, or of one long after it; without event indices the other way round.
            half.notify_at(n if wanted == event_idx else n + 50)
            queue.add([b"x"], [])
            assert queue.should_notify() == wanted, (event_idx, n)
        queue.deinit()


DMB = (0xF3BF, 0x8F5F)


def machine_code(function):
    """The halfwords of an assembler function: the third word of its object says where they are."""
    code = mem32[id(function) + 8] & 0xFFFFFFFE
    return [mem16[code + 2 * n] for n in range(24)]


def steps(function):
    """Its stores and loads of halfwords, and its barriers, up to its return."""
    code, found, at = machine_code(function), [], 0
    while at < len(code) and code[at] & 0xFF00 != 0xBD00:  # pop {…, pc}
        word = code[at]
        if (word, code[at + 1]) == DMB:
            found.append("dmb")
            at += 1
        elif word & 0xF800 == 0x8000:
            found.append("strh")
        elif word & 0xF800 == 0x8800:
            found.append("ldrh")
        elif word & 0xE000 == 0xE000 and word & 0x1800:
            at += 1  # another instruction of two halfwords
        at += 1
    return found


def test_the_barriers_stand_where_they_are_needed():
    """In the machine code, for no host shows by its behaviour that one is missing."""
    assert steps(processor.publish) == ["dmb", "strh", "dmb"]
    assert steps(processor.publish_packed) == ["dmb", "strh", "dmb"]
    assert steps(processor.used_idx) == ["dmb", "ldrh", "dmb"]
    assert steps(processor.packed_flags) == ["ldrh", "dmb"]
    assert steps(processor.barrier) == ["dmb"]


# Devices


def test_an_entropy_device_gets_nothing_to_read():
    transport = fake.FakeTransport()
    chains = []

    def work(idx):
        head, buffers = half.pop()
        chains.append([bool(writable) for _, _, writable in buffers])
        half.use(head, sum([length for _, length, _ in buffers]))

    rng = virtio.Rng(transport)
    half = fake.FakeQueue(transport)
    transport.device.on_notify = work
    rng.read(5)
    rng.readinto(bytearray(500))
    assert len(chains) == 2 and all([all(chain) for chain in chains])
    rng.deinit()


def test_the_disk_may_have_no_segments_to_discard():
    F_DISCARD, F_WRITE_ZEROES = 1 << 13, 1 << 14
    config = bytearray(60)
    struct.pack_into("<Q", config, 0, 64)
    for at in (36, 48):
        struct.pack_into("<II", config, at, 1000, 0)  # sectors, segments
    features = fake.VERSION_1 | F_DISCARD | F_WRITE_ZEROES
    transport = fake.FakeTransport(2, 2, features, (16,), config)
    disk = virtio.Block(transport)
    raises(Unsupported, disk.discard, 0, 8)
    raises(Unsupported, disk.write_zeroes, 0, 8)
    assert transport.device.notified == []
    disk.deinit()


def test_a_discard_has_one_segment():
    config = bytearray(60)
    struct.pack_into("<Q", config, 0, 4096)
    struct.pack_into("<II", config, 36, 100, 7)  # sectors, segments
    transport = fake.FakeTransport(2, 2, fake.VERSION_1 | 1 << 13, (16,), config)
    sizes = []

    def work(idx):
        head, buffers = half.pop()
        sizes.append(len(fake.readable(buffers)) - 16)
        uctypes.bytearray_at(buffers[-1][0], 1)[0] = 0
        half.use(head, 1)

    disk = virtio.Block(transport)
    half = fake.FakeQueue(transport)
    transport.device.on_notify = work
    disk.discard(0, 1000)
    assert sizes == [16] * 10
    disk.deinit()


OURS = b"\x02\0\0\0\0\x01"


def wire(features, mtu=1500):
    config = OURS + struct.pack("<HHH", 1, 1, mtu)
    return virtio.Net(fake.FakeTransport(1, 2, fake.VERSION_1 | features, (64, 64, 4), config))


def test_the_address_is_the_devices():
    net = wire(1 << 5)
    assert net.mac == OURS
    net.deinit()


def test_a_frame_longer_than_the_mtu_is_refused():
    net = wire(1 << 3 | 1 << 5, mtu=1000)
    net.send(bytes(1000 + 14))
    raises(virtio.InvalidParam, net.send, bytes(1000 + 14 + 4 + 1))
    net.deinit()


def test_no_command_goes_out_whose_feature_was_not_negotiated():
    CTRL_VQ = 1 << 17
    net = wire(CTRL_VQ)
    control = fake.FakeQueue(net.transport, 2)
    net.timeout_ms = 20
    raises(Unsupported, net.promiscuous, True)
    raises(Unsupported, net.all_multicast, True)
    raises(Unsupported, net.filter, [OURS])
    raises(Unsupported, net.set_mac, OURS)
    assert not control.waiting
    net.deinit()


def test_a_legacy_device_gets_the_layout_feature_accepted_by_every_driver():
    ANY_LAYOUT = 1 << 27
    config = bytearray(60)
    struct.pack_into("<Q", config, 0, 64)
    for kind, type_, config in ((virtio.Rng, 4, b""), (virtio.Block, 2, config)):
        for offered in (0, ANY_LAYOUT):
            transport = fake.FakeTransport(type_, 1, offered | 1 << 30, (64,), config)
            driver = kind(transport)
            assert transport.device.driver_features == [offered, 0]
            driver.deinit()
    # Of a modern device the bit is another one, or nothing.
    driver = virtio.Rng(fake.FakeTransport(features=fake.VERSION_1 | ANY_LAYOUT))
    assert driver.features == fake.VERSION_1
    driver.deinit()


def test_a_legacy_device_without_the_layout_feature_gets_commands_in_parts():
    commands, frames = [], bytes(6) + struct.pack("<HHH", 1, 1, 1500)
    transport = fake.FakeTransport(1, 1, 1 << 5 | 1 << 17 | 1 << 18, (64, 64, 4), frames)
    net = virtio.Net(transport)
    control = fake.FakeQueue(transport, 2)

    def obey(idx):
        if idx == 2:
            token, buffers = control.pop()
            commands.append([length for _, length, _ in buffers])
            uctypes.bytearray_at(buffers[-1][0], 1)[0] = 0
            control.use(token, 1)

    transport.device.on_notify = obey
    net.promiscuous(True)
    net.filter([OURS], [OURS, OURS])
    assert commands == [[2, 1, 1], [2, 4 + 6, 4 + 12, 1]]
    net.deinit()


def test_lengths_of_what_legacy_devices_have_read_do_no_harm():
    """Of a frame that was sent, and of a disk's request."""
    net = virtio.Net(
        fake.FakeTransport(1, 1, 1 << 5, (64, 64), bytes(6) + struct.pack("<HHH", 1, 1, 1500))
    )
    sent = fake.FakeQueue(net.transport, 1)
    for _ in range(200):
        net.send(bytes(60))
        token, buffers = sent.pop()
        sent.use(token, sum([length for _, length, _ in buffers]))
    net.deinit()
    config = bytearray(60)
    struct.pack_into("<Q", config, 0, 64)
    disk = virtio.Block(fake.FakeTransport(2, 1, 0, (16,), config))
    half = fake.FakeQueue(disk.transport)

    def work(idx):
        head, buffers = half.pop()
        uctypes.bytearray_at(buffers[-1][0], 1)[0] = 0
        half.use(head, sum([length for _, length, _ in buffers]))

    disk.transport.device.on_notify = work
    disk.writeblocks(1, bytes(512))
    disk.readblocks(1, bytearray(512))
    disk.readv(1, [bytearray(512), bytearray(512)])
    disk.deinit()


def test_without_STATUS_the_link_is_active():
    config = OURS + struct.pack("<HHH", 0, 1, 1500)
    for features, link in ((0, True), (1 << 16, False)):
        net = virtio.Net(fake.FakeTransport(1, 2, fake.VERSION_1 | features, (64, 64), config))
        assert net.link == link
        net.deinit()


def test_a_disk_that_can_flush_has_a_cache():
    config = bytearray(60)
    struct.pack_into("<Q", config, 0, 64)
    for features in (0, 1 << 9):
        disk = virtio.Block(fake.FakeTransport(2, 2, fake.VERSION_1 | features, (16,), config))
        assert disk.write_cache == bool(features)
        disk.deinit()


def test_the_header_of_a_sent_frame_is_zero():
    for features in (0, 1 << 15):
        net = wire(features)
        sent = fake.FakeQueue(net.transport, 1)
        for n in range(3):
            net.send(bytes([0xFF]) * 60)
            token, buffers = sent.pop()
            assert fake.readable(buffers)[:12] == bytes(12)
            sent.use(token, 0)
        net.deinit()
