"""The MMIO transport: one slot's registers (virtio 1.2, section 4.2).

Both interfaces are here: version 2, which the specification calls modern, and
version 1, the legacy one that QEMU still shows unless told otherwise. Nothing
outside this module knows a register.
"""

# SPDX-License-Identifier: MIT

from array import array

import time

import uctypes
from machine import mem8, mem16, mem32
from micropython import const

from .. import errors
from ..platform import board

# From layout.py, by `make layout`.

# The device status (2.1), and why a device interrupts (4.2.2).
_ACKNOWLEDGE = const(1)
_DRIVER = const(2)
_DRIVER_OK = const(4)
_FEATURES_OK = const(8)
_FAILED = const(128)
_USED_BUFFER = const(1)
_CONFIG_CHANGE = const(2)

# The MMIO transport (4.2.2, 4.2.4).
_CONFIG = const(0x100)  # where the configuration space begins
_PAGE = const(4096)  # the unit in which a legacy device is told where a queue is

# Feature bits of the queue and the transport (6), which features.py tells by their names.
_F_RING_RESET = const(1 << 40)

# End of layout.py.

# Section 2.1, the device status field.
ACKNOWLEDGE = _ACKNOWLEDGE
DRIVER = _DRIVER
DRIVER_OK = _DRIVER_OK
FEATURES_OK = _FEATURES_OK
NEEDS_RESET = 64
FAILED = _FAILED

# Interrupt status and acknowledge bits, section 4.2.2.
USED_BUFFER = _USED_BUFFER
CONFIG_CHANGE = _CONFIG_CHANGE

_REASONS = const(3)  # those that are defined
_MAGIC = const(0x74726976)  # "virt", little-endian

_QUEUE_NUMBERS = const(1024)  # that a device of QEMU's can have
_QUEUE_NOTIFY = const(0x050)
_RESET_MS = const(1000)
_SETTLE_TRIES = const(100)

_REGISTERS = {
    "MagicValue": 0x000 | uctypes.UINT32,
    "Version": 0x004 | uctypes.UINT32,
    "DeviceID": 0x008 | uctypes.UINT32,
    "VendorID": 0x00C | uctypes.UINT32,
    "DeviceFeatures": 0x010 | uctypes.UINT32,
    "DeviceFeaturesSel": 0x014 | uctypes.UINT32,
    "DriverFeatures": 0x020 | uctypes.UINT32,
    "DriverFeaturesSel": 0x024 | uctypes.UINT32,
    "GuestPageSize": 0x028 | uctypes.UINT32,  # legacy only
    "QueueSel": 0x030 | uctypes.UINT32,
    "QueueNumMax": 0x034 | uctypes.UINT32,
    "QueueNum": 0x038 | uctypes.UINT32,
    "QueueAlign": 0x03C | uctypes.UINT32,  # legacy only
    "QueuePFN": 0x040 | uctypes.UINT32,  # legacy only
    "QueueReady": 0x044 | uctypes.UINT32,
    "QueueNotify": _QUEUE_NOTIFY | uctypes.UINT32,
    "InterruptStatus": 0x060 | uctypes.UINT32,
    "InterruptACK": 0x064 | uctypes.UINT32,
    "Status": 0x070 | uctypes.UINT32,
    "QueueDescLow": 0x080 | uctypes.UINT32,
    "QueueDescHigh": 0x084 | uctypes.UINT32,
    "QueueDriverLow": 0x090 | uctypes.UINT32,
    "QueueDriverHigh": 0x094 | uctypes.UINT32,
    "QueueDeviceLow": 0x0A0 | uctypes.UINT32,
    "QueueDeviceHigh": 0x0A4 | uctypes.UINT32,
    "QueueReset": 0x0C0 | uctypes.UINT32,
    "ConfigGeneration": 0x0FC | uctypes.UINT32,
}


