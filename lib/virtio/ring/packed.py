"""The packed virtqueue (virtio 1.2, section 2.8), behind the interface of the split one.

One ring instead of three parts: the driver writes a chain's descriptors into the next free
places, the device writes one descriptor for each chain it has used over the oldest of them.
Which side a descriptor belongs to is said by two of its flags, AVAIL and USED, against a wrap
counter that turns with every round.

Tokens, the free list and the private array are those of `queue.py`. A chain takes as many
identifiers as it takes places in the ring, so the two are counted together. _AVAIL_IDX and
_USED_IDX run freely modulo 2^16 here too: the low bits are the place in the ring, the bit above
them is 0 in the rounds in which the wrap counter is 1.
"""

# SPDX-License-Identifier: MIT

from builtins import bytearray, len, type  # as in ring/split.py

from micropython import const

from ..errors import Unsupported
from ..platform.barrier import barrier, packed_flags, publish_packed, spin_packed
from ..platform.buffers import checked_length
from .framed import fill_frame_tables
from .split import VirtQueue, broken, drop_in_hand, end, refuse

# Descriptor flags, sections 2.8.1 and 2.8.6.
_NEXT = const(1)
_WRITE = const(2)
_INDIRECT = const(4)
_AVAIL_FLAG = const(0x80)
_USED_FLAG = const(0x8000)

# Event suppression, section 2.8.10.
_ENABLE = const(0)
_DISABLE = const(1)
_AT_DESCRIPTOR = const(2)

# The words of the private array, as in queue.py. _AVAIL and _USED are here the addresses of
# the driver's and the device's event suppression structures.
_DESC = const(0)
_AVAIL = const(1)
_USED = const(2)
_MASK = const(3)
_FREE = const(4)
_FREE_COUNT = const(5)
_AVAIL_IDX = const(6)
_USED_IDX = const(7)
_IN_FLIGHT_COUNT = const(8)
_TABLES = const(9)
_TABLE_LEN = const(10)
_ADDED = const(11)
_DECIDED = const(12)
_EVENT_IDX = const(13)
_SILENT = const(14)
_EPOCH = const(15)
_BORN = const(16)
_DONE_HEAD = const(17)
_DONE_COUNT = const(18)
_FRAMES = const(19)
_HELD = const(20)
_STRIDE = const(22)
_COMPLETED = const(23)
_IN_HAND = const(24)
_SHADOW = const(26)
_SHADOW_WORDS = const(3)

_COUNT_MASK = const(0xFFFF)
_IN_FLIGHT = const(0x10000)
_HAS_TABLE = const(0x20000)
_DONE = const(0x40000)
_AWAITED = const(0x80000)
_ORPHAN = const(0x100000)

_FRAME_SIZE = const(80)
_FRAME_END = const(16)
_FRAME_TABLE = const(32)
_FRAMED_MAX = const(3)
_RECORD_ADDRESS = const(4)
_RECORD_LENGTH = const(5)
_RECORD_BUFFER = const(6)
_RECORD_TOKEN = const(7)
_RECORD_WORDS = const(8)
_PENDING = const(0xFF)

_NO_BUFFERS = const(-1)
_EMPTY_BUFFER = const(-2)
_FULL = const(-3)

_BAD_ID = const(-2)
_NOT_IN_FLIGHT = const(-3)


