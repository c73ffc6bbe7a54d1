"""The network device (virtio 1.2, section 5.1): Ethernet frames, with or without a stack."""

# SPDX-License-Identifier: MIT

from array import array
from builtins import len  # as in ring/split.py
from time import ticks_diff, ticks_ms

from micropython import const
from uctypes import addressof

from .. import features
from ..device import Device
from ..errors import DeviceFault, InvalidParam, Timeout, Unsupported
from ..platform.buffers import byte_length, checked_length
from ..ring.slots import Slots, post_again, take

_QUEUE_SIZE = const(64)  # frames each way
_SLOT = const(2048)  # bytes: a frame of 1,514 with a VLAN's tag, and its header
# From layout.py, by `make layout`.

# The device status (2.1), and why a device interrupts (4.2.2).
_USED_BUFFER = const(1)

# … and what the device has done wrong.
_NAP_MS = const(500)  # how long a device may be broken before who sleeps or awaits sees it

# End of layout.py.


# Feature bits, section 5.1.3.
_F_CSUM = const(1 << 0)
_F_GUEST_CSUM = const(1 << 1)
_F_MTU = const(1 << 3)
_F_MAC = const(1 << 5)
_F_MRG_RXBUF = const(1 << 15)
_F_STATUS = const(1 << 16)
_F_CTRL_VQ = const(1 << 17)
_F_CTRL_RX = const(1 << 18)
_F_CTRL_MAC_ADDR = const(1 << 23)

# Configuration fields, section 5.1.4: (offset, width).
_MAC = ((0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1))
_STATUS = (6, 2)
_MTU = (10, 2)
_LINK_UP = const(1)

# The queues, section 5.1.2, of a device with one pair.
_RECEIVE = const(0)
_TRANSMIT = const(1)
_CONTROL = const(2)

# The header before each frame, section 5.1.6: with num_buffers, and the legacy one without.
_LONG_HEADER = const(12)
_SHORT_HEADER = const(10)
_NUM_BUFFERS = const(5)  # in halfwords, as the next two
_CSUM_START = const(3)
_CSUM_OFFSET = const(4)
# Its flags: the checksum is still to be completed, is known to be right.
_NEEDS_CSUM = const(1)
_DATA_VALID = const(2)
_ETHERNET_HEADER = const(14)
_VLAN_TAG = const(4)
_MTU_DEFAULT = const(1500)
_MTU_LEAST = const(68)  # section 5.1.4.1
_SENT_MOST = const(0xFFC0)  # bytes of a slot to be sent: its length is told in 16 bits

# Control commands, section 5.1.6.5: (class, command).
_RX_PROMISC = (0, 0)
_RX_ALLMULTI = (0, 1)
_MAC_TABLE_SET = (1, 0)
_MAC_ADDR_SET = (1, 1)

# What a frame's header may say here: in how many buffers it is, and its flags.
_MERGES = const(1)
_FLAGS = const(2)

# Those flags in the upper part of a first piece's length.
_PIECE_FLAGS = const(29)
_PARTIAL = const(_NEEDS_CSUM << 29)
_PIECE_LENGTH = const(0x1FFFF)

# The words that the transmit side shares with the firmware's lan.c: how many slots are free, how
# many are ready to be sent, what each holds; then the free ones, then the ready ones with their
# lengths in the upper half.
_FREE_SLOTS = const(0)
_READY_SLOTS = const(1)
_HEADER_BYTES = const(2)
_SLOT_BYTES = const(3)
_LISTS = const(4)


