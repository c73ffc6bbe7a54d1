# SPDX-License-Identifier: MIT
"""Drivers that break the specification's rules, one at a time, to see what a device makes of it.

On the board, for a device that nobody drives (virtio.scan() lists them):

    import villain
    villain.report()                       # all that QEMU is known to survive
    villain.commit("loop", transport)      # one of them

`make villain` runs all from the host, with a QEMU that may end. Each misdeed is a function of a `Rig`,
a device brought up with a queue of eight; it is followed by a look at the device, a reset, and a right
request. Section numbers are those of virtio 1.2.
"""

from struct import pack
from time import sleep_ms

import virtio
from machine import mem8, mem32
from micropython import const
from uctypes import addressof

NEXT, WRITE, INDIRECT = 1, 2, 4
AVAIL, USED = 0x80, 0x8000
INDIRECT_DESC, VERSION_1, PACKED = 1 << 28, 1 << 32, 1 << 34
_BLOCK, _ENTROPY = const(2), const(4)
_NOWHERE = const(0xF0000000)  # no RAM and no device
_PATIENCE_MS = const(50)

MISDEEDS = []  # (name, section, rule, device type, kind, function)


def misdeed(section, rule, device=_ENTROPY, kind="split"):
    """Register one. *kind* is "split", "packed", or "bare": before the device was brought up."""

    def register(function):
        MISDEEDS.append((function.__name__, section, rule, device, kind, function))
        return function

    return register


class Rig:
    """A device, brought up rightly, and its first queue with the rings as structures."""

    def __init__(self, transport, packed=False, features_ok=True, driver_ok=True):
        self.transport = transport
        transport.reset()
        transport.add_status(1 | 2)
        if transport.legacy:
            transport.write_driver_features(0)
        else:
            transport.write_driver_features(VERSION_1 | (PACKED if packed else 0))
            if features_ok:
                transport.add_status(8)
        kind = virtio.PackedVirtQueue if packed else virtio.VirtQueue
        self.queue = kind(transport, 0, 8)
        self.rings = self.queue.rings()
        self.data = bytearray(512)
        if driver_ok:
            transport.add_status(4)

    def describe(self, n, address=None, length=512, flags=WRITE, following=0):
        entry = self.rings.desc[n]
        entry.addr = addressof(self.data) if address is None else address
        entry.len, entry.flags = length, flags
        if hasattr(self.rings, "avail"):
            entry.next = following
        else:
            entry.id = following

    def offer(self, head=0, idx=1):
        """Put a head into the available ring, move the index, ring the bell."""
        self.rings.avail.ring[0] = head
        self.rings.avail.idx = idx
        self.transport.notify(0)

    def table(self, *entries):
        """An indirect table of (length, flags, next)."""
        self.memory = b"".join([pack("<QIHH", addressof(self.data), *entry) for entry in entries])
        return addressof(self.memory)

    def request(self, kind, sector, data, head=16, flags=WRITE, status=1):
        """A disk's request, by hand: its status byte is what `answer` gives."""
        self.header, self.answer = pack("<IIQ", kind, 0, sector), bytearray(b"\xff")
        self.describe(0, addressof(self.header), head, NEXT, 1)
        self.describe(1, addressof(self.data), data, NEXT | flags, 2)
        self.describe(2, addressof(self.answer), 1, WRITE if status else 0)
        self.offer()


# Status and features, chapters 2 and 3


@misdeed("2.1.1", "clears a bit of the status")
def status_bit_cleared(rig):
    rig.transport._regs.Status = rig.transport.status & ~2


@misdeed("2.2.1", "takes a feature that is not offered", kind="bare")
def unoffered_feature(transport):
    transport.reset()
    transport.add_status(1 | 2)
    offered = transport.read_device_features()
    transport.write_driver_features(offered | 1 << 22)
    transport.add_status(8)


@misdeed("3.1.1", "notifies before DRIVER_OK", kind="bare")
def early_bell(transport):
    rig = Rig(transport, driver_ok=False)
    rig.describe(0)
    rig.offer()
    return rig


@misdeed("3.1.1", "goes on without FEATURES_OK", kind="bare")
def no_features_ok(transport):
    rig = Rig(transport, features_ok=False)
    rig.describe(0)
    rig.offer()
    return rig


# The split ring, section 2.7


@misdeed("2.7.4.2", "has what is to be written before what is to be read")
def written_before_read(rig):
    rig.describe(0, flags=WRITE | NEXT, following=1)
    rig.describe(1, flags=0)
    rig.offer()


@misdeed("2.7.5.2", "adds a chain that loops")
def loop(rig):
    rig.describe(0, flags=WRITE | NEXT, following=0)
    rig.offer()


@misdeed("2.7.5.2", "adds a chain that leaves the table")
def next_out_of_range(rig):
    rig.describe(0, flags=WRITE | NEXT, following=1000)
    rig.offer()