class PackedVirtQueue(VirtQueue):
    """A packed virtqueue: to be used just when the feature RING_PACKED was negotiated.

    Arguments, methods and errors are those of `VirtQueue`; in addition `Unsupported` for a
    legacy transport, which has no packed ring.
    """

    def _possible(self, maximum):
        return maximum > 0  # section 2.8: any number

    def _layout(self):
        if self._transport.legacy:
            raise Unsupported("a packed ring on a legacy transport")
        ring = 16 * self.size
        return ring, ring + 4, ring + 8

    def rings(self):
        """The descriptor ring and both event suppression structures, as `VirtQueue.rings`.

        `desc[n]` has addr, len, id and flags, `driver` and `device` have off_wrap and flags.
        """
        from .structures import packed_rings  # for those only who look

        return packed_rings(*self._areas())

    def _flags(self):
        yield "packed"
        yield from super()._flags()

    def _functions(self):
        return _collect, _watch, _wanted, _add_framed

    def _prepare_tables(self):
        # In a table the order is the chain, and only WRITE counts (2.8.8).
        fill_frame_tables(self.words, 0, _WRITE << 16)

    @micropython.viper
    def add(self, inputs, outputs) -> int:
        """Put a chain of buffers into the ring; returns its token. As `VirtQueue.add`."""
        words = int(self.words)
        s = ptr32(words << 2)
        held = self._held
        if ptr32(s[_EPOCH])[0] != s[_BORN]:
            self.refuse_dead()
        if s[_IN_HAND]:
            drop_in_hand(self, words)
        length_of = len
        type_of = type
        changeable = bytearray
        readable = int(length_of(inputs))
        count = readable + int(length_of(outputs))
        if count == 0:
            refuse(_NO_BUFFERS)
        token = s[_FREE]
        stride = s[_STRIDE]
        indirect = 0
        steps = count
        if 1 < count <= s[_TABLE_LEN]:
            indirect = 1
            steps = 1
        if steps > s[_FREE_COUNT]:
            refuse(_FULL)

        mask = s[_MASK]
        first = s[_AVAIL_IDX]
        idx = first
        d = token
        place = token * stride
        e = ptr32(s[_DESC] + 16 * (idx & mask))
        if indirect:
            e = ptr32(s[_TABLES] + 16 * place)
        writable = 0
        i = 0
        while True:
            if i < readable:
                buf = inputs[i]
                flags = 0
            else:
                buf = outputs[i - readable]
                flags = _WRITE
            if type_of(buf) is changeable:
                length = int(length_of(buf))
            else:
                length = int(checked_length(buf, flags))
            if length == 0:
                refuse(_EMPTY_BUFFER)
            if flags:
                writable = writable + length
            i = i + 1
            held[place] = buf
            e[0] = int(ptr8(buf))
            e[1] = 0  # addresses have 64 bits; RAM ends below 2^32
            e[2] = length
            if indirect:
                e[3] = flags << 16  # of a table's flags only WRITE counts (2.8.8)
                if i == count:
                    break
                e = ptr32(int(e) + 16)
                place = place + 1
            else:
                ptr16(int(e))[6] = token
                if i == count:
                    break
                idx = idx + 1
                e = ptr32(s[_DESC] + 16 * (idx & mask))
                d = s[_SHADOW + _SHADOW_WORDS * d]
                place = d * stride

        # All buffers are good. Only now the flags, for they are what gives a descriptor away, and
        # the head's last: until those are written the device does not look at the others.
        bits = count | _IN_FLIGHT
        if indirect:
            bits = bits | _HAS_TABLE
            e = ptr32(s[_DESC] + 16 * (first & mask))
            e[0] = s[_TABLES] + 16 * token * stride
            e[1] = 0
            e[2] = 16 * count
            ptr16(int(e))[6] = token
            flags = _INDIRECT
        else:
            i = count
            if count > 1:
                s[
                    _IN_HAND
                ] = -1  # the flags of free places are written here, before all is published
            while True:
                i = i - 1
                flags = 0 if i < readable else _WRITE
                if i < count - 1:
                    flags = flags | _NEXT
                if i == 0:
                    break
                at = first + i
                turn = _USED_FLAG if at & (mask + 1) else _AVAIL_FLAG
                ptr16(s[_DESC] + 16 * (at & mask))[7] = flags | turn
        flags = flags | (_USED_FLAG if first & (mask + 1) else _AVAIL_FLAG)
        # Up to here whatever was raised changed nothing; from here on nothing raises.
        publish_packed(words, first & mask, flags)
        s[_IN_HAND] = 0
        s[_FREE] = s[_SHADOW + _SHADOW_WORDS * d]
        s[_FREE_COUNT] = s[_FREE_COUNT] - steps
        chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
        chain[1] = bits
        chain[2] = writable
        s[_IN_FLIGHT_COUNT] = s[_IN_FLIGHT_COUNT] + 1
        if s[_DECIDED]:
            s[_DECIDED] = 0
            s[_ADDED] = 0
        if s[_ADDED] <= 0xFFFF:
            s[_ADDED] = s[_ADDED] + steps
        s[_AVAIL_IDX] = (first + steps) & 0xFFFF
        return token

    @micropython.viper
    def _scrub(self):
        # Neither the device's nor used, whichever way the wrap counter stands.
        s = ptr32(int(self.words) << 2)
        left = s[_FREE_COUNT]
        idx = s[_AVAIL_IDX]
        while left:
            ptr16(s[_DESC] + 16 * (idx & s[_MASK]))[7] = 0
            idx = idx + 1
            left = left - 1
        s[_IN_HAND] = 0

    @micropython.viper
    def _tell(self):
        """Write the driver's event suppression structure."""
        s = ptr32(int(self.words) << 2)
        event = ptr16(s[_AVAIL])
        if s[_SILENT]:
            event[1] = _DISABLE
        elif s[_EVENT_IDX]:
            # Wanted: when the next used descriptor is written.
            idx = s[_USED_IDX]
            size = s[_MASK] + 1
            place = idx & s[_MASK]
            if idx & size == 0:
                place |= 0x8000
            event[0] = place
            barrier()
            event[1] = _AT_DESCRIPTOR
        else:
            event[1] = _ENABLE
        # Pairs with the device's between writing a used descriptor and reading this.
        barrier()


