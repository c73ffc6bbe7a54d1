"""Framed chains: a header before and a byte behind one buffer, or none.

Header and byte lie in the chain's frame, in memory that the device sees, so a driver's request
needs no objects but the buffer. The driver writes records; from there on nothing is an object.
"""

# SPDX-License-Identifier: MIT

from array import array

from micropython import const

# From layout.py, by `make layout`.

# A descriptor, split or packed, or an entry of an indirect table, in words (2.7.5, 2.8.13).
_ADDR = const(0)
_LENGTH = const(2)
_FLAGS_NEXT = const(3)  # split: flags, and in the upper half the index of the next one

# The private array of a queue, in words. First what is one of a queue …
_MASK = const(3)  # size - 1; ring indices run freely modulo 2^16
_FREE = const(4)  # first free descriptor
_FREE_COUNT = const(5)
_TABLE_LEN = const(10)  # entries in each; 0 when chains are never indirect
_FRAMES = const(19)  # address of the frames, one for each descriptor; 0 where there are none
_HELD = const(20)  # address of the array of references
_NONE = const(21)  # what None looks like there

# … then three for each descriptor …
_SHADOW = const(28)
_SHADOW_SIZE = const(12)  # the same in bytes
_CHAIN_STATE = const(1)  # of the chain that begins here

# The state word of a chain's first descriptor: the number of its buffers, and these.
_COUNT_MASK = const(0xFFFF)
_HAS_TABLE = const(0x20000)
_DONE = const(0x40000)

# A frame: what a framed chain has of its own, in memory that the device sees.
_FRAME_SIZE = const(80)  # bytes
_DIRECT_FRAME_SIZE = const(32)  # the same where chains have no tables
_FRAME_END = const(16)  # behind a header of 16 bytes for the device to read: a byte that it writes
_FRAME_TABLE = const(32)  # the chain's indirect table: header, data, end

# A record: what a driver says of a framed chain to be added, in words. Four are its header.
_RECORD_BUFFER = const(6)  # the object
_RECORD_TOKEN = const(7)  # filled in when it was added; when it was ended, the byte at its end
_RECORD_WORDS = const(8)

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
def end_framed(words: int, records: int, count: int) -> int:
    """End the chains of *count* records, as far as they are finished; returns how many.

    The byte at the end of each is then in its record instead of its token. The first where that
    is not 0 is the last to be ended.
    """
    words = words << 2  # addresses from here on, as in `add_framed`
    records = records << 2
    stride = ptr32(words)[_TABLE_LEN] or 1
    frame_size = _FRAME_SIZE if ptr32(words)[_TABLE_LEN] else _DIRECT_FRAME_SIZE
    ended = 0
    while ended < count:
        token = ptr32(records)[_RECORD_TOKEN]
        chain = ptr32(token * _SHADOW_SIZE + words)  # its words, from _SHADOW on
        bits = chain[_SHADOW + _CHAIN_STATE]
        if bits & _DONE:
            chain[_SHADOW + _CHAIN_STATE] = 0
        else:
            break
        ptr32(ptr32(words)[_HELD])[token * stride] = ptr32(words)[_NONE]
        last = chain
        if bits & _HAS_TABLE:
            pass
        else:
            last = ptr32(last[_SHADOW] * _SHADOW_SIZE + words)
            if bits & 1:  # of three, not two
                last = ptr32(last[_SHADOW] * _SHADOW_SIZE + words)
        last[_SHADOW] = ptr32(words)[_FREE]
        ptr32(words)[_FREE] = token
        ptr32(words)[_FREE_COUNT] = ptr32(words)[_FREE_COUNT] + (bits & _COUNT_MASK)
        ended = ended + 1
        status = ptr8(token * frame_size + ptr32(words)[_FRAMES])[_FRAME_END]
        ptr32(records)[_RECORD_TOKEN] = status
        ptr32(records)[_RECORD_BUFFER] = ptr32(words)[_NONE]
        if status:
            break
        records = records + 4 * _RECORD_WORDS
    return ended