class Net(Device):
    """A network device, frame by frame. `network.LAN` is the same with a stack on top.

    `mac` is its address, 6 bytes; `mtu` the longest payload of a frame, in bytes. `timeout_ms` is how
    long `send` may wait for a free slot. `on_link`, if set, is called with the device, as a scheduled
    function, when its link has come or gone.
    """

    TYPE = 1
    FEATURES = (
        _F_CSUM
        | _F_GUEST_CSUM
        | _F_MTU
        | _F_MAC
        | _F_MRG_RXBUF
        | _F_STATUS
        | _F_CTRL_VQ
        | _F_CTRL_RX
        | _F_CTRL_MAC_ADDR
    )
    REQUIRED = ((_F_CTRL_RX, _F_CTRL_VQ), (_F_CTRL_MAC_ADDR, _F_CTRL_VQ))
    # Slots are posted by themselves, and noted in no order.
    REFUSED = features.IN_ORDER

    def __init__(self, where=0, ring=None):
        self.timeout_ms = 30_000
        self.on_link = None
        self.mac = None
        self.received = None  # called when there are frames, in the place of `recvinto`
        self._flags = {}  # for the task that awaits an interrupt of a queue, by its number
        super().__init__(where, ring)

    def __repr__(self):
        return "<Net %s link %s, %r>" % (
            ":".join(["%02x" % byte for byte in self.mac]),
            "up" if self.link else "down",
            self.transport,
        )

    def _setup(self):
        transport = self.transport
        merges = self._has(_F_MRG_RXBUF)
        self._form = (_MERGES if merges else 0) | (_FLAGS if self._has(_F_GUEST_CSUM) else 0)
        self.completes = self._has(_F_CSUM)
        self.header = _SHORT_HEADER if transport.legacy and not merges else _LONG_HEADER
        if self._has(_F_MAC):
            self.mac = bytes(transport.read_config(*_MAC))
        elif self.mac is None:
            self.mac = _random_mac()
        mtu = self._read_mtu()
        self.link = self._read_link()
        around = self.header + _ETHERNET_HEADER + _VLAN_TAG
        most = around + mtu
        size = _SLOT if merges else max(_SLOT, (most + 63) & -64)
        # Section 5.1.6.6: a legacy device may want the header in a descriptor of its own.
        apart = self.header if transport.legacy and not self._has(features.ANY_LAYOUT) else 0
        receive = self.queue(_RECEIVE, _QUEUE_SIZE)
        # Legacy devices may tell the length of what they have read (section 5.1.6.1).
        lengths = not transport.legacy
        transmit = self.queue(_TRANSMIT, _QUEUE_SIZE, lengths=lengths)
        self._control = None
        if self._has(_F_CTRL_VQ):
            self._control = self.queue(_CONTROL, 4, lengths=lengths)
        self.rx = Slots(receive, size, True, apart)
        room = min(max(size, (most + 63) & -64), _SENT_MOST)
        self.tx = Slots(transmit, room, False, apart)
        count = self.tx.count
        self.mtu = min(mtu, room - around)
        self._longest = (min(most, room) if self._has(_F_MTU) else room) - self.header
        self.state = array("I", [count, 0, self.header, self.tx.size])
        self.state.extend(array("I", range(count)))
        self.state.extend(array("I", bytes(4 * count)))
        self._sent = array("I", bytes(8 * count))
        self.found = array("I", bytes(8 * self.rx.count))
        self.pieces = array("I", bytes(8 * self.rx.count))

    def _started(self):
        self.rx.post_all()
        self.rx.queue.kick()
        self.rx.queue.hear(self.received is not None)

    def buffers_used(self, queue):
        self.received()

    @micropython.native
    def _serve(self, reasons):
        # The usual one without a look at every queue: who receives looks.
        if reasons == _USED_BUFFER and self.received and not self._waiters:
            self.received()
        else:
            Device._serve(self, reasons)

    def _has(self, feature):
        return bool(self.features & feature)

    def _read_mtu(self):
        if not self._has(_F_MTU):
            return _MTU_DEFAULT
        (mtu,) = self.transport.read_config(_MTU)
        if mtu < _MTU_LEAST:
            raise DeviceFault("an MTU of %d" % mtu)
        return mtu

    def _read_link(self):
        """Section 5.1.4.2: without STATUS the link is always active."""
        return not self._has(_F_STATUS) or bool(self.transport.read_config(_STATUS)[0] & _LINK_UP)

    def config_changed(self):
        before, self.link = self.link, self._read_link()
        if self.link != before and self.on_link:
            self.on_link(self)

    # Frames

    def send(self, frame):
        """Send a frame, from its destination address on. It is copied: the buffer stays the caller's.

        Returns when the device has been told of it. Raises `InvalidParam` for one that is too long
        or has no header, `Timeout` when no slot came free in `timeout_ms`, `DeviceFault`.
        """
        length = self._checked(frame)
        start = ticks_ms()
        while not _fill(self, frame, length):
            left = self.timeout_ms - ticks_diff(ticks_ms(), start)
            if left <= 0:
                raise Timeout("no frame was sent in %d ms" % self.timeout_ms)
            self._wait(self.tx.queue, left)
        send_ready(self, _QUEUE_SIZE)

    def _checked(self, frame):
        """The length of a frame to be sent. Raises `InvalidParam`."""
        length = byte_length(frame)
        if not _ETHERNET_HEADER <= length <= self._longest:
            raise InvalidParam("a frame of %d bytes" % length)
        return length

    def recvinto(self, buf, timeout_ms=None):
        """Receive a frame into *buf*; returns its length. What does not fit is lost.

        `timeout_ms` of None waits for ever. Raises `Timeout`, `DeviceFault`, and `TypeError` for
        what cannot be written.
        """
        checked_length(buf, True)
        start = ticks_ms()
        while True:
            length = self._receive(buf)
            if length is not None:
                return length
            left = _NAP_MS
            if timeout_ms is not None:
                left = timeout_ms - ticks_diff(ticks_ms(), start)
                if left <= 0:
                    raise Timeout("no frame in %d ms" % timeout_ms)
            self._wait(self.rx.queue, left)

    # Awaitable forms, for one task that sends and one that receives

    async def asend(self, frame):
        """`send`, awaited where no slot is free. Raises `InvalidParam`, `DeviceFault`."""
        length = self._checked(frame)
        while not _fill(self, frame, length):
            await self._interrupt(self.tx.queue)
        send_ready(self, _QUEUE_SIZE)

    async def arecvinto(self, buf):
        """`recvinto`, awaited. A task that is cancelled leaves the frame for the next."""
        checked_length(buf, True)
        length = self._receive(buf)
        while length is None:
            await self._interrupt(self.rx.queue)
            length = self._receive(buf)
        return length

    async def _interrupt(self, queue):
        """Return when the device may have used something of a queue."""
        import asyncio  # only for those who use it

        flag = self._flags.get(queue.idx)
        if flag is None:
            flag = self._flags[queue.idx] = asyncio.ThreadSafeFlag()
            self.received = self._wake
        queue.hear(True)
        # Looked at again after enabling: what was used before brings no interrupt.
        if queue.can_pop():
            await asyncio.sleep_ms(0)
            return
        try:
            await asyncio.wait_for_ms(flag.wait(), _NAP_MS)
        except asyncio.TimeoutError:
            self.transport.check()

    def _wake(self):
        for flag in self._flags.values():
            flag.set()

    @micropython.native
    def _receive(self, buf):
        """Take a frame that has come, if one has; returns its length."""
        count = gather(self, 1)
        if count == 0:
            return None
        length = _copy_out(self, buf, byte_length(buf), count)
        post_again(self.rx, self.found, count)
        return length

    @micropython.native
    def _wait(self, queue, left):
        queue.set_dev_notify(True)
        try:
            # Looked at again after enabling: what was used before brings no interrupt.
            if not queue.can_pop():
                self.transport.check()
                self.transport.wait(min(left, _NAP_MS))
        finally:
            queue.set_dev_notify(queue.heard)

    # What the control queue does, section 5.1.6.5

    def _command(self, command, *data):
        if self._control is None:
            raise Unsupported("the device has no control queue")
        answer = bytearray(b"\xff")
        inputs = (bytes(command),) + data
        self._control.add_notify_wait_pop(inputs, (answer,), None, self.timeout_ms)
        if answer[0]:
            raise Unsupported(
                "the device refuses command %d of class %d" % (command[1], command[0])
            )

    def promiscuous(self, enable):
        """Have the device pass on every frame, whomever it is for. Raises `Unsupported`."""
        self._receives(_RX_PROMISC, enable)

    def all_multicast(self, enable):
        """Have the device pass on every multicast frame. Raises `Unsupported`."""
        self._receives(_RX_ALLMULTI, enable)

    def _receives(self, command, enable):
        self._filter(command, bytes((1 if enable else 0,)))

    def filter(self, unicast=(), multicast=()):
        """Have the device pass on frames for these addresses too, each of 6 bytes.

        A device may pass on others as well. Raises `Unsupported`.
        """
        # In two buffers, as a legacy device may want it (section 5.1.6.6).
        tables = [
            len(addresses).to_bytes(4, "little") + b"".join(addresses)
            for addresses in (unicast, multicast)
        ]
        self._filter(_MAC_TABLE_SET, *tables)

    def _filter(self, command, *data):
        if not self._has(_F_CTRL_RX):
            raise Unsupported("the device filters nothing")
        self._command(command, *data)

    def set_mac(self, mac):
        """Give the device another address, until its reset. Raises `Unsupported`."""
        if len(mac) != 6:
            raise InvalidParam("an address of %d bytes" % len(mac))
        if not self._has(_F_CTRL_MAC_ADDR):
            raise Unsupported("the address cannot be set")
        self._command(_MAC_ADDR_SET, bytes(mac))
        self.mac = bytes(mac)