@micropython.viper
def _add_framed(queue, words: int, records: int, count: int) -> int:
    """Add the chains of *count* records, as many as fit, as `add_framed` of `frames.py`."""
    s = ptr32(words << 2)
    if ptr32(s[_EPOCH])[0] != s[_BORN]:
        queue.refuse_dead()
    if s[_IN_HAND]:
        drop_in_hand(queue, words)
    r = ptr32(records << 2)
    stride = s[_TABLE_LEN]
    mask = s[_MASK]
    added = 0
    while added < count:
        if s[_FREE_COUNT] < (1 if stride else _FRAMED_MAX):
            break
        token = s[_FREE]
        frame = s[_FRAMES] + _FRAME_SIZE * token
        f = ptr32(frame)
        f[0] = r[0]
        f[1] = r[1]
        f[2] = r[2]
        f[3] = r[3]
        f[4] = _PENDING
        length = r[_RECORD_LENGTH]
        writable = 1
        flags = 0
        if length < 0:
            flags = _WRITE
            length = 0 - length
            writable = 1 + length
        first = s[_AVAIL_IDX]
        d = s[_SHADOW + _SHADOW_WORDS * token]
        e = ptr32(s[_DESC] + 16 * (first & mask))
        e[1] = 0
        ptr16(int(e))[6] = token
        if stride:
            steps = 1
            bits = 1 | _IN_FLIGHT | _AWAITED | _HAS_TABLE
            ptr32(s[_HELD])[token * stride] = r[_RECORD_BUFFER]
            e[0] = frame + _FRAME_TABLE
            first_flags = _INDIRECT
            if length:
                e[2] = 48
                f[12] = r[_RECORD_ADDRESS]
                f[14] = length
                f[15] = flags << 16
            else:
                e[2] = 32
                f[12] = frame + _FRAME_END
                f[14] = 1
                f[15] = _WRITE << 16
        else:
            steps = 2
            s[_IN_HAND] = -1  # as in `add`
            ptr32(s[_HELD])[token] = r[_RECORD_BUFFER]
            e[0] = frame
            e[2] = _FRAME_END
            first_flags = _NEXT
            at = first + 1
            if length:
                e = ptr32(s[_DESC] + 16 * (at & mask))
                e[0] = r[_RECORD_ADDRESS]
                e[1] = 0
                e[2] = length
                turn = _USED_FLAG if at & (mask + 1) else _AVAIL_FLAG
                e[3] = token | (flags | _NEXT | turn) << 16
                at = at + 1
                steps = 3
                d = s[_SHADOW + _SHADOW_WORDS * d]
            e = ptr32(s[_DESC] + 16 * (at & mask))
            e[0] = frame + _FRAME_END
            e[1] = 0
            e[2] = 1
            turn = _USED_FLAG if at & (mask + 1) else _AVAIL_FLAG
            e[3] = token | (_WRITE | turn) << 16
            d = s[_SHADOW + _SHADOW_WORDS * d]
            bits = steps | _IN_FLIGHT | _AWAITED
        # The only call, of assembler, which no end of the stack keeps from being done: whoever adds
        # many gets to know of all that were published.
        turn = _USED_FLAG if first & (mask + 1) else _AVAIL_FLAG
        publish_packed(words, first & mask, first_flags | turn)
        s[_IN_HAND] = 0
        s[_FREE] = d
        s[_FREE_COUNT] = s[_FREE_COUNT] - steps
        chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
        chain[1] = bits
        chain[2] = writable
        s[_IN_FLIGHT_COUNT] = s[_IN_FLIGHT_COUNT] + 1
        if s[_DECIDED]:
            s[_DECIDED] = 0
            s[_ADDED] = 0
        if s[_ADDED] <= 0xFFFF:
            s[_ADDED] = s[_ADDED] + steps
        s[_AVAIL_IDX] = (first + steps) & 0xFFFF
        r[_RECORD_TOKEN] = token
        r = ptr32(int(r) + 4 * _RECORD_WORDS)
        added = added + 1
    return added


