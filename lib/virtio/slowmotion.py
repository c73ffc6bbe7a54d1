"""A device in slow motion: over RAM, and stepped by hand, so that one prompt plays both halves.

    from virtio import VirtQueue, slowmotion

    transport = slowmotion.Transport()
    device = transport.device
    queue = VirtQueue(transport, 0, 4)
    token = queue.add([b"ping"], [bytearray(4)])
    head, buffers = device.take()
    device.use(head, slowmotion.fill(buffers, b"pong"))
    device.interrupt()

`Transport` is the MMIO transport itself with another register file beneath it, so all that is above
the registers is what runs on a real device. The device's half of a queue reads and writes the rings
at the addresses that the driver gave, and knows nothing of the driver's private notes. It does
nothing by itself, and whatever it is told, right or wrong.
"""

# SPDX-License-Identifier: MIT

from collections import namedtuple

import uctypes
from machine import mem16, mem32
from micropython import const

from .features import EVENT_IDX, RING_PACKED, VERSION_1
from .ring.base import live
from .transport.mmio import CONFIG_CHANGE, NEEDS_RESET, USED_BUFFER, MmioTransport

NEXT, WRITE, INDIRECT = 1, 2, 4  # flags of a descriptor
AVAIL, USED = 0x80, 0x8000  # and of one in a packed ring

_COUNTER = const(0xFFFF)  # indices run freely modulo 2^16

# As in queue.py.
# From layout.py, by `make layout`.

# The MMIO transport (4.2.2, 4.2.4).
_CONFIG = const(0x100)  # where the configuration space begins
_PAGE = const(4096)  # the unit in which a legacy device is told where a queue is

# The private array of a queue, in words. First what is one of a queue …
_AVAIL_IDX = const(6)  # what was last published as avail.idx; packed: as in packed.py
_USED_IDX = const(7)  # how far the device's answers were read
_IN_FLIGHT_COUNT = const(8)  # chains that the device owns

# End of layout.py.


class DriverFault(Exception):
    """The driver has broken the protocol, as far as the device can see that."""


Buffer = namedtuple("Buffer", ("address", "length", "writable"))


class Transport(MmioTransport):
    """A transport whose device is in your hands, as `device`.

    `device_type` is a number of section 5, `version` 1 for the legacy interface and 2 for the modern
    one, `features` what the device offers, `queue_max` the largest size of each of its queues, and
    `config` the bytes of its configuration space. It has no interrupt line, see `Device.interrupt`.
    """

    def __init__(self, device_type=4, version=2, features=VERSION_1, queue_max=(8,), config=b""):
        self.memory = slot(device_type, version, config)
        super().__init__(uctypes.addressof(self.memory))
        self.device = Device(self, version, features, queue_max)
        self._regs = Registers(self.device)

    def notify(self, idx):
        # The transport's own writes to the register's address, which nobody watches here.
        self._regs.QueueNotify = idx


def slot(device_type=4, version=2, config=b"", magic=b"virt"):
    """A slot's 512 bytes: what identifies it, and its configuration space."""
    memory = bytearray(0x200)
    memory[0:4] = magic
    memory[4] = version
    memory[8] = device_type
    memory[_CONFIG : _CONFIG + len(config)] = config
    return memory


class Registers:
    """What the transport sees: each access goes to the device."""

    def __init__(self, device):
        object.__setattr__(self, "device", device)

    def __getattr__(self, name):
        read = getattr(self.device, "read_" + name, None)
        return read() if read else getattr(self.device, name)

    def __setattr__(self, name, value):
        write = getattr(self.device, "write_" + name, None)
        if write:
            write(value)
        elif name.startswith("Queue") and name != "QueueSel":
            self.device.selected[name] = value
        else:
            setattr(self.device, name, value)


