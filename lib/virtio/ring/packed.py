"""The packed virtqueue (virtio 1.2, section 2.8), behind the interface of the split one.

One ring instead of three parts: the driver writes a chain's descriptors into the next free
places, the device writes one descriptor for each chain it has used over the oldest of them.
Which side a descriptor belongs to is said by two of its flags, AVAIL and USED, against a wrap
counter that turns with every round.

Tokens, the free list and the private array are those of `base.py`. A chain takes as many
identifiers as it takes places in the ring, so the two are counted together. _AVAIL_IDX and
_USED_IDX run freely modulo 2^16 here too: the low bits are the place in the ring, the bit above
them is 0 in the rounds in which the wrap counter is 1.
"""

# SPDX-License-Identifier: MIT

from builtins import len  # as in ring/split.py

from micropython import const

from ..errors import Unsupported
from ..platform.processor import barrier, packed_flags, publish_packed, spin_packed
from ..platform.buffers import checked_length, without_allocation
from .base import Ring, broken, drop_in_hand, end, refuse
from .framed import fill_frame_tables

# From layout.py, by `make layout`.

# A descriptor, split or packed, or an entry of an indirect table, in words (2.7.5, 2.8.13).
_ADDR = const(0)
_ADDR_HIGH = const(1)  # addresses have 64 bits; RAM ends below 2^32
_LENGTH = const(2)
_ID_FLAGS = const(3)  # packed: the buffer id, and in the upper half the flags
_ID_HALF = const(6)  # packed, in halfwords
_FLAGS_HALF = const(7)
_DESC_SIZE = const(16)  # bytes

# Its flags, sections 2.7.5, 2.8.1 and 2.8.6.
_NEXT = const(1)
_WRITE = const(2)  # the device writes there
_INDIRECT = const(4)
_AVAIL_FLAG = const(0x80)  # packed: whose it is, by the wrap counter
_USED_FLAG = const(0x8000)

# An event suppression structure of a packed ring, in halfwords (2.8.14), and its flags (2.8.10).
_EVENT_PLACE = const(0)
_EVENT_FLAGS = const(1)
_WRAP = const(0x8000)  # of the place: the wrap counter
_ENABLE = const(0)
_DISABLE = const(1)
_AT_DESCRIPTOR = const(2)

# The private array of a queue, in words. First what is one of a queue …
_DESC = const(0)  # address of the descriptor table, or of the packed ring
_AVAIL = const(1)  # address of the available ring; packed: of the driver's event suppression
_USED = const(2)  # address of the used ring; packed: of the device's event suppression
_MASK = const(3)  # size - 1; ring indices run freely modulo 2^16
_FREE = const(4)  # first free descriptor
_FREE_COUNT = const(5)
_AVAIL_IDX = const(6)  # what was last published as avail.idx; packed: as in packed.py
_USED_IDX = const(7)  # how far the device's answers were read
_IN_FLIGHT_COUNT = const(8)  # chains that the device owns
_TABLES = const(9)  # address of the indirect tables, one for each descriptor
_TABLE_LEN = const(10)  # entries in each; 0 when chains are never indirect
_ADDED = const(11)  # index steps added in the range that `should_notify` decides over
_DECIDED = const(12)  # 1 when that was carried out; the next add begins a new range
_EVENT_IDX = const(13)  # 1 when event indices were negotiated
_SILENT = const(14)  # 1 when the driver wants no interrupts
_EPOCH = const(15)  # address of the transport's epoch
_BORN = const(16)  # its value when the queue was set up
_DONE_HEAD = const(17)  # the completed chains, in order: a ring of size entries, 16 bits each
_DONE_COUNT = const(18)
_FRAMES = const(19)  # address of the frames, one for each descriptor; 0 where there are none
_HELD = const(20)  # address of the array of references
_STRIDE = const(22)  # places in it for each descriptor
_COMPLETED = const(23)  # address of the ring of completed chains
_IN_HAND = const(24)  # 1 + the token of a chain added to be waited for, until it is; or -1
_BYTEARRAY = const(27)  # what a bytearray begins with, its type; 0 where that is not known

# … then three for each descriptor …
_SHADOW = const(28)
_SHADOW_WORDS = const(3)
_SHADOW_SIZE = const(12)  # the same in bytes
_CHAIN_STATE = const(1)  # of the chain that begins here
_CHAIN_BYTES = const(2)  # that the device may write; when it is done, that it has written