def _random_mac():
    """An address of nobody else, locally administered."""
    from .entropy import urandom

    mac = bytearray(urandom(6))
    mac[0] = mac[0] & 0xFC | 0x02
    return bytes(mac)


# The data path


@micropython.viper
def gather(net, most: int) -> int:
    """Take up to *most* slots with frames; returns how many, a frame's all or none of them.

    `net.pieces` then has each one's address and length; the length of one that the same frame goes
    on after has its highest bit set, that of a frame's first one the header's flags below it. The
    slots are to be posted again.
    """
    count = int(take(net.rx, net.found, 0, most))
    if count:
        count = int(_find_pieces(count, int(net.header), 0, net))
    return count


@micropython.viper
def _find_pieces(left: int, header: int, at: int, net) -> int:
    """Write the pieces for `gather`; the first parameters are in registers."""
    slots = net.rx
    form = int(net._form)
    memory = int(ptr8(slots.memory))
    size = int(slots.size)
    at = int(ptr32(net.found))
    start = at
    pieces = int(ptr32(net.pieces)) - at  # further on
    more = 1
    more = more << 31  # folded, it would be an object
    following = 0
    least = 0  # where the checksum ends that a frame says is to be completed
    total = 0
    flags = 0
    while left:
        left = left - 1
        address = ptr32(at)[0] * size + memory
        length = ptr32(at)[1]
        if following == 0:
            if length < header + _ETHERNET_HEADER:
                _bad(net)
            following = 1
            if form:
                if form & _MERGES:
                    following = ptr16(address)[_NUM_BUFFERS]
                    if following != 1:
                        if following == 0 or following > int(slots.count) - ((at - start) >> 3):
                            _bad(net)
                if form & _FLAGS:
                    flags = ptr8(address)[0] & (_NEEDS_CSUM | _DATA_VALID)
                    least = total = 0
                    if flags & _NEEDS_CSUM:
                        least = ptr16(address)[_CSUM_START] + ptr16(address)[_CSUM_OFFSET] + 2
            address = address + header
            length = length - header
        following = following - 1
        ptr32(at + pieces)[0] = address
        if form & _FLAGS:
            total = total + length
            if following == 0 and total < least:
                _bad(net)
            length = length | flags << _PIECE_FLAGS
            flags = 0
        if following:
            length = length | more
        ptr32(at + pieces)[1] = length
        at = at + 8
        if following:
            if left == 0:
                # The device has used all of them at once (section 5.1.6.4).
                left = int(take(slots, net.found, (at - start) >> 3, following))
                if left == 0:
                    _bad(net)
    return (at - start) >> 3