class Device:
    """The registers' contents, what happens as they are read and written, and the device's steps.

    `notified` and `acknowledged` log what the driver wrote there, `status_log` all that it wrote to
    the status. `on_notify`, where it is set, is called with the number of the queue: a device that
    answers by itself. The other attributes make a device that misbehaves.
    """

    def __init__(self, transport, version, features, queue_max):
        self.transport = transport
        self.features = features
        self.driver_features = [0, 0]
        self.queue_max = queue_max
        self.queues = {}  # what the driver wrote to the registers of each queue
        self.halves = {}  # of the queues, this device's
        self.notified = []
        self.on_notify = None
        self.acknowledged = []
        self.status_log = []
        self.sticky_status = 0  # status bits that a reset does not clear
        self.refused_status = 0  # status bits that do not stay set
        self.restless = 0  # by how much the configuration's generation moves with every look
        self.resets_on_unset = False  # as QEMU's legacy interface does
        self.DeviceFeaturesSel = self.DriverFeaturesSel = self.QueueSel = 0
        self.Version = version
        self.InterruptStatus = 0
        self.status = 0
        self.generation = 0

    # Steps

    def queue(self, idx=0):
        """The device's half of a queue that the driver has set up: `SplitHalf` or `PackedHalf`.

        Raises `KeyError` where the driver has not.
        """
        if idx not in self.halves:
            half = PackedHalf if self.took(RING_PACKED) else SplitHalf
            self.halves[idx] = half(self.transport, idx)
        return self.halves[idx]

    def take(self, idx=0):
        """Take the next available chain of a queue: (head, its buffers). `DriverFault` for none.

        The head is what `use` names it by: in a split queue the number of its first descriptor, in
        a packed one the buffer id. A buffer is (address, length, writable).
        """
        return self.queue(idx).take()

    def use(self, head, length, idx=0):
        """Hand a chain back, and say that *length* bytes were written to it; both may be wrong."""
        self.queue(idx).use(head, length)

    def interrupt(self, reasons=USED_BUFFER):
        """Interrupt, whether the driver wants it or not; `queue().wants_interrupt` says whether.

        The driver's handler runs at once, in here.
        """
        self.InterruptStatus |= reasons
        if self.transport._callback:
            self.transport._serve(None)

    def change_config(self, offset, data):
        """Overwrite bytes of the configuration space, and interrupt for that."""
        at = _CONFIG + offset
        self.transport.memory[at : at + len(data)] = data
        self.generation += 1
        self.interrupt(CONFIG_CHANGE)

    def ask_for_reset(self):
        """Say that nothing but a reset helps any more (section 2.1.2)."""
        self.status |= NEEDS_RESET
        self.interrupt(CONFIG_CHANGE)

    def start_at(self, place, idx=0):
        """Have the indices of a queue that is at rest stand at *place*, modulo 2^16, on both sides.

        The wrap is then a few chains away. A driver that is not this library's has its own
        notes, which it must set itself. In a packed queue the lower bits are the place in the ring,
        and the bit above them is 1 where the wrap counter is 0. `ValueError` with chains under way.
        """
        place &= _COUNTER
        half = self.queue(idx)
        drivers = self._drivers(idx)
        if half.waiting or [queue for queue in drivers if queue._state[_IN_FLIGHT_COUNT]]:
            raise ValueError("chains are under way")
        half.start_at(place)
        for queue in drivers:
            queue._state[_AVAIL_IDX] = queue._state[_USED_IDX] = place
            queue._tell()

    def took(self, feature):
        """Whether the driver has taken a feature."""
        taken = self.driver_features[1] << 32 | self.driver_features[0]
        return bool(taken & feature)

    def _drivers(self, idx):
        return [queue for queue in live(self.transport) if queue.idx == idx]

    # Registers

    @property
    def selected(self):
        return self.queues.setdefault(self.QueueSel, {})

    def read_DeviceFeatures(self):
        return self.features >> (32 * self.DeviceFeaturesSel) & 0xFFFFFFFF

    def read_Status(self):
        return self.status

    def read_QueueNumMax(self):
        return self.queue_max[self.QueueSel] if self.QueueSel < len(self.queue_max) else 0

    def read_QueueReady(self):
        return self.selected.get("QueueReady", 0)

    def read_QueuePFN(self):
        return self.selected.get("QueuePFN", 0)

    def read_ConfigGeneration(self):
        self.generation += self.restless
        return self.generation

    def write_DriverFeatures(self, value):
        self.driver_features[self.DriverFeaturesSel] = value

    def write_Status(self, value):
        self.status_log.append(value)
        if value:
            self.status = value & ~self.refused_status
        else:
            self.queues.clear()
            self.halves.clear()
            self.status = self.sticky_status

    def write_QueueNotify(self, value):
        self.notified.append(value)
        if self.on_notify:
            self.on_notify(value)

    def write_QueueReady(self, value):
        self.selected["QueueReady"] = value
        self.halves.pop(self.QueueSel, None)  # one of before the last set-up

    def write_QueuePFN(self, value):
        self.selected["QueuePFN"] = value
        self.halves.pop(self.QueueSel, None)
        if not value and self.resets_on_unset:
            self.write_Status(0)

    def write_InterruptACK(self, value):
        self.acknowledged.append(value)
        self.InterruptStatus &= ~value