# The state word of a chain's first descriptor: the number of its buffers, and these.
_COUNT_MASK = const(0xFFFF)
_IN_FLIGHT = const(0x10000)
_HAS_TABLE = const(0x20000)
_DONE = const(0x40000)
_AWAITED = const(0x80000)  # somebody waits for just this one: it does not join the completed ring
_ORPHAN = const(0x100000)  # nobody waits any more: taken back as soon as the device lets go

# A frame: what a framed chain has of its own, in memory that the device sees.
_FRAME_SIZE = const(80)  # bytes
_DIRECT_FRAME_SIZE = const(32)  # the same where chains have no tables
_FRAME_END = const(16)  # behind a header of 16 bytes for the device to read: a byte that it writes
_FRAME_STATUS = const(4)  # the same, in words
_FRAME_TABLE = const(32)  # the chain's indirect table: header, data, end
_FRAME_DATA_ADDR = const(12)  # of the table's second entry, in words of the frame
_FRAME_DATA_LENGTH = const(14)
_FRAME_DATA_FLAGS = const(15)
_FRAMED_MAX = const(3)  # descriptors that a framed chain takes without a table

# A record: what a driver says of a framed chain to be added, in words. Four are its header.
_RECORD_ADDRESS = const(4)  # of the buffer
_RECORD_LENGTH = const(5)  # of what the device is to read; of what it is to write, less than 0
_RECORD_BUFFER = const(6)  # the object
_RECORD_TOKEN = const(7)  # filled in when it was added; when it was ended, the byte at its end
_RECORD_WORDS = const(8)
_PENDING = const(0xFF)  # stands at a frame's end until the device has written there

# Why a viper function of the rings refused …
_NO_BUFFERS = const(-1)
_EMPTY_BUFFER = const(-2)
_FULL = const(-3)

# … and what the device has done wrong.
_BAD_ID = const(-2)
_NOT_IN_FLIGHT = const(-3)

# What lies where in MicroPython's objects, in words; behind the type (py/objlist.h, objtuple.h,
# objarray.h, objstr.h).
_OBJECT_TYPE = const(0)
_BUFFER_LENGTH = const(2)  # of a bytearray, or bytes
_BUFFER_ADDRESS = const(3)
_NO_POINTER = const(3)  # the bits of an object that is in the word itself

# End of layout.py.