@micropython.viper
def _wanted(words: int) -> bool:
    """What `should_notify` says, by the device's event suppression structure (2.8.10)."""
    s = ptr32(words << 2)
    event = ptr32(s[_USED])[0]  # offset, wrap counter and flags in one reading
    flags = event >> 16 & 3
    if flags == _ENABLE:
        return True
    if flags == _DISABLE:
        return False
    size = s[_MASK] + 1
    if s[_ADDED] >= size:
        return True
    place = event & s[_MASK]
    if event & 0x8000 == 0:
        place += size
    return (s[_AVAIL_IDX] - place - 1) & (2 * size - 1) < s[_ADDED]


@micropython.viper
def _watch(words: int, rounds: int) -> int:
    """Return when the device has used something, or after so many rounds; those that are left."""
    s = ptr32(words << 2)
    idx = s[_USED_IDX]
    ours = 0
    if idx & (s[_MASK] + 1) == 0:
        ours = _AVAIL_FLAG | _USED_FLAG
    return int(spin_packed(words, idx & s[_MASK], ours, rounds))


@micropython.viper
def _collect(queue, words: int) -> int:
    """Note what the device has used; returns how many chains wait to be popped."""
    s = ptr32(words << 2)
    if ptr32(s[_EPOCH])[0] != s[_BORN]:
        queue.refuse_dead()
    while is_used(words):
        # Each word is read once: the device could change it between two readings.
        idx = s[_USED_IDX]
        mask = s[_MASK]
        entry = ptr32(s[_DESC] + 16 * (idx & mask))
        token = entry[3] & 0xFFFF
        length = entry[2]
        # What finish() does, without a call.
        if token & ~mask:
            broken(queue, _BAD_ID)
        chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
        bits = chain[1]
        if bits & (_IN_FLIGHT | _DONE) != _IN_FLIGHT:
            broken(queue, _NOT_IN_FLIGHT)
        if uint(length) > uint(chain[2]):
            length = int(queue.measure(chain[2]))
        if bits & _ORPHAN:
            end(queue, words, token, False)  # before the rest: there may be no stack for the call
        else:
            chain[1] = bits | _DONE
            chain[2] = length
        s[_IN_FLIGHT_COUNT] = s[_IN_FLIGHT_COUNT] - 1
        # The device writes its next one behind all the places that the chain takes.
        places = 1
        if bits & _HAS_TABLE == 0:
            places = bits & _COUNT_MASK
        s[_USED_IDX] = (idx + places) & 0xFFFF
        if bits & (_AWAITED | _ORPHAN) == 0:
            ptr32(s[_COMPLETED])[(s[_DONE_HEAD] + s[_DONE_COUNT]) & mask] = token
            s[_DONE_COUNT] = s[_DONE_COUNT] + 1
        if s[_EVENT_IDX] and s[_SILENT] == 0:
            queue._tell()
    return s[_DONE_COUNT]


@micropython.viper
def is_used(words: int) -> bool:
    """Whether the device has written a used descriptor that was not noted yet."""
    s = ptr32(words << 2)
    if s[_IN_FLIGHT_COUNT] == 0:
        return False
    idx = s[_USED_IDX]
    ours = 0
    if idx & (s[_MASK] + 1) == 0:
        ours = _AVAIL_FLAG | _USED_FLAG
    flags = int(packed_flags(words, idx & s[_MASK]))
    return flags & (_AVAIL_FLAG | _USED_FLAG) == ours
