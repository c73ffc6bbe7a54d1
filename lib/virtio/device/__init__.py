"""The life of a device: claimed, reset, negotiated, run, failed, recovered, let go.

A driver derives from `Device`, names its device type and its features, and sets up its
queues and reads its configuration in `_setup`. What it hands to the device at its start it does in
`_started`; what a device says unasked comes to `buffers_used` and `config_changed`.
"""

# SPDX-License-Identifier: MIT

from micropython import const

from .. import errors
from ..platform import board
from ..transport.mmio import scan

# From layout.py, by `make layout`.

# The device status (2.1), and why a device interrupts (4.2.2).
_ACKNOWLEDGE = const(1)
_DRIVER = const(2)
_DRIVER_OK = const(4)
_FEATURES_OK = const(8)
_FAILED = const(128)
_CONFIG_CHANGE = const(2)

# Feature bits of the queue and the transport (6), which features.py tells by their names.
_F_ANY_LAYOUT = const(1 << 27)  # of the legacy interface only (6.3)
_F_INDIRECT_DESC = const(1 << 28)
_F_EVENT_IDX = const(1 << 29)
_F_VERSION_1 = const(1 << 32)
_F_ACCESS_PLATFORM = const(1 << 33)
_F_RING_PACKED = const(1 << 34)
_F_IN_ORDER = const(1 << 35)
_F_ORDER_PLATFORM = const(1 << 36)
_F_RING_RESET = const(1 << 40)

# End of layout.py.

# What any device may offer and the queue can do. The two platform features ask for what holds
# on this machine anyway: bus addresses are the addresses of RAM, the barriers are full ones.
_COMMON = const(
    _F_INDIRECT_DESC
    | _F_EVENT_IDX
    | _F_VERSION_1
    | _F_ACCESS_PLATFORM
    | _F_ORDER_PLATFORM
    | _F_RING_PACKED
    | _F_IN_ORDER
    | _F_RING_RESET
)

# The owners of devices. A device may write to a driver's buffers even when the program has
# dropped the driver, so it is kept until `deinit`.
_opened = []


def opened():
    """The drivers that are open, in the order they were opened.

    Not one that is just being opened, reset or closed, which a scheduled function may ask for.
    """
    return [driver for driver in _opened if not driver._changing]


