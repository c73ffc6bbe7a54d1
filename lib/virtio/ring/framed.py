"""Framed chains: a header before and a byte behind one buffer, or none.

Header and byte lie in the chain's frame, in memory that the device sees, so a driver's request
needs no objects but the buffer. The driver writes records; from there on nothing is an object.
"""

# SPDX-License-Identifier: MIT

from array import array

from micropython import const

from ..platform.barrier import publish

# A frame: what a framed chain has of its own, in memory that the device sees.
_FRAME_SIZE = const(80)
_FRAME_END = const(16)  # behind a header of 16 bytes for the device to read: a byte that it writes
_FRAME_TABLE = const(32)  # the chain's indirect table: header, data, end
_FRAMED_MAX = const(3)  # descriptors that a framed chain takes without one

# A record: what the driver says of a framed chain to be added, in words. Four are its header.
_RECORD_ADDRESS = const(4)  # of the buffer
_RECORD_LENGTH = const(5)  # of what the device is to read; of what it is to write, less than 0
_RECORD_BUFFER = const(6)  # the object
_RECORD_TOKEN = const(7)  # filled in when it was added; when it was ended, the byte at its end
_RECORD_WORDS = const(8)
_PENDING = const(0xFF)  # stands at a frame's end until the device has written there

# As in queue.py.
_DESC = const(0)
_AVAIL = const(1)
_MASK = const(3)
_FREE = const(4)
_FREE_COUNT = const(5)
_AVAIL_IDX = const(6)
_IN_FLIGHT_COUNT = const(8)
_TABLE_LEN = const(10)
_ADDED = const(11)
_DECIDED = const(12)
_EPOCH = const(15)
_BORN = const(16)
_FRAMES = const(19)
_HELD = const(20)
_NONE = const(21)
_IN_HAND = const(24)
_SHADOW = const(26)
_SHADOW_WORDS = const(3)
_COUNT_MASK = const(0xFFFF)
_IN_FLIGHT = const(0x10000)
_HAS_TABLE = const(0x20000)
_DONE = const(0x40000)
_AWAITED = const(0x80000)
_NEXT = const(1)
_WRITE = const(2)
_INDIRECT = const(4)


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
        e[0] = frame
        e[2] = _FRAME_END
        e[3] = read
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
        f[4] = _PENDING
        e = ptr32(s[_DESC] + 16 * head)
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
            e[0] = frame + _FRAME_TABLE
            e[1] = 0
            e[3] = _INDIRECT
            if length:
                e[2] = 48
                f[12] = r[_RECORD_ADDRESS]
                f[14] = length
                f[15] = flags | 2 << 16
            else:
                e[2] = 32
                f[12] = frame + _FRAME_END
                f[14] = 1
                f[15] = _WRITE
        else:
            bits = 2 | _IN_FLIGHT | _AWAITED
            ptr32(s[_HELD])[head] = r[_RECORD_BUFFER]
            d = s[_SHADOW + _SHADOW_WORDS * head]
            e[0] = frame
            e[1] = 0
            e[2] = _FRAME_END
            e[3] = _NEXT | d << 16
            e = ptr32(s[_DESC] + 16 * d)
            d = s[_SHADOW + _SHADOW_WORDS * d]
            if length:
                bits = bits + 1
                e[0] = r[_RECORD_ADDRESS]
                e[1] = 0
                e[2] = length
                e[3] = flags | d << 16
                e = ptr32(s[_DESC] + 16 * d)
                d = s[_SHADOW + _SHADOW_WORDS * d]
            e[0] = frame + _FRAME_END
            e[1] = 0
            e[2] = 1
            e[3] = _WRITE
            free = d
        chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * head)
        chain[1] = bits
        chain[2] = writable
        taken = taken + (bits & _COUNT_MASK)
        ptr16(s[_AVAIL])[2 + (idx & s[_MASK])] = head
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
        bits = chain[1]
        if bits & _DONE == 0:
            break
        chain[1] = 0
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
