"""The console device and its serial ports (virtio 1.2, section 5.3)."""

# SPDX-License-Identifier: MIT

import io
from array import array
from struct import pack, unpack_from
from time import ticks_diff, ticks_ms

from micropython import const

from .. import features
from ..device import Device
from ..errors import AlreadyUsed, DeviceFault, NoDevice, Timeout
from ..platform import board
from ..platform.buffers import byte_length, checked_length, copy
from ..ring.slots import Slots, take

# From layout.py, by `make layout`.

# … and what the device has done wrong.
_NAP_MS = const(500)  # how long a device may be broken before who sleeps or awaits sees it

# errno
_EINVAL = const(22)

# End of layout.py.

_SIZE = const(4096)  # of a slot, in bytes
_COUNT = const(8)  # slots each way
_CONTROL_SIZE = const(256)  # a message, with the name of a port
_MESSAGE_SIZE = const(8)  # without what some have behind that
# Slots for messages: the device tells of all ports at once, and drops what finds no slot.
_CONTROL_COUNT = const(32)
_PORTS_MAX = const(31)
_LOOK_MS = const(1000)  # how long a port by its name is looked for
_QUIET_MS = const(5)  # without a message: all ports have been told of

# Feature bits, section 5.3.3, and the configuration, 5.3.4: (offset, width).
_F_SIZE = const(1 << 0)
_F_MULTIPORT = const(1 << 1)
_F_EMERG_WRITE = const(1 << 2)
_COLS_ROWS = ((0, 2), (2, 2))
_MAX_PORTS = (4, 4)
_EMERG_WR = const(8)

# Control messages, section 5.3.6.2.
_DEVICE_READY = const(0)
_DEVICE_ADD = const(1)
_DEVICE_REMOVE = const(2)
_PORT_READY = const(3)
_CONSOLE_PORT = const(4)
_RESIZE = const(5)
_PORT_OPEN = const(6)
_PORT_NAME = const(7)

# ioctl of streams.
_FLUSH = const(1)
_POLL = const(3)
_CLOSE = const(4)
_READABLE = const(1)
_WRITABLE = const(4)
_HANG_UP = const(16)

_BytesIO = io.BytesIO.__dict__  # whose functions serve any stream