def _bad(net):
    net.transport.fail("a frame that is none")
    raise DeviceFault(net.transport.why)


@micropython.viper
def _copy_out(net, buf, room: int, count: int) -> int:
    """Copy a frame of so many pieces into a buffer; returns how many bytes."""
    pieces = ptr32(net.pieces)
    to = ptr8(buf)
    at = 0
    i = 0
    while i < count:
        piece = ptr8(pieces[2 * i])
        length = pieces[2 * i + 1] & _PIECE_LENGTH
        j = 0
        while j < length and at < room:
            to[at] = piece[j]
            at = at + 1
            j = j + 1
        i = i + 1
    if pieces[1] & _PARTIAL:
        _complete(net, buf, at, count)
    return at


@micropython.viper
def _complete(net, buf, held: int, count: int):
    """Complete the checksum of a frame of so many pieces, whose first *held* bytes are in a buffer.

    It is the sum of all that begins at csum_start, with what its field has: the pseudo header's. The
    device may have changed the header since `gather` looked at it.
    """
    pieces = ptr32(net.pieces)
    header = ptr16(pieces[0] - int(net.header))
    start = header[_CSUM_START]
    field = start + header[_CSUM_OFFSET]
    total = 0
    at = 0
    i = 0
    while i < count:
        piece = ptr8(pieces[2 * i])
        length = pieces[2 * i + 1] & _PIECE_LENGTH
        j = 0
        while j < length:
            if at >= start:
                total = total + (piece[j] if (at - start) & 1 else piece[j] << 8)
            at = at + 1
            j = j + 1
        i = i + 1
    total = (total & 0xFFFF) + (total >> 16)
    total = ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF
    if total == 0:
        total = 0xFFFF  # 0 would say that there is none (RFC 768)
    to = ptr8(buf)
    if field < held:
        to[field] = total >> 8
    if field + 1 < held:
        to[field + 1] = total