# Buffers


def readable(buffers):
    """The bytes of a chain that are for the device to read."""
    return b"".join([bytes(uctypes.bytearray_at(a, n)) for a, n, w in buffers if not w])


def fill(buffers, data):
    """Write *data* to the part of a chain that is the device's to write; returns how many bytes."""
    written = 0
    for address, length, writable in buffers:
        if writable:
            part = data[written : written + length]
            uctypes.bytearray_at(address, len(part))[:] = part
            written += len(part)
    return written


def answer(half, data=b""):
    """What an honest device does: take the next chain, fill its writable part, use it.

    Returns its head.
    """
    head, buffers = half.take()
    half.use(head, fill(buffers, data))
    return head


# Queues


class SplitHalf:
    """The device's half of a split queue (section 2.7)."""

    def __init__(self, transport, idx=0):
        self.device = transport.device
        registers = self.device.queues[idx]
        self.size = registers["QueueNum"]
        if transport.legacy:
            # Section 2.7.2: one area in pages, the used ring at the next page boundary.
            self.desc = registers["QueuePFN"] * _PAGE
            self.avail = self.desc + 16 * self.size
            self.used = (self.avail + 6 + 2 * self.size + _PAGE - 1) & -_PAGE
        else:
            self.desc = registers["QueueDescLow"]
            self.avail = registers["QueueDriverLow"]
            self.used = registers["QueueDeviceLow"]
        self.seen = 0  # the index up to which chains were taken
        self.told = 0  # used.idx when `wants_interrupt` was last looked at

    @property
    def avail_idx(self):
        return mem16[self.avail + 2]

    @property
    def avail_flags(self):
        return mem16[self.avail]

    @property
    def used_event(self):
        return mem16[self.avail + 4 + 2 * self.size]

    @property
    def used_idx(self):
        return mem16[self.used + 2]

    @used_idx.setter
    def used_idx(self, value):
        mem16[self.used + 2] = value & _COUNTER

    @property
    def wants_interrupt(self):
        """Whether the driver wants one for what was used since this was last asked (2.7.7)."""
        before, self.told = self.told, self.used_idx
        if not self.device.took(EVENT_IDX):
            return not self.avail_flags & 1
        used = self.told - before & _COUNTER
        return (self.told - self.used_event - 1) & _COUNTER < used

    def notify_always(self):
        """Ask to be notified of every chain; without event indices, that is."""
        mem16[self.used] = 0

    def notify_never(self):
        """Ask not to be notified."""
        mem16[self.used] = 1
        self.notify_at(self.avail_idx - 1)

    def notify_at(self, idx):
        """Ask to be notified when the driver has filled the place of that index (2.7.10)."""
        mem16[self.used + 4 + 8 * self.size] = idx & _COUNTER

    def notify_next(self):
        """Ask to be notified of the next chain that was not taken yet, by its index."""
        self.notify_at(self.seen)

    def start_at(self, idx):
        """See `Device.start_at`."""
        self.seen = self.told = self.used_idx = idx
        mem16[self.avail + 2] = idx
        self.notify_at(idx)

    def scribble(self):
        """Overwrite what only the driver is to write, but for the index that the device goes by."""
        # range() of MicroPython cannot hold addresses: its items have 30 bits.
        for offset in range(0, 16 * self.size, 4):
            mem32[self.desc + offset] = -1
        for offset in range(4, 4 + 2 * self.size, 2):
            mem16[self.avail + offset] = _COUNTER

    @property
    def waiting(self):
        """True when there is a chain that was not taken yet."""
        return self.seen != self.avail_idx

    def is_indirect(self, token):
        return bool(self.descriptor(self.desc, token)[2] & INDIRECT)

    def take(self):
        """See `Device.take`."""
        _insist(self.waiting, "nothing available")
        _insist(self.avail_idx - self.seen & _COUNTER <= self.size, "avail.idx is far ahead")
        head = mem16[self.avail + 4 + 2 * (self.seen % self.size)]
        self.seen = (self.seen + 1) & _COUNTER
        return head, self.chain(head)

    def chain(self, head):
        table, room, at, buffers = self.desc, self.size, head, []
        while True:
            _insist(at < room, "descriptor %d of %d" % (at, room))
            address, length, flags, following = self.descriptor(table, at)
            if flags & INDIRECT:
                _insist(table == self.desc and not flags & NEXT, "INDIRECT with NEXT, or twice")
                _insist(length and length % 16 == 0, "a table of %d bytes" % length)
                table, room, at = address, length // 16, 0
                continue
            _add_buffer(buffers, address, length, flags)
            if not flags & NEXT:
                return buffers
            at = following
            _insist(len(buffers) < self.size, "a chain longer than the queue")

    def descriptor(self, table, at):
        return _words(table + 16 * at)

    def use(self, head, length, publish=True):
        """Put a chain into the used ring, whatever its id and length; in the index, to *publish* it."""
        entry = self.used + 4 + 8 * (self.used_idx % self.size)
        mem32[entry] = head
        mem32[entry + 4] = length
        if publish:
            self.used_idx = self.used_idx + 1

    def use_up_to(self, tokens, length):
        """What IN_ORDER allows: one entry, of the last token, for all of them (2.7.14)."""
        self.use(tokens[-1], length, publish=False)
        self.used_idx = self.used_idx + len(tokens)


