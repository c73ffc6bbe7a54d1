"""Framed chains: a header before and a byte behind one buffer, or none.

Header and byte lie in the chain's frame, in memory that the device sees, so a driver's request
needs no objects but the buffer. The driver writes records; from there on nothing is an object.
"""

# SPDX-License-Identifier: MIT

from array import array

from micropython import const

from ..platform.barrier import publish

# From layout.py, by `make layout`.

# A descriptor, split or packed, or an entry of an indirect table, in words (2.7.5, 2.8.13).
_ADDR = const(0)
_ADDR_HIGH = const(1)  # addresses have 64 bits; RAM ends below 2^32
_LENGTH = const(2)
_FLAGS_NEXT = const(3)  # split: flags, and in the upper half the index of the next one
_DESC_SIZE = const(16)  # bytes

# Its flags, sections 2.7.5, 2.8.1 and 2.8.6.
_NEXT = const(1)
_WRITE = const(2)  # the device writes there
_INDIRECT = const(4)

# Available and used ring (2.7.6, 2.7.8).
_RING_ENTRIES = const(2)  # in halfwords, of the available ring; behind them is used_event

# The private array of a queue, in words. First what is one of a queue …
_DESC = const(0)  # address of the descriptor table, or of the packed ring
_AVAIL = const(1)  # address of the available ring; packed: of the driver's event suppression
_MASK = const(3)  # size - 1; ring indices run freely modulo 2^16
_FREE = const(4)  # first free descriptor
_FREE_COUNT = const(5)
_AVAIL_IDX = const(6)  # what was last published as avail.idx; packed: as in packed.py
_IN_FLIGHT_COUNT = const(8)  # chains that the device owns
_TABLE_LEN = const(10)  # entries in each; 0 when chains are never indirect
_ADDED = const(11)  # index steps added in the range that `should_notify` decides over
_DECIDED = const(12)  # 1 when that was carried out; the next add begins a new range
_EPOCH = const(15)  # address of the transport's epoch
_BORN = const(16)  # its value when the queue was set up
_FRAMES = const(19)  # address of the frames, one for each descriptor; 0 where there are none
_HELD = const(20)  # address of the array of references
_NONE = const(21)  # what None looks like there
_IN_HAND = const(24)  # 1 + the token of a chain added to be waited for, until it is; or -1

# … then three for each descriptor …
_SHADOW = const(26)
_SHADOW_WORDS = const(3)
_CHAIN_STATE = const(1)  # of the chain that begins here
_CHAIN_BYTES = const(2)  # that the device may write; when it is done, that it has written

# The state word of a chain's first descriptor: the number of its buffers, and these.
_COUNT_MASK = const(0xFFFF)
_IN_FLIGHT = const(0x10000)
_HAS_TABLE = const(0x20000)
_DONE = const(0x40000)
_AWAITED = const(0x80000)  # somebody waits for just this one: it does not join the completed ring

# A frame: what a framed chain has of its own, in memory that the device sees.
_FRAME_SIZE = const(80)  # bytes
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

# End of layout.py.


def new_records(count):
    """Memory for records: an array of objects, so that the collector sees the buffers there."""
    return array("O", [None] * (_RECORD_WORDS * count))


@micropython.viper
def fill_frame_tables(words: int, read: int, write: int):
    """Write what is the same in the table of every frame; flags are for an entry read or written."""
    s = ptr32(words << 2)
    n = s[_MASK] + 1
    frame = s[_FRAMES]
    while n:
        e = ptr32(frame + _FRAME_TABLE)
        e[_ADDR] = frame
        e[_LENGTH] = _FRAME_END
        e[_FLAGS_NEXT] = read
        e[8] = frame + _FRAME_END
        e[10] = 1
        e[11] = write
        frame = frame + _FRAME_SIZE
        n = n - 1