@micropython.viper
def _fill(net, frame, length: int) -> bool:
    """Copy a frame into a free slot, and note it as ready; False where no slot is free."""
    state = ptr32(net.state)
    if state[_FREE_SLOTS] == 0:
        reclaim(net)
        if state[_FREE_SLOTS] == 0:
            return False
    slots = net.tx
    header = state[_HEADER_BYTES]
    state[_FREE_SLOTS] = state[_FREE_SLOTS] - 1
    slot = state[_LISTS + state[_FREE_SLOTS]]
    to = ptr8(int(ptr8(slots.memory)) + int(slots.size) * slot)
    to[0] = 0  # flags, which the stack may have left there
    to = ptr8(int(to) + header)
    source = ptr8(frame)
    i = 0
    while i < length:
        to[i] = source[i]
        i = i + 1
    ready = _LISTS + int(slots.count) + state[_READY_SLOTS]
    state[ready] = slot | (header + length) << 16
    state[_READY_SLOTS] = state[_READY_SLOTS] + 1
    return True


@micropython.viper
def send_ready(net, least: int):
    """Hand the slots that are ready to the device; where fewer are free, take back what it has sent."""
    words = net.state
    state = ptr32(words)
    slots = net.tx
    count = state[_READY_SLOTS]
    if count:
        slots.put(slots.words, _LISTS + int(slots.count), count, words)
        state[_READY_SLOTS] = 0
    slots.queue.kick()
    if state[_FREE_SLOTS] < least:
        reclaim(net)


@micropython.viper
def reclaim(net):
    """Take back the slots that the device has sent."""
    slots = net.tx
    sent = net._sent
    count = int(take(slots, sent, 0, int(slots.count)))
    state = ptr32(net.state)
    free = ptr32(int(state) + 4 * (_LISTS + state[_FREE_SLOTS]))
    state[_FREE_SLOTS] = state[_FREE_SLOTS] + count
    found = ptr32(sent)
    i = 0
    while i < count:
        free[i] = found[2 * i]
        i = i + 1