class MmioTransport:
    """One virtio device behind its register block.

    `base` is the address of the block, `size` its length in bytes, `intid` the number of
    its interrupt, `slot` its place on the board, counted from the lowest address. `legacy` is True
    for the legacy interface, whose queues are laid out in pages (section 2.7.2).

    Raises `NoDevice` where there is no virtio device, `Unsupported` for an interface
    version that is neither 1 nor 2.
    """

    def __init__(self, base, size=0x200, intid=None, slot=None):
        self.base = base
        self.intid = intid
        self.slot = slot
        self._regs = uctypes.struct(base, _REGISTERS, uctypes.NATIVE)
        # QueueNotify once more, as it is written for every request.
        self._doorbell = base + _QUEUE_NOTIFY >> 2  # its address for viper, no object on the heap
        self.notify = self.notify  # found in the transport, not in its class
        self._config_end = size - _CONFIG
        # Moves on with every reset and every fault. A queue that was set up in an earlier
        # epoch is no longer the device's, and refuses to work; one word tells all of them.
        self.epoch = array("I", [0])
        self.features = 0  # those that were last taken
        self._callback = None
        # True from a fault, or from the start of a reset, to the end of a reset. The driver's
        # own note, because the status that the device shows may be anything.
        self.failed = False
        self.why = None  # the first reason, which all later errors give
        try:
            magic = self._regs.MagicValue
        except OSError:  # nothing answers at that address
            magic = None
        if magic != _MAGIC:
            raise errors.NoDevice("no virtio slot at 0x%x" % base)
        self.version = self._regs.Version
        if self.version not in (1, 2):
            raise errors.Unsupported("virtio-mmio version %d" % self.version)
        self.legacy = self.version == 1
        self.device_type = self._regs.DeviceID
        if self.device_type == 0:
            raise errors.NoDevice("the slot at 0x%x is empty" % base)

    def __repr__(self):
        return "MmioTransport(0x%x, slot=%s, device_type=%d, version=%d, status=0x%02x)" % (
            self.base,
            self.slot,
            self.device_type,
            self.version,
            self.status,
        )

    def __eq__(self, other):
        return isinstance(other, MmioTransport) and self.base == other.base

    # Status

    @property
    def status(self):
        """The device status field (section 2.1)."""
        return self._regs.Status

    def add_status(self, bits):
        """Set *bits* of the status; section 2.1.1 forbids to clear any but by a reset."""
        self._regs.Status = self._regs.Status | bits

    def check(self):
        """Raise `DeviceFault` if the device is gone, or says that it cannot go on (section 2.1.2)."""
        try:
            status = self._regs.Status
        except OSError:
            status = 0
        if self._gone():
            self._note("the slot is gone")
        elif status & NEEDS_RESET:
            self.fail("the device asks for a reset")
        if self.failed:
            raise errors.DeviceFault(self.why)

    def _gone(self):
        try:
            # The version, for it is small: the magic value would be an object on the heap.
            return self._regs.Version != self.version
        except OSError:  # nothing answers at that address any more
            return True

    def reset(self):
        """Reset the device, and return when it says that it is reset (section 2.4).

        From then on it knows of no queue and owns no buffer. That is so of one whose slot is
        gone, too; it stays failed.
        Raises `DeviceFault` when that takes longer than a second: it may own them still.
        """
        self._note("the device is being reset")
        if self._gone():
            self.why = "the slot is gone"
            return
        self._regs.Status = 0
        deadline = time.ticks_add(time.ticks_ms(), _RESET_MS)
        while self._regs.Status != 0:
            if time.ticks_diff(deadline, time.ticks_ms()) < 0:
                self.why = "reset does not end"
                raise errors.DeviceFault(self.why)
            time.sleep_ms(1)
        self.failed = False
        self.why = None

    def fail(self, why="the driver has given the device up"):
        """Give the device up (section 2.1, FAILED): all its queues refuse to work until a reset.

        All that they are asked for raises `DeviceFault` with the first reason, *why*.
        """
        self._note(why)
        try:
            self.add_status(FAILED)
        except OSError:  # it has gone
            pass

    def _note(self, why):
        # In this order: who comes between sees a reason wherever there is a failure.
        if not self.failed:
            self.why = why
            self.failed = True
        self.epoch[0] += 1

    # Features

    def read_device_features(self):
        """The feature bits that the device offers, as an integer of 64 bits."""
        features = 0
        for half in (1, 0):
            self._regs.DeviceFeaturesSel = half
            features = features << 32 | self._regs.DeviceFeatures
        return features

    def write_driver_features(self, features):
        """Tell the device which of its feature bits the driver takes."""
        self.features = features
        for half in (0, 1):
            self._regs.DriverFeaturesSel = half
            self._regs.DriverFeatures = features >> (32 * half) & 0xFFFFFFFF

    # Queues

    def max_queue_size(self, idx):
        """The largest size the device allows for queue *idx*; 0 when it has no such queue.

        Raises `InvalidParam` for what is no number of a queue.
        """
        # One beyond what it knows leaves QEMU with the queue that was selected before.
        if not isinstance(idx, int) or not 0 <= idx < _QUEUE_NUMBERS:
            raise errors.InvalidParam("queue %r" % (idx,))
        self._regs.QueueSel = idx
        return self._regs.QueueNumMax

    def queue_used(self, idx):
        """True when queue *idx* is set up already."""
        self._regs.QueueSel = idx
        return bool(self._regs.QueuePFN if self.legacy else self._regs.QueueReady)

    def queue_page(self, idx):
        """The page that a legacy device was told queue *idx* begins in; None of a modern one."""
        self._regs.QueueSel = idx
        return self._regs.QueuePFN if self.legacy else None

    def queue_set(self, idx, size, descriptors, driver_area, device_area):
        """Hand the three parts of queue *idx*, given by address, to the device.

        Of a legacy queue the device is told the first page; the rest follows from
        the layout of section 2.7.2.
        """
        regs = self._regs
        regs.QueueSel = idx
        regs.QueueNum = size
        if self.legacy:
            regs.GuestPageSize = _PAGE
            regs.QueueAlign = _PAGE
            regs.QueuePFN = descriptors // _PAGE
            return
        regs.QueueDescLow = descriptors
        regs.QueueDescHigh = 0
        regs.QueueDriverLow = driver_area
        regs.QueueDriverHigh = 0
        regs.QueueDeviceLow = device_area
        regs.QueueDeviceHigh = 0
        regs.QueueReady = 1

    def queue_unset(self, idx):
        """Take queue *idx* back from the device. It must have no request under way.

        On the legacy interface QEMU answers this with a reset of the whole device; then the
        other queues are gone too, and know it by the epoch.
        """
        regs = self._regs
        regs.QueueSel = idx
        if self.legacy:
            regs.QueuePFN = 0
            if regs.Status == 0:
                self.epoch[0] += 1
            return
        regs.QueueReady = 0
        # Section 4.2.2.2: reading it back as 0 is what makes sure that the queue has stopped.
        deadline = time.ticks_add(time.ticks_ms(), _RESET_MS)
        while regs.QueueReady != 0:
            if time.ticks_diff(deadline, time.ticks_ms()) < 0:
                raise errors.DeviceFault("queue %d does not stop" % idx)

    def queue_reset(self, idx):
        """Reset one queue (section 2.6.1); True when the device has let go of all its buffers.

        False where RING_RESET was not negotiated, and where the device offers it but its
        transport has no such register, as QEMU 7.2's: then QueueReady does not fall.
        """
        if self.legacy or not self.features & _F_RING_RESET:
            return False
        regs = self._regs
        regs.QueueSel = idx
        regs.QueueReset = 1
        deadline = time.ticks_add(time.ticks_ms(), _RESET_MS)
        while regs.QueueReset != 0:
            if time.ticks_diff(deadline, time.ticks_ms()) < 0:
                return False
        return regs.QueueReady == 0

    @micropython.viper
    def notify(self, idx: int):
        """Tell the device that queue *idx* has new buffers."""
        ptr32(int(self._doorbell) << 2)[0] = idx

    # Interrupts

    def listen(self, callback):
        """Have *callback*(reasons) called, from a scheduled handler, for each interrupt; None ends it.

        The interrupt is acknowledged before, so what the device does later interrupts anew.
        """
        self._callback = callback
        if self.intid is not None:
            board.Interrupt(self.intid).irq(self._serve if callback else None)

    @micropython.native
    def wait(self, timeout_ms):
        """Sleep until the device has interrupted, or for *timeout_ms* milliseconds.

        Returns early, with nothing lost, when it has interrupted since the last time.
        """
        if self.intid is None:
            board.check_wait()
            time.sleep_ms(1)
        elif board.Interrupt(self.intid).wait(timeout_ms):
            self._serve(None)

    def _serve(self, _):
        reasons = self.ack_interrupt()
        if reasons and self._callback:
            self._callback(reasons)

    def pending_interrupts(self):
        """The reasons of the pending interrupt, not acknowledged by this."""
        return self._regs.InterruptStatus

    def ack_interrupt(self):
        """Acknowledge the pending interrupt; returns its reasons, of USED_BUFFER and CONFIG_CHANGE."""
        reasons = self._regs.InterruptStatus & _REASONS
        if reasons:
            self._regs.InterruptACK = reasons
        return reasons

    # Configuration space

    def read_config(self, *fields):
        """Read fields of the configuration space, each an (offset, width) in bytes, as one snapshot.

        Returns their values in a tuple. A device may change them at any time; they are read
        again until nothing changed meanwhile: by the generation counter (section 2.5.1), or
        where there is none until two readings agree (section 2.5.4).
        Raises `DeviceFault` when that never happens, `InvalidParam` for a field out of bounds.
        """
        values = None
        for _ in range(_SETTLE_TRIES):
            generation = 0 if self.legacy else self._regs.ConfigGeneration
            again = tuple([self._read_field(offset, width) for offset, width in fields])
            if self.legacy:
                settled = again == values
            else:
                settled = self._regs.ConfigGeneration == generation
            if settled:
                return again
            values = again
        self.fail("the configuration never settles")
        raise errors.DeviceFault(self.why)

    def write_config(self, offset, width, value):
        """Write one field of the configuration space, *width* bytes at *offset*."""
        address = _config_address(self, offset, width)
        if width == 1:
            mem8[address] = value
        elif width == 2:
            mem16[address] = value
        else:
            mem32[address] = value & 0xFFFFFFFF
            if width == 8:
                mem32[address + 4] = value >> 32

    def _read_field(self, offset, width):
        # Section 4.2.2.2: an 8-bit access for an 8-bit field, 16 for 16, 32 for 32 and for 64.
        address = _config_address(self, offset, width)
        if width == 1:
            return mem8[address]
        if width == 2:
            return mem16[address]
        value = mem32[address] & 0xFFFFFFFF
        if width == 8:
            value |= (mem32[address + 4] & 0xFFFFFFFF) << 32
        return value


def _config_address(transport, offset, width):
    if width not in (1, 2, 4, 8) or offset % min(width, 4):
        raise errors.InvalidParam("configuration field of %d bytes at %d" % (width, offset))
    if not 0 <= offset <= transport._config_end - width:
        raise errors.InvalidParam("configuration space ends at %d" % transport._config_end)
    return transport.base + _CONFIG + offset


def scan():
    """All devices on the board, in the order of QEMU's command line.

    QEMU fills the last slot first, so that is the order of falling addresses. Slots that
    are empty, hold something else or speak an unknown version are passed over.
    """
    slots = board.devices("virtio,mmio")
    if not slots:
        from ..platform.virt import SLOTS as slots  # a machine without a device tree
    found = []
    for slot in range(len(slots) - 1, -1, -1):
        base, size, intid = slots[slot]
        try:
            found.append(MmioTransport(base, size, intid, slot))
        except (errors.NoDevice, errors.Unsupported):
            pass
    return found