class Device:
    """A device with its driver.

    `where` is a transport, or n for the n-th device of this type on the board. `ring` is
    "split" or "packed", or None for packed where the device offers it.

    Raises `NoDevice`, `AlreadyUsed` when the device has a driver, `Unsupported` when it
    does not offer what the driver cannot do without, `DeviceFault`.
    """

    TYPE = 0  # the virtio device id, section 5
    FEATURES = 0  # of the bits of this device type, those that the driver can use
    REFUSED = 0  # of those that any device may offer, those that it cannot
    REQUIRED = ()  # pairs: a feature, and the one that it is nothing without (section 2.2.1)
    _waiters = None  # for those who await

    def __init__(self, where=0, ring=None):
        if ring not in (None, "split", "packed"):
            raise errors.InvalidParam("ring %r" % ring)
        self.transport = _find(where, self.TYPE)
        self.queues = []
        self._ring = ring
        self._changing = True
        board.uninterrupted(self._open)

    def _open(self):
        if self.transport.status & (_DRIVER | _FAILED) == _DRIVER or self in _opened:
            raise errors.AlreadyUsed("%r has a driver, see virtio.opened()" % self.transport)
        _opened.append(self)
        try:
            self._start()
        except:
            # Unless it could not be reset: what it may still write to must have an owner.
            if not [queue for queue in self.queues if queue and queue._shared]:
                self._leave()
            raise
        finally:
            self._changing = False

    def __eq__(self, other):
        return isinstance(other, Device) and self.transport == other.transport

    def __repr__(self):
        return "<%s %r>" % (type(self).__name__, self.transport)

    def queue(self, idx, size, frames=False, lengths=True, heard=False):
        """Set up queue *idx* with *size* descriptors, or as many as the device allows.

        *lengths* is False for a queue of which the device tells no lengths to go by: it counts
        what it has read, as QEMU's input and SCSI devices do. They are not checked then. *heard* is
        True for a queue that nobody waits on: what the device has used of it comes to
        `buffers_used`. For `_setup`; the queue joins `self.queues` and ends with the device.
        """
        maximum = self.transport.max_queue_size(idx) or size  # of 0 the queue will complain
        while size > maximum:
            size //= 2
        indirect = bool(self.features & _F_INDIRECT_DESC)
        event_idx = bool(self.features & _F_EVENT_IDX)
        packed = self.features & _F_RING_PACKED
        if self.features & _F_IN_ORDER:
            from .inorder import InOrderPackedVirtQueue, InOrderVirtQueue  # rare

            kind = InOrderPackedVirtQueue if packed else InOrderVirtQueue
        elif packed:
            from .packed import PackedVirtQueue as kind  # not QEMU's default
        else:
            from .waiting import VirtQueue as kind
        queues = self.queues
        queues.append(None)  # its place first: it may be what there is no memory for
        try:
            queues[-1] = queue = kind(
                self.transport, idx, size, indirect, event_idx, frames, lengths
            )
        except:
            queues.pop()
            raise
        # Else interrupts are asked for only while somebody sleeps until one.
        queue.hear(heard)
        return queue

    def reset(self):
        """Reset the device and bring it up again, after a fault or at will.

        Requests in flight are lost; their buffers are the program's again. Ctrl-C waits until it is
        done. Raises `DeviceFault` when the device does not even reset, `NoDevice` after `deinit`.
        """
        board.uninterrupted(self._change, True)

    def deinit(self):
        """Reset the device and let it go. All buffers are the program's again.

        From then on its queues, and `reset`, raise `NoDevice`. Once more does no harm.
        """
        if self._is_open():
            board.uninterrupted(self._change, False)

    def _is_open(self):
        # Not by ==, which says that the next driver of the device is the same.
        return bool([driver for driver in _opened if driver is self])

    def _change(self, restart):
        if not self._is_open():
            raise errors.NoDevice("the driver was closed")
        if self._changing:
            raise errors.AlreadyUsed("the driver is just being opened, reset or closed")
        self._changing = True
        try:
            self._stop()
            if restart:
                self._start()
            else:
                self._leave()
        finally:
            self._changing = False

    def _leave(self):
        for queue in self.queues:
            queue.closed = True
        for i, driver in enumerate(_opened):
            if driver is self:
                del _opened[i]
                break

    async def complete(self, queue, inputs, outputs):
        """Add a chain, notify, await its completion, end it; the awaitable `add_notify_wait_pop`.

        Returns the number of bytes that the device wrote. Where the queue is full, other tasks'
        chains are awaited first. When the task is cancelled the buffers stay the device's: they
        are let go when it has used them after all, or was reset.
        """
        await self.room(queue, min(len(inputs) + len(outputs), queue.size))
        token = queue.submit(inputs, outputs)
        try:
            await self.used(queue, token)
            length = queue.take(token)  # in here: Ctrl-C comes in where `try` ends
        except:
            queue.abandon(token)
            raise
        return length

    async def room(self, queue, count):
        """Return when the queue has that many free descriptors."""
        if self._waiters is None:
            from .awaiting import Waiters  # asyncio only for those who use it

            self._waiters = Waiters(self)
        await self._waiters.room(queue, count)

    async def used(self, queue, token):
        """Notify, and return when the device has used a chain that the task has submitted.

        Whatever ends this otherwise, the task has the chain still, to `abandon`.
        """
        queue.kick()
        await self._waiters.finished(queue, token)

    def buffers_used(self, queue):
        """Called, as a scheduled handler, when the device has used chains of a queue that is heard.

        They are there to be popped, or to be taken from its `Receiving`.
        """

    def config_changed(self):
        """Called, as a scheduled handler, when the device has changed its configuration."""

    def _interrupted(self, reasons):
        try:
            self._serve(reasons)
        except errors.DeviceFault:
            pass  # whoever waits for the device will see it, and raise it to its caller
        except Exception as error:
            # The program's own, which would end what it came into, or the handler.
            from sys import print_exception

            print_exception(error)

    def _serve(self, reasons):
        if self._waiters:
            self._waiters.look()  # first, whatever comes of the rest
        for queue in self.queues:
            if queue and queue.heard and queue.can_pop():
                self.buffers_used(queue)
        if reasons & _CONFIG_CHANGE:
            self.transport.check()
            self.config_changed()

    def _setup(self):
        """Set up the queues, read the configuration: the device does not run yet."""
        raise NotImplementedError

    def _started(self):
        """Called when the device runs, at its start and after each reset.

        Here buffers are handed out, and a first request may be sent. Ctrl-C waits until it is done.
        """

    def _start(self):
        """The steps of section 3.1.1, in its order."""
        transport = self.transport
        before, self.queues = self.queues, []
        try:
            transport.reset()
            transport.check()  # one that is gone is reset, and of no use
            transport.add_status(_ACKNOWLEDGE)
            transport.add_status(_DRIVER)
            self.features = self._negotiate()
            self._setup()
            transport.listen(self._interrupted)
            transport.add_status(_DRIVER_OK)
            self._started()
        except:
            transport.listen(None)
            transport.fail("the driver could not start the device")
            why = transport.why
            self._drop_queues()
            transport.fail(why)
            self.queues = self.queues or before  # they say why it does not work
            raise

    def _negotiate(self):
        transport = self.transport
        offered = transport.read_device_features()
        taken = offered & (_COMMON & ~self.REFUSED | self.FEATURES)
        for feature, required in self.REQUIRED:
            if not taken & required:
                taken &= ~feature
        if self._ring == "split":
            taken &= ~_F_RING_PACKED
        elif self._ring == "packed" and (transport.legacy or not taken & _F_RING_PACKED):
            raise errors.Unsupported("the device has no packed ring")
        if transport.legacy:
            # Section 3.1.2: a legacy device has the low 32 bits, and no FEATURES_OK.
            taken = (taken | offered & _F_ANY_LAYOUT) & 0xFFFFFFFF
            transport.write_driver_features(taken)
            return taken
        if not taken & _F_VERSION_1:
            raise errors.Unsupported("a modern transport without VERSION_1")
        transport.write_driver_features(taken)
        transport.add_status(_FEATURES_OK)
        if not transport.status & _FEATURES_OK:
            raise errors.Unsupported("the device refuses the features 0x%x" % taken)
        return taken

    def _stop(self):
        self.transport.listen(None)
        self.transport.reset()
        self._drop_queues()

    def _drop_queues(self):
        for queue in self.queues:
            queue.deinit()


def _find(where, device_type):
    if not isinstance(where, int):
        if where.device_type != device_type:
            raise errors.NoDevice("%r is not of type %d" % (where, device_type))
        return where
    found = [transport for transport in scan() if transport.device_type == device_type]
    if not 0 <= where < len(found):
        raise errors.NoDevice("no device %d of type %d" % (where, device_type))
    return found[where]