class PackedHalf:
    """The device's half of a packed queue (section 2.8)."""

    def __init__(self, transport, idx=0):
        registers = transport.device.queues[idx]
        self.size = registers["QueueNum"]
        self.desc = registers["QueueDescLow"]
        self.driver_event = registers["QueueDriverLow"]
        self.device_event = registers["QueueDeviceLow"]
        self.next_avail = self.next_used = 0  # places; bit `size` turns with the wrap counter
        self.told = 0  # next_used when `wants_interrupt` was last looked at
        self.places = {}  # how many of them each chain that was taken has
        self.indirect = {}

    def flags(self, at):
        return mem16[self.desc + 16 * (at % self.size) + 14]

    def wrap(self, at):
        return 0 if at & self.size else 1

    @property
    def waiting(self):
        """True when there is a chain that was not taken yet."""
        flags, wrap = self.flags(self.next_avail), self.wrap(self.next_avail)
        return bool(flags & AVAIL) == bool(wrap) and bool(flags & USED) != bool(wrap)

    def is_indirect(self, token):
        return self.indirect[token]

    def take(self):
        """See `Device.take`."""
        _insist(self.waiting, "nothing available")
        buffers, count = [], 0
        while True:
            entry = self.desc + 16 * (self.next_avail % self.size)
            address, length, token, flags = _words(entry)
            self.next_avail = self.next_avail + 1 & 2 * self.size - 1
            count += 1
            if flags & INDIRECT:
                _insist(count == 1 and not flags & NEXT, "INDIRECT in a chain")
                _insist(length and length % 16 == 0, "a table of %d bytes" % length)
                table = address
                for offset in range(0, length, 16):
                    address, length, _, in_table = _words(table + offset)
                    _add_buffer(buffers, address, length, in_table)
                break
            _add_buffer(buffers, address, length, flags)
            if not flags & NEXT:
                break
            _insist(self.waiting, "a chain whose rest is not available")
        _insist(len(buffers) <= self.size, "a chain longer than the queue")
        self.places[token] = count
        self.indirect[token] = bool(flags & INDIRECT)
        return token, buffers

    def use(self, token, length):
        """Write a used descriptor, whatever its id and length."""
        entry = self.desc + 16 * (self.next_used % self.size)
        mem16[entry + 12] = token & 0xFFFF
        mem32[entry + 8] = length
        mem16[entry + 14] = AVAIL | USED if self.wrap(self.next_used) else 0
        self.next_used = self.next_used + self.places.pop(token, 1) & 2 * self.size - 1

    def use_up_to(self, tokens, length):
        """What IN_ORDER allows: one descriptor, of the last token, for all of them (2.8.23)."""
        self.places[tokens[-1]] = sum([self.places.pop(token) for token in tokens])
        self.use(tokens[-1], length)

    def start_at(self, place):
        """See `Device.start_at`."""
        self.next_avail = self.next_used = self.told = place & 2 * self.size - 1
        # As if all before had been used in this round, and the rest in the last one.
        for at in range(self.size):
            counter = self.wrap(place) ^ (at >= place % self.size)
            mem16[self.desc + 16 * at + 14] = AVAIL | USED if counter else 0

    def scribble(self):
        """Overwrite what the device is not to write, and may without giving itself away."""
        for offset in range(0, 16 * self.size, 16):
            for field in range(0, 12, 4):
                mem32[self.desc + offset + field] = -1

    def notify_always(self):
        """Ask to be notified of every chain."""
        mem32[self.device_event] = 0

    def notify_never(self):
        """Ask not to be notified."""
        mem32[self.device_event] = 1 << 16

    def notify_at(self, place):
        """Ask to be notified when the driver has filled that place (2.8.10)."""
        mem32[self.device_event] = 2 << 16 | self.wrap(place) << 15 | place % self.size

    def notify_next(self):
        """Ask to be notified of the next chain that was not taken yet, by its place."""
        self.notify_at(self.next_avail)

    @property
    def wish(self):
        """What the driver wants of used-buffer notifications: (flags, wrap counter, place)."""
        event = mem32[self.driver_event]
        return event >> 16 & 3, event >> 15 & 1, event & 0x7FFF

    @property
    def wants_interrupt(self):
        """Whether the driver wants one for what was used since this was last asked (2.8.10)."""
        before, self.told = self.told, self.next_used
        flags, counter, place = self.wish
        if flags != 2:
            return flags == 0
        turn = 2 * self.size - 1
        at = place if counter else place + self.size
        return (self.told - at - 1) & turn < (self.told - before & turn)


def _add_buffer(buffers, address, length, flags):
    writable = flags & WRITE
    _insist(length, "an empty buffer")
    _insist(writable or not buffers or not buffers[-1].writable, "WRITE before what is to be read")
    buffers.append(Buffer(address, length, writable))


def _insist(right, why):
    if not right:
        raise DriverFault(why)


def _words(entry):
    """The four fields of a descriptor: address, length, and two of 16 bits."""
    _insist(mem32[entry + 4] == 0, "an address beyond 32 bits")
    return (
        mem32[entry] & 0xFFFFFFFF,
        mem32[entry + 8] & 0xFFFFFFFF,
        mem16[entry + 12],
        mem16[entry + 14],
    )