class Serial(Device):
    """A console device. `timeout_ms` is what its ports begin with.

    Without MULTIPORT there is one port, number 0, without a name, and nobody says whether the host
    has it open: `connected` is True then.
    """

    TYPE = 3
    FEATURES = _F_SIZE | _F_MULTIPORT | _F_EMERG_WRITE
    REFUSED = features.IN_ORDER  # which slots are not

    def __init__(self, where=0, ring=None):
        self.timeout_ms = 30_000
        self._ports = {}  # by number; also those that were taken away
        self._told = 0  # how many messages have come
        self._ready = False
        self._found = array("I", bytes(8))  # a slot, and the length of the message in hand, or 0
        self._message = bytearray(_CONTROL_SIZE)
        self._looking = False
        super().__init__(where, ring)

    def _setup(self):
        self._ready = False
        self._found[1] = 0
        for port in self._ports.values():
            port._lose()
        self.multiport = bool(self.features & _F_MULTIPORT)
        self._count = 1
        if self.multiport:
            (self._count,) = self.transport.read_config(_MAX_PORTS)
            if not self._count:
                self.transport.fail("a device of no ports")
                raise DeviceFault(self.transport.why)
            self._count = min(self._count, _PORTS_MAX)
        for idx in range(2 * self._count + 2 if self.multiport else 2):
            count = _CONTROL_COUNT if idx == 2 and self.multiport else _COUNT
            self.queue(idx, count, heard=not idx & 1)  # those that receive
        if self.multiport:
            self._control = Slots(self.queues[2], _CONTROL_SIZE, True)

    def _started(self):
        if self.multiport:
            self._control.post_all()
            self.queues[2].kick()
            self._ready = True
            self._send(0, _DEVICE_READY, 1)
        else:
            self._ready = True
            self._add(0).connected = True
        self._look()

    @property
    def size(self):
        """(columns, rows) of the console; None where the device does not say."""
        if not self.features & _F_SIZE:
            return None
        return self.transport.read_config(*_COLS_ROWS)

    def emergency(self, text):
        """Write bytes to the console at once, by the configuration space, whatever else is broken.

        Returns whether the device can do that. QEMU writes them to a `virtconsole`.
        """
        if not self.features & _F_EMERG_WRITE:
            return False
        for byte in text:
            self.transport.write_config(_EMERG_WR, 4, byte)
        return True

    def ports(self):
        """The ports that there are, in the order of their numbers, open or not."""
        told = -1
        while told != self._told:
            told = self._told
            start = ticks_ms()
            while told == self._told and ticks_diff(ticks_ms(), start) < _QUIET_MS:
                self._look()
                self.transport.wait(1)
        return [port for _, port in sorted(self._ports.items()) if port.there]

    def port(self, which=0):
        """Open a port, by its name or number; returns it, a stream.

        Waits a second for one that is not there yet. Raises `NoDevice`, and `AlreadyUsed` where it is
        open.
        """
        start = ticks_ms()
        while True:
            self._look()
            for number, port in self._ports.items():
                if port.there and which in (number, port.name):
                    port._open()
                    return port
            if ticks_diff(ticks_ms(), start) >= _LOOK_MS:
                raise NoDevice("no port %r" % which)
            self.transport.wait(10)

    def buffers_used(self, queue):
        if queue.idx == 2:
            self._look()
            return
        port = self._ports.get(queue.idx // 2 - 1 if queue.idx else 0)
        if port and port.is_open and port.on_received:
            port.on_received(port)

    def _look(self):
        """Do what the device's control messages say.

        One at a time: whoever comes into its middle leaves the next one to it. What cannot be done,
        for want of memory, is done by who looks next.
        """
        if not self.multiport:
            return
        while self._ready and not self._looking:
            if not self._found[1] and not board.undisturbed(_take_message, self):
                return
            self._looking = True
            try:
                if self._found[1]:  # else who came in just now has done it
                    self._obey(bytes(self._message[: self._found[1]]))
                self._told += 1
                self._found[1] = 0
            finally:
                self._looking = False

    def _obey(self, message):
        number, event, value = unpack_from("<IHH", message)
        if number >= self._count:
            return  # more than were set up
        port = self._ports.get(number)
        if event == _DEVICE_ADD:
            self._add(number)
            self._send(number, _PORT_READY, 1)
            if self._ports[number].is_open:
                self._ports[number]._prepare()
                self._send(number, _PORT_OPEN, 1)
        elif port is None:
            return
        elif event == _DEVICE_REMOVE:
            port.there = False
            port._connect(False)
        elif event == _CONSOLE_PORT:
            port.console = bool(value)
            self._send(number, _PORT_OPEN, 1)  # whoever reads it, section 5.3.6.2.2
        elif event == _RESIZE and len(message) >= 12:
            port.size = unpack_from("<HH", message, 8)
        elif event == _PORT_OPEN:
            port._connect(bool(value))
        elif event == _PORT_NAME:
            name = message[8:]
            port.name = (name[:-1] if name.endswith(b"\0") else name).decode()

    def _add(self, number):
        port = self._ports.get(number)
        if port is None:
            port = self._ports[number] = Port(self, number)
        port.there = True
        return port

    def _send(self, number, event, value):
        if self.multiport:
            message = pack("<IHH", number, event, value)
            self.queues[3].add_notify_wait_pop((message,), (), None, self.timeout_ms)


class Port(io.IOBase):
    """A port, a stream of bytes both ways; `Serial.port` opens it.

    `name`, `number`, `console` say which it is, `there` whether the host has not taken it away,
    `connected` whether somebody has the host's end open. `on_connected`, called with the port as a
    scheduled handler, says when that changes. `timeout_ms` is how long to wait where nothing can be
    read or written: then that is a `Timeout`; 0 does not wait, None waits for ever.

    What is written while nobody is connected waits for somebody. Data that were accepted are not lost
    by a timeout, nor read twice.
    """

    def __init__(self, serial, number):
        self.serial = serial
        self.number = number
        self.name = None
        self.console = False
        self.there = False
        self.connected = False
        self.size = None
        self.timeout_ms = serial.timeout_ms
        self.on_connected = None
        self.on_received = None
        self.is_open = False
        self._in = array("I", bytes(8))
        self._sent = array("I", bytes(8 * _COUNT))
        self._rx = None
        self._lose()

    def __repr__(self):
        return "<Port %d %r%s%s>" % (
            self.number,
            self.name,
            ", open" if self.is_open else "",
            ", connected" if self.connected else "",
        )

    def _lose(self):
        """The device was reset: it has no buffers of this port any more."""
        self.there = self.connected = False
        self._rx = self._tx = None
        self._at = self._end = 0  # of what was received, in the memory of all slots
        self._free = 0

    def _open(self):
        if self.is_open:
            raise AlreadyUsed("%r is open" % self)
        self._prepare()
        self.is_open = True
        try:
            self.serial._send(self.number, _PORT_OPEN, 1)
            self.serial._look()
        except:
            self.is_open = False  # whoever asked has not got it
            raise

    def _prepare(self):
        """Have slots with the device, once in its life."""
        if self._rx is not None:
            return
        serial = self.serial
        if not serial._ready:
            raise AlreadyUsed("the device is just being opened, reset or closed")
        idx = 2 * self.number + 2 if self.number else 0
        slots = Slots(serial.queues[idx], _SIZE, True), Slots(serial.queues[idx + 1], _SIZE, False)
        board.undisturbed(_hand_out, (self, slots))

    def _connect(self, connected):
        if connected != self.connected:
            self.connected = connected
            if self.on_connected:
                self.on_connected(self)

    def close(self):
        """Close this end, when the host has taken what was written, or does not within `timeout_ms`."""
        if not self.is_open:
            return
        try:
            if self.connected and self.timeout_ms != 0:
                self.flush()
        except Timeout:
            pass
        finally:
            self.is_open = False
        if self.there:
            self.serial._send(self.number, _PORT_OPEN, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _check(self):
        if not self.is_open:
            raise NoDevice("the port is closed")
        if self._rx is None:
            self.serial._look()
            if self._rx is None:
                self._prepare()  # after a reset
        if self._rx.queue.closed:
            self._rx.queue.refuse_dead()

    # Reading

    def readinto(self, buf):
        """Read what there is, at least a byte; returns how many, 0 where nobody is connected.

        None where nothing has come and `timeout_ms` is 0. Raises `Timeout`.
        """
        room = checked_length(buf, True)
        self._check()
        start = ticks_ms()
        while True:
            count = board.undisturbed(_read, (self, buf, room))
            if count or not room:
                return count
            if not self.connected:
                self.serial._look()
                if not self.connected:
                    return 0
            if self.timeout_ms == 0:
                return None
            self._wait(start)

    def read(self, n=-1):
        """Read n bytes, or up to the end, which is where nobody is connected any more."""
        return _BytesIO["read"](self, n)

    def readline(self, n=-1):
        return _BytesIO["readline"](self, n)

    def any(self):
        """How many bytes can be read at once, at least; 0 for none."""
        self._check()
        if self._at == self._end:
            board.undisturbed(Port._next, self)
        return self._end - self._at

    @micropython.native
    def _next(self):
        """Take the next slot that has come; whether there is one."""
        rx = self._rx
        while take(rx, self._in, 0, 1):
            self._at = self._in[0] * _SIZE
            self._end = self._at + self._in[1]
            if self._in[1]:
                return True
            self._took(0)
        return False

    @micropython.native
    def _took(self, count):
        """So many bytes were used; a slot that has no more is the device's again."""
        self._at += count
        if self._at == self._end:
            self._at = self._end = 0
            rx = self._rx
            rx.post(self._in[0], _SIZE)
            rx.queue.kick()

    def _wait(self, start):
        timeout_ms = self.timeout_ms
        left = _NAP_MS
        if timeout_ms is not None:
            left = timeout_ms - ticks_diff(ticks_ms(), start)
            if left <= 0:
                raise Timeout("port %d: nothing in %d ms" % (self.number, timeout_ms))
        self.serial.transport.check()
        self.serial.transport.wait(min(left, _NAP_MS))

    # Writing

    def write(self, buf):
        """Write all of *buf*; returns how many bytes were accepted.

        Those are the device's, and are written when the host reads. There are less than all after a
        timeout, or where `timeout_ms` is 0; where there are none, that raises `Timeout`, or returns None.
        """
        length = byte_length(buf)
        self._check()
        done = 0
        start = ticks_ms()
        while True:
            if self.connected:
                count = board.undisturbed(_put, (self, buf, done, length))
                if count:
                    done += count
                    start = ticks_ms()
            if done == length:
                return done
            if self.timeout_ms == 0:
                return done or None
            try:
                self._wait_for(start)
            except Timeout:
                if done:
                    return done
                raise

    def flush(self):
        """Return when the host has taken all that was written. Raises `Timeout`."""
        self._check()
        start = ticks_ms()
        while not self._is_sent():
            self._wait_for(start)

    def _wait_for(self, start):
        queue = self._tx.queue
        queue.kick()  # where whoever wrote had no stack for it
        queue.set_dev_notify(True)
        try:
            # Looked at again after enabling: what was used before brings no interrupt.
            if not queue.can_pop():
                self._wait(start)
        finally:
            queue.set_dev_notify(False)
        if not self.connected:
            self.serial._look()
        if not self.there:
            raise NoDevice("port %d was taken away" % self.number)

    @micropython.native
    def _is_sent(self):
        self._reclaim()
        return self._free == (1 << self._tx.count) - 1

    @micropython.native
    def _reclaim(self):
        for i in range(take(self._tx, self._sent, 0, _COUNT)):
            self._free |= 1 << self._sent[2 * i]

    # Select and asyncio

    def ioctl(self, request, arg):
        if request == _POLL:
            return self._poll(arg)
        if request == _FLUSH:
            self.flush()
        elif request == _CLOSE:
            self.close()
        else:
            return -_EINVAL
        return 0

    def _poll(self, wanted):
        self._check()
        self.serial._look()
        ready = 0
        if wanted & _READABLE and (self.any() or not self.connected):
            ready |= _READABLE
        if wanted & _WRITABLE and self.connected:
            self._reclaim()
            # The poller sleeps until an interrupt.
            self._tx.queue.set_dev_notify(not self._free)
            if self._free:
                ready |= _WRITABLE
        if not self.connected:
            ready |= _HANG_UP
        return ready


# What moves data and slots is called undisturbed: each byte and each slot has one owner then, whatever
# comes in, and there is stack for it.


def _take_message(serial):
    """Have a control message in hand, and its slot be the device's again; whether there is one."""
    control, found = serial._control, serial._found
    if not take(control, found, 0, 1):
        return False
    copy(serial._message, 0, control.memory, found[0] * _CONTROL_SIZE, found[1])
    control.post(found[0], _CONTROL_SIZE)
    control.queue.kick()
    if found[1] < _MESSAGE_SIZE:
        serial.transport.fail("a control message of %d bytes" % found[1])
        found[1] = 0
        raise DeviceFault(serial.transport.why)
    return True


def _hand_out(arguments):
    port, (rx, tx) = arguments
    if port._rx is None:  # else who came in has done it
        port._tx = tx
        port._free = (1 << tx.count) - 1
        port._rx = rx
        rx.post_all()
        rx.queue.kick()


@micropython.native
def _read(arguments):
    """Copy what has come; how many bytes."""
    port, buf, room = arguments
    done = 0
    while done < room and (port._at < port._end or port._next()):
        count = min(room - done, port._end - port._at)
        copy(buf, done, port._rx.memory, port._at, count)
        done += count
        port._took(count)
    return done


@micropython.native
def _put(arguments):
    """Copy what there is room for into slots, and hand them over; how many bytes."""
    port, buf, at, length = arguments
    tx = port._tx
    begun = at
    port._reclaim()
    slot = 0
    while at < length and port._free:
        while not port._free >> slot & 1:
            slot += 1
        count = min(length - at, _SIZE)
        copy(tx.memory, slot * _SIZE, buf, at, count)
        port._free &= ~(1 << slot)
        tx.post(slot, count)
        at += count
    if at > begun:
        tx.queue.kick()
    return at - begun
