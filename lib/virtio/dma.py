"""The static DMA region: memory that devices and drivers share.

The linker script reserves it, the collector never sees it, and it lies at the
address the device uses (RAM is identity-mapped). Rings, descriptor tables and the
drivers' small fixed structures live here; data buffers stay where the user has them.
"""

# SPDX-License-Identifier: MIT

from builtins import bytearray, bytes, len, memoryview, type  # as in queue.py
from struct import pack_into

import board
from micropython import const
from uctypes import addressof

from .errors import DmaError, InvalidParam

_QUEUE = const(16384)  # bytes that a disk's queue takes at most

_region = board.dma()
_base = addressof(_region)

# (offset, size) of each free piece, by offset; neighbours are always merged.
_free = [(0, len(_region))]


def alloc(size, align=16):
    """Take *size* zeroed bytes from the region, at a multiple of *align* (a power of two).

    Returns a writable `memoryview` that is the caller's until `free`.
    Raises `DmaError` where no piece is large enough, `InvalidParam` for a bad argument.
    """
    if size <= 0 or align <= 0 or align & (align - 1):
        raise InvalidParam("dma size and alignment")
    best = None
    for i, (offset, length) in enumerate(_free):
        start = ((_base + offset + align - 1) & -align) - _base
        # The smallest piece that will do, so that what lies between aligned ones is used up
        # before a large one is cut.
        if start + size <= offset + length and (best is None or length < _free[best][1]):
            best, at = i, start
    if best is None:
        raise DmaError("%d bytes" % size)
    offset, length = _free[best]
    left = ((offset, at - offset), (at + size, offset + length - (at + size)))
    _free[best : best + 1] = [piece for piece in left if piece[1]]
    piece = _region[at : at + size]
    _zero(piece, size)
    return piece


def free(piece):
    """Give back what `alloc` returned, or a slice of it that is of no use.

    The caller vouches that no device knows of it any more.
    """
    start = addressof(piece) - _base
    end = start + len(piece)
    if not 0 <= start < end <= len(_region):
        raise InvalidParam("not of the dma region")
    i = 0
    while i < len(_free) and _free[i][0] < start:
        i += 1
    before = i > 0 and _free[i - 1]
    after = i < len(_free) and _free[i]
    if (before and sum(before) > start) or (after and end > after[0]):
        raise InvalidParam("freed twice")
    first, last = i, i
    if before and sum(before) == start:
        first, start = i - 1, before[0]
    if after and after[0] == end:
        last, end = i + 1, sum(after)
    _free[first:last] = [(start, end - start)]


def available():
    """Bytes of the region that are free, in however many pieces."""
    return sum(length for _, length in _free)


def plenty():
    """Whether there is memory for what a driver can do without.

    Half of the region is kept for the devices that are opened later: it has room for the first
    queue of a disk in each of 32 slots.
    """
    return sum(length for _, length in _free if length >= _QUEUE) > len(_region) // 2


@micropython.native
def byte_length(buf):
    """The length of a buffer in bytes, whatever its items are. `TypeError` for what is no buffer.

    Allocates nothing for `bytes`, `bytearray` and `memoryview`.
    """
    kind = type(buf)
    if kind is bytearray or kind is bytes:
        return len(buf)
    if kind is not memoryview:
        buf = memoryview(buf)
    return len(buf) * buf.itemsize


@micropython.viper
def checked_length(buf, write: int) -> int:
    """`byte_length`; with *write*, of what the device is to write: `TypeError` where it is read-only."""
    kind = type(buf)
    if write:
        pack_into("", buf, 0)  # writes nothing, and raises what writing would
    if kind is bytes:
        return int(len(buf))
    if kind is memoryview:
        return int(len(buf)) * int(buf.itemsize)
    return int(byte_length(buf))


@micropython.viper
def _zero(piece: ptr8, size: int):
    for i in range(size):
        piece[i] = 0