@misdeed("2.7.5.3.1", "uses a table that was not negotiated")
def table_without_feature(rig):
    rig.describe(0, rig.table((64, WRITE, 0)), 16, INDIRECT)
    rig.offer()


@misdeed("2.7.5.3.1", "has a table in a table")
def table_in_table(rig):
    inner = rig.table((64, WRITE, 0))
    keep = rig.memory
    outer = pack("<QIHH", inner, 16, INDIRECT, 0)
    rig.outer = outer, keep
    rig.describe(0, addressof(outer), 16, INDIRECT)
    rig.offer()


@misdeed("2.7.5.3.1", "sets INDIRECT and NEXT together")
def table_and_next(rig):
    rig.describe(0, rig.table((64, WRITE, 0)), 16, INDIRECT | NEXT, 1)
    rig.describe(1)
    rig.offer()


@misdeed("2.7.5.3.1", "has a table of a size that is none")
def half_a_table(rig):
    rig.describe(0, rig.table((64, WRITE, 0)), 20, INDIRECT)
    rig.offer()


@misdeed("2.7.5.3.1", "adds a chain longer than the queue")
def long_chain(rig):
    entries = [(4, WRITE | NEXT, n + 1) for n in range(31)] + [(4, WRITE, 0)]
    rig.describe(0, rig.table(*entries), 32 * 16, INDIRECT)
    rig.offer()


@misdeed("2.7.6", "offers a descriptor that is not there")
def head_out_of_range(rig):
    rig.describe(0)
    rig.offer(head=1000)


@misdeed("2.7.6", "adds a buffer of no bytes")
def empty_buffer(rig):
    rig.describe(0, length=0)
    rig.offer()


@misdeed("2.7.6", "adds a buffer where no RAM is")
def buffer_nowhere(rig):
    rig.describe(0, address=_NOWHERE)
    rig.offer()


@misdeed("2.7.6", "adds a buffer that is the device's own registers")
def buffer_of_registers(rig):
    rig.describe(0, address=rig.transport.base + 0x100, length=64)
    rig.offer()


@misdeed("2.7.6.1", "has avail.idx go back")
def index_back(rig):
    rig.offer(idx=0xFFFF)


@misdeed("2.7.6.1", "has avail.idx jump")
def index_jump(rig):
    rig.offer(idx=500)


@misdeed("2.7.1", "has a queue where no RAM is", kind="bare")
def queue_nowhere(transport):
    transport.reset()
    transport.add_status(1 | 2)
    transport.write_driver_features(0 if transport.legacy else VERSION_1)
    transport.add_status(0 if transport.legacy else 8)
    transport.queue_set(0, 8, _NOWHERE, _NOWHERE + 4096, _NOWHERE + 8192)
    transport.add_status(4)
    transport.notify(0)


# The packed ring, section 2.8


@misdeed("2.8.17", "adds a list that loops", kind="packed")
def packed_loop(rig):
    for n in range(8):
        rig.describe(n, flags=WRITE | NEXT | AVAIL)
    rig.transport.notify(0)


@misdeed("2.8.19", "sets INDIRECT and NEXT together", kind="packed")
def packed_table_and_next(rig):
    rig.describe(1, flags=WRITE | AVAIL)
    rig.describe(0, rig.table((64, WRITE, 0)), 16, INDIRECT | NEXT | AVAIL)
    rig.transport.notify(0)


@misdeed("2.8.19", "has a table of a size that is none", kind="packed")
def packed_half_a_table(rig):
    rig.describe(0, rig.table((64, WRITE, 0)), 20, INDIRECT | AVAIL)
    rig.transport.notify(0)


@misdeed("2.8.6", "has the wrong wrap counter", kind="packed")
def packed_wrap(rig):
    rig.describe(0, flags=WRITE | USED)
    rig.transport.notify(0)


# Registers, section 4.2.2.2


@misdeed("4.2.2.2", "reads a byte of a register")
def byte_of_register(rig):
    print("      read:", mem8[rig.transport.base + 0x70])


@misdeed("4.2.2.2", "reads what is for writing, writes what is for reading")
def wrong_direction(rig):
    print("      read:", mem32[rig.transport.base + 0x50])
    mem32[rig.transport.base + 0x08] = 99


@misdeed("4.2.2.2", "accesses what the table does not have")
def no_register(rig):
    print("      read:", mem32[rig.transport.base + 0xF0])
    mem32[rig.transport.base + 0xF0] = 1


@misdeed("4.2.2.2", "asks for a queue larger than QueueNumMax", kind="bare")
def large_queue(transport):
    transport.reset()
    transport.add_status(1 | 2)
    transport.write_driver_features(0 if transport.legacy else VERSION_1)
    transport.add_status(0 if transport.legacy else 8)
    piece = virtio.platform.dma.alloc(65536, 4096)
    base = addressof(piece)
    transport.queue_set(0, 2048, base, base + 32768, base + 40960)
    transport.add_status(4)
    transport.notify(0)
    virtio.platform.dma.free(piece)