@micropython.viper
def add_framed(queue, words: int, records: int, count: int) -> int:
    """Add the chains of *count* records, as many as fit; returns how many.

    *records* is the address of the first, divided by four. The caller vouches for them. The
    chains are ones that are waited for by themselves, as by `submit`; `end_framed` ends them.
    """
    s = ptr32(words << 2)
    if ptr32(s[_EPOCH])[0] != s[_BORN]:
        queue.refuse_dead()
    if s[_IN_HAND]:
        queue.available_desc()  # which takes it back
    r = ptr32(records << 2)
    stride = s[_TABLE_LEN]
    room = s[_FREE_COUNT]
    if stride == 0:
        room = room // _FRAMED_MAX
    if count > room:
        count = room
    if count == 0:
        return 0
    idx = s[_AVAIL_IDX]
    left = count
    free = s[_FREE]
    taken = 0
    s[_IN_HAND] = -1  # the notes of free descriptors are written here, before all is published
    while left:
        head = free
        frame = s[_FRAMES] + _FRAME_SIZE * head
        f = ptr32(frame)
        f[0] = r[0]
        f[1] = r[1]
        f[2] = r[2]
        f[3] = r[3]
        f[_FRAME_STATUS] = _PENDING
        e = ptr32(s[_DESC] + _DESC_SIZE * head)
        length = r[_RECORD_LENGTH]
        writable = 1
        flags = _NEXT
        if length < 0:
            flags = _NEXT | _WRITE
            length = 0 - length
            writable = 1 + length
        if stride:
            bits = 1 | _IN_FLIGHT | _AWAITED | _HAS_TABLE
            free = s[_SHADOW + _SHADOW_WORDS * head]
            ptr32(s[_HELD])[head * stride] = r[_RECORD_BUFFER]
            e[_ADDR] = frame + _FRAME_TABLE
            e[_ADDR_HIGH] = 0
            e[_FLAGS_NEXT] = _INDIRECT
            if length:
                e[_LENGTH] = 3 * _DESC_SIZE
                f[_FRAME_DATA_ADDR] = r[_RECORD_ADDRESS]
                f[_FRAME_DATA_LENGTH] = length
                f[_FRAME_DATA_FLAGS] = flags | 2 << 16
            else:
                e[_LENGTH] = 2 * _DESC_SIZE
                f[_FRAME_DATA_ADDR] = frame + _FRAME_END
                f[_FRAME_DATA_LENGTH] = 1
                f[_FRAME_DATA_FLAGS] = _WRITE
        else:
            bits = 2 | _IN_FLIGHT | _AWAITED
            ptr32(s[_HELD])[head] = r[_RECORD_BUFFER]
            d = s[_SHADOW + _SHADOW_WORDS * head]
            e[_ADDR] = frame
            e[_ADDR_HIGH] = 0
            e[_LENGTH] = _FRAME_END
            e[_FLAGS_NEXT] = _NEXT | d << 16
            e = ptr32(s[_DESC] + _DESC_SIZE * d)
            d = s[_SHADOW + _SHADOW_WORDS * d]
            if length:
                bits = bits + 1
                e[_ADDR] = r[_RECORD_ADDRESS]
                e[_ADDR_HIGH] = 0
                e[_LENGTH] = length
                e[_FLAGS_NEXT] = flags | d << 16
                e = ptr32(s[_DESC] + _DESC_SIZE * d)
                d = s[_SHADOW + _SHADOW_WORDS * d]
            e[_ADDR] = frame + _FRAME_END
            e[_ADDR_HIGH] = 0
            e[_LENGTH] = 1
            e[_FLAGS_NEXT] = _WRITE
            free = d
        chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * head)
        chain[_CHAIN_STATE] = bits
        chain[_CHAIN_BYTES] = writable
        taken = taken + (bits & _COUNT_MASK)
        ptr16(s[_AVAIL])[_RING_ENTRIES + (idx & s[_MASK])] = head
        idx = idx + 1
        r[_RECORD_TOKEN] = head
        r = ptr32(int(r) + 4 * _RECORD_WORDS)
        left = left - 1
    publish(words, idx)
    s[_IN_HAND] = 0
    s[_FREE] = free
    s[_FREE_COUNT] = s[_FREE_COUNT] - taken
    s[_IN_FLIGHT_COUNT] = s[_IN_FLIGHT_COUNT] + count
    if s[_DECIDED]:
        s[_DECIDED] = 0
        s[_ADDED] = 0
    if s[_ADDED] <= 0xFFFF:
        s[_ADDED] = s[_ADDED] + count
    return count


@micropython.viper
def end_framed(words: int, records: int, count: int) -> int:
    """End the chains of *count* records, as far as they are finished; returns how many.

    The byte at the end of each is then in its record instead of its token. The first where that
    is not 0 is the last to be ended.
    """
    s = ptr32(words << 2)
    r = ptr32(records << 2)
    stride = s[_TABLE_LEN]
    ended = 0
    while ended < count:
        token = r[_RECORD_TOKEN]
        chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
        bits = chain[_CHAIN_STATE]
        if bits & _DONE == 0:
            break
        chain[_CHAIN_STATE] = 0
        last = token
        if stride:
            ptr32(s[_HELD])[token * stride] = s[_NONE]
        else:
            ptr32(s[_HELD])[token] = s[_NONE]
            last = s[_SHADOW + _SHADOW_WORDS * last]
            if bits & _COUNT_MASK == 3:
                last = s[_SHADOW + _SHADOW_WORDS * last]
        s[_SHADOW + _SHADOW_WORDS * last] = s[_FREE]
        s[_FREE] = token
        s[_FREE_COUNT] = s[_FREE_COUNT] + (bits & _COUNT_MASK)
        ended = ended + 1
        status = ptr8(s[_FRAMES] + _FRAME_SIZE * token)[_FRAME_END]
        r[_RECORD_TOKEN] = status
        r[_RECORD_BUFFER] = s[_NONE]
        if status:
            break
        r = ptr32(int(r) + 4 * _RECORD_WORDS)
    return ended
