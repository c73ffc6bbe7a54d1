"""A virtio device over RAM that a test steers, for what a real one will not do.

`FakeTransport` is the MMIO transport itself with another register file beneath it, so that
everything above the registers is the code under test. `FakeQueue` is the device's half of a
split queue: it reads and writes the rings at the addresses that the driver gave, and knows
nothing of the driver's private state.
"""

import uctypes
from machine import mem8, mem16, mem32
from virtio import MmioTransport

INDIRECT_DESC = 1 << 28
EVENT_IDX = 1 << 29
VERSION_1 = 1 << 32

NEXT, WRITE, INDIRECT = 1, 2, 4
AVAIL, USED = 0x80, 0x8000  # flags of a packed descriptor


class FakeDevice:
    """The registers' contents, and what happens when they are read and written."""

    def __init__(self, version, features, queue_max):
        self.features = features
        self.driver_features = [0, 0]
        self.queue_max = queue_max
        self.queues = {}  # what the driver wrote to the registers of each queue
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
            self.status = self.sticky_status

    def write_QueueNotify(self, value):
        self.notified.append(value)
        if self.on_notify:
            self.on_notify(value)

    def write_QueuePFN(self, value):
        self.selected["QueuePFN"] = value
        if not value and self.resets_on_unset:
            self.write_Status(0)

    def write_InterruptACK(self, value):
        self.acknowledged.append(value)
        self.InterruptStatus &= ~value


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


class FakeTransport(MmioTransport):
    """A transport whose device is in the test's hands, as `device`."""

    def __init__(self, device_type=4, version=2, features=VERSION_1, queue_max=(8,), config=b""):
        self.memory = slot(device_type, version, config)
        super().__init__(uctypes.addressof(self.memory))
        self.device = FakeDevice(version, features, queue_max)
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
    memory[0x100 : 0x100 + len(config)] = config
    return memory


def answer(queue, data=b""):
    """What an honest device does: take the next chain, fill its writable part, use it."""
    token, buffers = queue.pop()
    written = 0
    for address, length, writable in buffers:
        if writable:
            part = data[written : written + length]
            uctypes.bytearray_at(address, len(part))[:] = part
            written += len(part)
    queue.use(token, written)
    return token


def readable(buffers):
    """The bytes of a chain's readable part."""
    return b"".join([bytes(uctypes.bytearray_at(a, n)) for a, n, w in buffers if not w])


class FakeQueue:
    """The device's half of a split queue."""

    def __init__(self, transport, idx=0):
        registers = transport.device.queues[idx]
        self.size = registers["QueueNum"]
        if transport.legacy:
            # Section 2.7.2: one area in pages, the used ring at the next page boundary.
            self.desc = registers["QueuePFN"] * 4096
            self.avail = self.desc + 16 * self.size
            self.used = (self.avail + 6 + 2 * self.size + 4095) & ~4095
        else:
            self.desc = registers["QueueDescLow"]
            self.avail = registers["QueueDriverLow"]
            self.used = registers["QueueDeviceLow"]
        self.seen = 0

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
        mem16[self.used + 2] = value & 0xFFFF

    def notify_always(self):
        """Without event indices, that is."""
        mem16[self.used] = 0

    def notify_never(self):
        mem16[self.used] = 1
        self.notify_at(self.avail_idx - 1)

    def notify_at(self, idx):
        mem16[self.used + 4 + 8 * self.size] = idx & 0xFFFF

    def scribble(self):
        """Overwrite what only the driver is to write, but for the index that the device goes by."""
        # range() of MicroPython cannot hold addresses: its items have 30 bits.
        for offset in range(0, 16 * self.size, 4):
            mem32[self.desc + offset] = -1
        for offset in range(4, 4 + 2 * self.size, 2):
            mem16[self.avail + offset] = 0xFFFF

    @property
    def waiting(self):
        """True when there is a chain that was not taken yet."""
        return self.seen != self.avail_idx

    def is_indirect(self, token):
        return bool(self.descriptor(self.desc, token)[2] & INDIRECT)

    def pop(self):
        """The next available chain: its head, and (address, length, WRITE or 0) of each buffer."""
        assert self.waiting, "nothing available"
        head = mem16[self.avail + 4 + 2 * (self.seen % self.size)]
        self.seen = (self.seen + 1) & 0xFFFF
        return head, self.chain(head)

    def chain(self, head):
        table, at, buffers = self.desc, head, []
        while True:
            address, length, flags, following = self.descriptor(table, at)
            if flags & INDIRECT:
                table, at = address, 0
                continue
            buffers.append((address, length, flags & WRITE))
            if not flags & NEXT:
                return buffers
            at = following
            assert len(buffers) <= self.size, "a chain longer than the queue"

    def descriptor(self, table, at):
        entry = table + 16 * at
        assert mem32[entry + 4] == 0, "an address beyond 32 bits"
        return (
            mem32[entry] & 0xFFFFFFFF,
            mem32[entry + 8] & 0xFFFFFFFF,
            mem16[entry + 12],
            mem16[entry + 14],
        )

    def use(self, head, length, publish=True):
        """Put a chain into the used ring, whatever its id and length."""
        entry = self.used + 4 + 8 * (self.used_idx % self.size)
        mem32[entry] = head
        mem32[entry + 4] = length
        if publish:
            self.used_idx = self.used_idx + 1

    def use_up_to(self, tokens, length):
        """What IN_ORDER allows: one entry, of the last token, for all of them (2.7.14)."""
        self.use(tokens[-1], length, publish=False)
        self.used_idx = self.used_idx + len(tokens)