@misdeed("4.2.4", "tells a legacy queue an alignment of 0 and of 3", kind="bare")
def alignment_of_nothing(transport):
    transport.reset()
    transport.add_status(1 | 2)
    regs = transport._regs
    regs.QueueSel, regs.QueueNum, regs.GuestPageSize = 0, 8, 0
    for regs.QueueAlign in (0, 3):
        regs.QueuePFN = 0x40000


@misdeed("4.2.2.2", "moves a queue that is ready")
def queue_moved(rig):
    if not rig.transport.legacy:
        rig.transport._regs.QueueDescLow = _NOWHERE
    rig.describe(0)
    rig.offer()


@misdeed("4.2.2.2", "acknowledges interrupts that there are not")
def acknowledge_nothing(rig):
    rig.transport._regs.InterruptACK = 0xFFFFFFFF


@misdeed("4.2.2.2", "notifies a queue that there is not")
def bell_of_no_queue(rig):
    rig.transport.notify(77)
    rig.transport.notify(1 << 20)


# Devices, chapter 5


@misdeed("5.2.6.1", "reads beyond the capacity", _BLOCK)
def beyond_capacity(rig):
    rig.request(0, 1 << 40, 512)


@misdeed("5.2.6.1", "reads 100 bytes", _BLOCK)
def part_of_a_sector(rig):
    rig.request(0, 0, 100)


@misdeed("5.2.6.1", "asks for the id with 10 bytes", _BLOCK)
def short_id(rig):
    rig.request(8, 0, 10)


@misdeed("5.2.6.1", "flushes sector 5, with data", _BLOCK)
def flush_of_a_sector(rig):
    rig.request(4, 5, 512)


@misdeed("5.2.6", "has a header of 8 bytes", _BLOCK)
def short_header(rig):
    rig.request(0, 0, 512, head=8)


@misdeed("5.2.6", "has a status byte that cannot be written", _BLOCK)
def status_not_writable(rig):
    rig.request(1, 0, 512, flags=0, status=0)


@misdeed("5.2.6", "sends a request of a type that there is not", _BLOCK)
def unknown_request(rig):
    rig.request(77, 0, 512)


@misdeed("5.4.6.1", "gives the entropy device a buffer to read")
def entropy_to_read(rig):
    rig.describe(0, flags=0)
    rig.offer()


# What became of it


def commit(name, transport):
    """Do one, and say what the device did: a line of text. The device is reset."""
    _, section, rule, device, kind, function = [m for m in MISDEEDS if m[0] == name][0]
    rig = None
    try:
        if kind == "bare":
            rig = function(transport)
        else:
            rig = Rig(transport, packed=kind == "packed")
            function(rig)
        sleep_ms(_PATIENCE_MS)
        seen = look(transport, rig)
    except OSError as error:
        seen = "error %s" % error
    transport.ack_interrupt()
    transport.reset()
    if rig:
        rig.queue.deinit()
    return (
        seen
        + "; after a reset "
        + ("it works" if works(transport, device) else "IT DOES NOT WORK")
    )


def look(transport, rig):
    """The device's state, in words."""
    status = transport.status
    seen = ["status 0x%02x" % status]
    if status & 64:
        seen.append("asks for a reset")
    rings = getattr(rig, "rings", None)
    if rings and hasattr(rings, "used"):
        used = rings.used.idx
        seen.append("used %d" % used + (" (%d bytes)" % rings.used.ring[0].len if used else ""))
    elif rings:
        flags = rings.desc[0].flags
        seen.append("used" if flags & AVAIL and flags & USED else "not used")
    answer = getattr(rig, "answer", None)
    if answer:
        seen.append("status byte 0x%02x" % answer[0])
    return ", ".join(seen)


def works(transport, device):
    """Whether a right request is answered."""
    rig = Rig(transport)
    try:
        if device == _BLOCK:
            rig.request(0, 0, 512)
        else:
            rig.describe(0)
            rig.offer()
        # It comes at once, and later only where the host is busy.
        waited = 0
        while rig.rings.used.idx == 0 and waited < 50 * _PATIENCE_MS:
            sleep_ms(1)
            waited += 1
        return rig.rings.used.idx == 1
    finally:
        transport.reset()
        rig.queue.deinit()


def suitable(kind, device):
    """A device of that type that nobody drives, or None; for a packed ring one that offers it."""
    for transport in virtio.scan():
        if transport.device_type == device and not transport.status & 2:
            if kind != "packed" or transport.read_device_features() & PACKED:
                return transport
    return None


def report(names=None):
    """Commit them in turn, those that a device is there for, and print a line for each."""
    for name, section, rule, device, kind, _ in MISDEEDS:
        transport = suitable(kind, device)
        if transport and (names is None or name in names):
            print("%-10s a driver that %s" % (section, rule))
            print("     ", commit(name, transport))