class PackedRing(Ring):
    """A packed ring; a `PackedVirtQueue` is one, with what waits for its chains."""

    packed = True

    def _possible(self, maximum):
        return maximum > 0  # section 2.8: any number

    def _layout(self):
        if self._transport.legacy:
            raise Unsupported("a packed ring on a legacy transport")
        ring = _DESC_SIZE * self.size
        return ring, ring + 4, ring + 8

    def rings(self):
        """The descriptor ring and both event suppression structures, as `SplitRing.rings`.

        `desc[n]` has addr, len, id and flags, `driver` and `device` have off_wrap and flags.
        """
        from .structures import packed_rings  # for those only who look

        return packed_rings(self)

    def _choose_functions(self):
        self._look = _collect
        self._watch = _watch
        self._wanted = _wanted
        self.add_framed = add_framed

    def _prepare_tables(self):
        # In a table the order is the chain, and only WRITE counts (2.8.8).
        fill_frame_tables(self.words, 0, _WRITE << 16)

    @micropython.viper
    def add(self, inputs, outputs) -> int:
        """Put a chain of buffers into the ring; returns its token. As `SplitRing.add`."""
        words = int(self.words)
        s = ptr32(words << 2)
        held = self._held
        if ptr32(s[_EPOCH])[0] != s[_BORN]:
            self.refuse_dead()
        if s[_IN_HAND]:
            drop_in_hand(self, words)
        length_of = len
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
        e = ptr32(s[_DESC] + _DESC_SIZE * (idx & mask))
        if indirect:
            e = ptr32(s[_TABLES] + _DESC_SIZE * place)
        writable = 0
        i = 0
        while True:
            if i < readable:
                buf = inputs[i]
                flags = 0
            else:
                buf = outputs[i - readable]
                flags = _WRITE
            held[place] = buf
            o = ptr32(ptr32(s[_HELD])[place])
            if int(o) & _NO_POINTER == 0 and o[_OBJECT_TYPE] == s[_BYTEARRAY]:
                # Read where it lies: asking for its type, length and address takes three calls.
                length = o[_BUFFER_LENGTH]
                address = o[_BUFFER_ADDRESS]
            else:
                length = int(checked_length(buf, flags))
                if s[_AVAIL_IDX] != first:
                    # That may have allocated, and a finaliser has sent by this queue: once more.
                    return int(self.add(without_allocation(inputs), without_allocation(outputs)))
                address = int(ptr8(buf))
            if length == 0:
                refuse(_EMPTY_BUFFER)
            if flags:
                writable = writable + length
            i = i + 1
            e[_ADDR] = address
            e[_ADDR_HIGH] = 0  # addresses have 64 bits; RAM ends below 2^32
            e[_LENGTH] = length
            if indirect:
                e[_ID_FLAGS] = flags << 16  # of a table's flags only WRITE counts (2.8.8)
                if i == count:
                    break
                e = ptr32(int(e) + _DESC_SIZE)
                place = place + 1
            else:
                ptr16(int(e))[_ID_HALF] = token
                if i == count:
                    break
                idx = idx + 1
                e = ptr32(s[_DESC] + _DESC_SIZE * (idx & mask))
                d = s[_SHADOW + _SHADOW_WORDS * d]
                place = d * stride

        # All buffers are good. Only now the flags, for they are what gives a descriptor away, and
        # the head's last: until those are written the device does not look at the others.
        bits = count | _IN_FLIGHT
        if indirect:
            bits = bits | _HAS_TABLE
            e = ptr32(s[_DESC] + _DESC_SIZE * (first & mask))
            e[_ADDR] = s[_TABLES] + _DESC_SIZE * token * stride
            e[_ADDR_HIGH] = 0
            e[_LENGTH] = _DESC_SIZE * count
            ptr16(int(e))[_ID_HALF] = token
            flags = _INDIRECT
        else:
            i = count
            if count > 1:
                s[_IN_HAND] = -1  # flags of free places are written before all is published
            while True:
                i = i - 1
                flags = 0 if i < readable else _WRITE
                if i < count - 1:
                    flags = flags | _NEXT
                if i == 0:
                    break
                at = first + i
                turn = _USED_FLAG if at & (mask + 1) else _AVAIL_FLAG
                ptr16(s[_DESC] + _DESC_SIZE * (at & mask))[_FLAGS_HALF] = flags | turn
        flags = flags | (_USED_FLAG if first & (mask + 1) else _AVAIL_FLAG)
        # Up to here whatever was raised changed nothing; from here on nothing raises.
        publish_packed(words, first & mask, flags)
        s[_IN_HAND] = 0
        s[_FREE] = s[_SHADOW + _SHADOW_WORDS * d]
        s[_FREE_COUNT] = s[_FREE_COUNT] - steps
        chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
        chain[_CHAIN_STATE] = bits
        chain[_CHAIN_BYTES] = writable
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
            ptr16(s[_DESC] + _DESC_SIZE * (idx & s[_MASK]))[_FLAGS_HALF] = 0
            idx = idx + 1
            left = left - 1
        s[_IN_HAND] = 0

    @micropython.viper
    def _tell(self):
        """Write the driver's event suppression structure."""
        s = ptr32(int(self.words) << 2)
        event = ptr16(s[_AVAIL])
        if s[_SILENT]:
            event[_EVENT_FLAGS] = _DISABLE
        elif s[_EVENT_IDX]:
            # Wanted: when the next used descriptor is written.
            idx = s[_USED_IDX]
            size = s[_MASK] + 1
            place = idx & s[_MASK]
            if idx & size == 0:
                place |= _WRAP
            event[_EVENT_PLACE] = place
            barrier()
            event[_EVENT_FLAGS] = _AT_DESCRIPTOR
        else:
            event[_EVENT_FLAGS] = _ENABLE
        # Pairs with the device's between writing a used descriptor and reading this.
        barrier()