class FakePackedQueue:
    """The device's half of a packed queue (section 2.8)."""

    def __init__(self, transport, idx=0):
        registers = transport.device.queues[idx]
        self.size = registers["QueueNum"]
        self.desc = registers["QueueDescLow"]
        self.driver_event = registers["QueueDriverLow"]
        self.device_event = registers["QueueDeviceLow"]
        self.next_avail = self.next_used = 0  # places; bit `size` turns with the wrap counter
        self.places = {}  # how many of them each chain that was taken has
        self.indirect = {}

    def flags(self, at):
        return mem16[self.desc + 16 * (at % self.size) + 14]

    def wrap(self, at):
        return 0 if at & self.size else 1

    @property
    def waiting(self):
        flags, wrap = self.flags(self.next_avail), self.wrap(self.next_avail)
        return bool(flags & AVAIL) == bool(wrap) and bool(flags & USED) != bool(wrap)

    def is_indirect(self, token):
        return self.indirect[token]

    def pop(self):
        """The next available chain: its id, and (address, length, WRITE or 0) of each buffer."""
        assert self.waiting, "nothing available"
        buffers, count = [], 0
        while True:
            entry = self.desc + 16 * (self.next_avail % self.size)
            address, length, token, flags = descriptor(entry)
            self.next_avail = self.next_avail + 1 & 2 * self.size - 1
            count += 1
            if flags & INDIRECT:
                assert count == 1 and not flags & NEXT and length % 16 == 0
                table = address
                for offset in range(0, length, 16):
                    address, length, _, in_table = descriptor(table + offset)
                    buffers.append((address, length, in_table & WRITE))
                break
            buffers.append((address, length, flags & WRITE))
            if not flags & NEXT:
                break
            assert self.waiting, "a chain whose rest is not available"
        assert len(buffers) <= self.size, "a chain longer than the queue"
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

    def scribble(self):
        """Overwrite what the device is not to write, and may without giving itself away."""
        for offset in range(0, 16 * self.size, 16):
            for field in range(0, 12, 4):
                mem32[self.desc + offset + field] = -1

    def notify_always(self):
        mem32[self.device_event] = 0

    def notify_never(self):
        mem32[self.device_event] = 1 << 16

    def notify_at(self, place):
        mem32[self.device_event] = 2 << 16 | self.wrap(place) << 15 | place % self.size

    @property
    def wish(self):
        """What the driver wants of used-buffer notifications: (flags, wrap counter, place)."""
        event = mem32[self.driver_event]
        return event >> 16 & 3, event >> 15 & 1, event & 0x7FFF


def descriptor(entry):
    """Address, length, id and flags of a packed descriptor."""
    assert mem32[entry + 4] == 0, "an address beyond 32 bits"
    return (
        mem32[entry] & 0xFFFFFFFF,
        mem32[entry + 8] & 0xFFFFFFFF,
        mem16[entry + 12],
        mem16[entry + 14],
    )