@micropython.viper
def add_framed(words: int, records: int, queue, count: int) -> int:
    """Add the chains of *count* records, as many as fit; as `add_framed` of `split.py`."""
    words = words << 2
    records = records << 2
    if ptr32(ptr32(words)[_EPOCH])[0] != ptr32(words)[_BORN]:
        queue.refuse_dead()
    if ptr32(words)[_IN_HAND]:
        drop_in_hand(queue, words >> 2)
    stride = ptr32(words)[_TABLE_LEN]
    room = ptr32(words)[_FREE_COUNT]
    frame_size = _FRAME_SIZE
    if stride == 0:
        room = room // _FRAMED_MAX
        frame_size = _DIRECT_FRAME_SIZE
    if count > room:
        count = room
    if count == 0:
        return 0
    first = ptr32(words)[_AVAIL_IDX]
    at = first
    free = ptr32(words)[_FREE]
    first_flags = _INDIRECT if stride else _NEXT
    left = count
    # As in `add`. All flags but those of the very first descriptor, which gives all chains away.
    ptr32(words)[_IN_HAND] = -1
    while left:
        token = free
        ptr32(records)[_RECORD_TOKEN] = token
        chain = ptr32(token * _SHADOW_SIZE + words)  # its words, from _SHADOW on
        free = chain[_SHADOW]
        f = ptr32(token * frame_size + ptr32(words)[_FRAMES])
        f[0] = ptr32(records)[0]
        f[1] = ptr32(records)[1]
        f[2] = ptr32(records)[2]
        f[3] = ptr32(records)[3]
        f[_FRAME_STATUS] = _PENDING
        length = ptr32(records)[_RECORD_LENGTH]
        writable = 1
        flags = 0
        if length < 0:
            flags = _WRITE
            length = 0 - length
            writable = length + 1
        chain[_SHADOW + _CHAIN_BYTES] = writable
        e = ptr32((at & ptr32(words)[_MASK]) * _DESC_SIZE + ptr32(words)[_DESC])
        e[_ADDR_HIGH] = 0
        if at ^ first:
            turn = _USED_FLAG if at & (ptr32(words)[_MASK] + 1) else _AVAIL_FLAG
            e[_ID_FLAGS] = (first_flags | turn) << 16 | token
        else:
            ptr16(int(e))[_ID_HALF] = token
        at = at + 1
        if stride:
            # Indirect: the frame's table is the chain, and needs its second entry.
            ptr32(ptr32(words)[_HELD])[token * stride] = ptr32(records)[_RECORD_BUFFER]
            chain[_SHADOW + _CHAIN_STATE] = 1 | _IN_FLIGHT | _AWAITED | _HAS_TABLE
            e[_ADDR] = int(f) + _FRAME_TABLE
            if length:
                e[_LENGTH] = 3 * _DESC_SIZE
                f[_FRAME_DATA_ADDR] = ptr32(records)[_RECORD_ADDRESS]
                f[_FRAME_DATA_LENGTH] = length
                f[_FRAME_DATA_FLAGS] = flags << 16
            else:
                e[_LENGTH] = 2 * _DESC_SIZE
                f[_FRAME_DATA_ADDR] = int(f) + _FRAME_END
                f[_FRAME_DATA_LENGTH] = 1
                f[_FRAME_DATA_FLAGS] = _WRITE << 16
        else:
            # Direct: two or three places that follow each other.
            ptr32(ptr32(words)[_HELD])[token] = ptr32(records)[_RECORD_BUFFER]
            bits = 2 | _IN_FLIGHT | _AWAITED
            e[_ADDR] = int(f)
            e[_LENGTH] = _FRAME_END
            if length:
                bits = 3 | _IN_FLIGHT | _AWAITED
                e = ptr32((at & ptr32(words)[_MASK]) * _DESC_SIZE + ptr32(words)[_DESC])
                e[_ADDR] = ptr32(records)[_RECORD_ADDRESS]
                e[_ADDR_HIGH] = 0
                e[_LENGTH] = length
                turn = _USED_FLAG if at & (ptr32(words)[_MASK] + 1) else _AVAIL_FLAG
                e[_ID_FLAGS] = (flags | _NEXT | turn) << 16 | token
                at = at + 1
                free = ptr32(free * _SHADOW_SIZE + words)[_SHADOW]
            e = ptr32((at & ptr32(words)[_MASK]) * _DESC_SIZE + ptr32(words)[_DESC])
            e[_ADDR] = int(f) + _FRAME_END
            e[_ADDR_HIGH] = 0
            e[_LENGTH] = 1
            turn = _USED_FLAG if at & (ptr32(words)[_MASK] + 1) else _AVAIL_FLAG
            e[_ID_FLAGS] = (_WRITE | turn) << 16 | token
            at = at + 1
            free = ptr32(free * _SHADOW_SIZE + words)[_SHADOW]
            chain[_SHADOW + _CHAIN_STATE] = bits
        records = records + 4 * _RECORD_WORDS
        left = left - 1
    turn = _USED_FLAG if first & (ptr32(words)[_MASK] + 1) else _AVAIL_FLAG
    publish_packed(words >> 2, first & ptr32(words)[_MASK], first_flags | turn)
    ptr32(words)[_IN_HAND] = 0
    ptr32(words)[_FREE] = free
    steps = at - first
    ptr32(words)[_FREE_COUNT] = ptr32(words)[_FREE_COUNT] - steps
    ptr32(words)[_IN_FLIGHT_COUNT] = ptr32(words)[_IN_FLIGHT_COUNT] + count
    if ptr32(words)[_DECIDED]:
        ptr32(words)[_DECIDED] = 0
        ptr32(words)[_ADDED] = 0
    if ptr32(words)[_ADDED] <= 0xFFFF:
        ptr32(words)[_ADDED] = ptr32(words)[_ADDED] + steps
    ptr32(words)[_AVAIL_IDX] = at & 0xFFFF
    return count


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
    if event & _WRAP == 0:
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
    words = words << 2  # its address from here on, as a parameter in a register
    if ptr32(ptr32(words)[_EPOCH])[0] != ptr32(words)[_BORN]:
        queue.refuse_dead()
    mask = ptr32(words)[_MASK]
    while ptr32(words)[_IN_FLIGHT_COUNT]:
        idx = ptr32(words)[_USED_IDX]
        flags = int(packed_flags(words >> 2, idx & mask)) & (_AVAIL_FLAG | _USED_FLAG)
        if idx & (mask + 1):
            if flags:
                break
        elif flags ^ (_AVAIL_FLAG | _USED_FLAG):
            break
        # Each word is read once: the device could change it between two readings.
        entry = ptr32((idx & mask) * _DESC_SIZE + ptr32(words)[_DESC])
        token = entry[_ID_FLAGS] & 0xFFFF
        length = entry[_LENGTH]
        # What finish() does, without a call.
        if token > mask:
            broken(queue, _BAD_ID)
        chain = ptr32(token * _SHADOW_SIZE + words)  # its words, from _SHADOW on
        bits = chain[_SHADOW + _CHAIN_STATE]
        if (bits & (_IN_FLIGHT | _DONE)) ^ _IN_FLIGHT:
            broken(queue, _NOT_IN_FLIGHT)
        if uint(length) > uint(chain[_SHADOW + _CHAIN_BYTES]):
            length = int(queue.measure(chain[_SHADOW + _CHAIN_BYTES]))
        if bits & _ORPHAN:
            # Before the rest: there may be no stack for the call.
            end(queue, words >> 2, token, False)
        else:
            chain[_SHADOW + _CHAIN_STATE] = bits | _DONE
            chain[_SHADOW + _CHAIN_BYTES] = length
        ptr32(words)[_IN_FLIGHT_COUNT] = ptr32(words)[_IN_FLIGHT_COUNT] - 1
        # The device writes its next one behind all the places that the chain takes.
        places = 1
        if bits & _HAS_TABLE:
            pass
        else:
            places = bits & _COUNT_MASK
        ptr32(words)[_USED_IDX] = (idx + places) & 0xFFFF
        if bits & (_AWAITED | _ORPHAN):
            pass
        else:
            place = (ptr32(words)[_DONE_HEAD] + ptr32(words)[_DONE_COUNT]) & mask
            ptr16(ptr32(words)[_COMPLETED])[place] = token
            ptr32(words)[_DONE_COUNT] = ptr32(words)[_DONE_COUNT] + 1
        if ptr32(words)[_EVENT_IDX] and ptr32(words)[_SILENT] == 0:
            queue._tell()
    return ptr32(words)[_DONE_COUNT]


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
