"""The static DMA region: memory that devices and drivers share.

The linker script reserves it, the collector never sees it, and it lies at the
address the device uses (RAM is identity-mapped). Rings, descriptor tables and the
drivers' small fixed structures live here; data buffers stay where the user has them.
"""

# SPDX-License-Identifier: MIT

from array import array
from builtins import len  # as in ring/split.py

from micropython import const

from . import board
from ..errors import DmaError, InvalidParam

_QUEUE_BYTES = const(16384)  # bytes that a disk's queue takes at most

_region = board.dma()
_size = len(_region)

# What is taken: how many pieces, then where each begins and ends, by offset; room for 7 at first.
# What is free lies between, so that neighbours are always merged.
_taken = array("I", bytes(4 * 15))


# Native and viper code lets nothing in, and there is no allocation between looking and taking:
# whoever comes in, or ends this, the same memory is never given twice and none is lost.


@micropython.native
def alloc(size, align=16):
    """Take *size* zeroed bytes from the region, at a multiple of *align* (a power of two).

    Returns a writable `memoryview` that is the caller's until `free`.
    Raises `DmaError` where no piece is large enough, `InvalidParam` for a bad argument.
    """
    if size <= 0 or align <= 0 or align & (align - 1):
        raise InvalidParam("dma size and alignment")
    while True:
        if 2 * _taken[0] + 5 > len(_taken):  # one more, and one that may be cut in two
            _make_room()
        at = -1
        if size <= _size and align <= _size:
            at = _find(_taken, _region, size, align)
        if at < 0:
            raise DmaError("%d bytes" % size)
        piece = _region[at : at + size]
        # The collector may have come in for the last line, and have had a device reset.
        if _find(_taken, _region, size, align) == at:
            _zero(piece, size)
            _insert(_taken, at, at + size)
            return piece


@micropython.viper
def free(piece):
    """Give back what `alloc` returned, or a slice of it that is of no use.

    The caller vouches that no device knows of it any more. Allocates nothing, but where many are cut
    in two.
    """
    length = int(len(piece))
    start = int(ptr8(piece)) - int(ptr8(_region))
    if length <= 0:
        raise InvalidParam("nothing to free")
    found = int(_remove(_taken, int(len(_taken)), start, start + length))
    if found < 0:
        _make_room()
        found = int(_remove(_taken, int(len(_taken)), start, start + length))
    if found == 0:
        raise InvalidParam("not of the dma region, or free already")


def available():
    """Bytes of the region that are free, in however many pieces."""
    return _gaps(_taken, _size, 1)


def plenty():
    """Whether there is memory for what a driver can do without.

    Half of the region is kept for the devices that are opened later: it has room for the first
    queue of a disk in each of 32 slots.
    """
    return _gaps(_taken, _size, _QUEUE_BYTES) > _size // 2


@micropython.viper
def _find(taken: ptr32, region, size: int, align: int) -> int:
    """Where so many bytes are free, in the smallest piece that will do; or -1.

    The smallest, so that what lies between aligned ones is used up before a large one is cut.
    """
    base = int(ptr8(region))
    end = int(len(region))
    found = -1
    least = end + 1
    at = 0
    for i in range(taken[0] + 1):
        limit = end
        if i < taken[0]:
            limit = taken[2 * i + 1]
        start = ((base + at + align - 1) & (0 - align)) - base
        if start + size <= limit and limit - at < least:
            found = start
            least = limit - at
        if i < taken[0]:
            at = taken[2 * i + 2]
    return found


@micropython.viper
def _gaps(taken: ptr32, end: int, least: int) -> int:
    """The bytes in free pieces of at least so many."""
    total = 0
    at = 0
    for i in range(taken[0] + 1):
        limit = end
        if i < taken[0]:
            limit = taken[2 * i + 1]
        if limit - at >= least:
            total = total + limit - at
        if i < taken[0]:
            at = taken[2 * i + 2]
    return total


@micropython.viper
def _insert(taken: ptr32, start: int, end: int):
    at = 2 * taken[0] + 1
    while at > 1 and taken[at - 2] > start:
        taken[at] = taken[at - 2]
        taken[at + 1] = taken[at - 1]
        at = at - 2
    taken[at] = start
    taken[at + 1] = end
    taken[0] = taken[0] + 1


@micropython.viper
def _remove(taken: ptr32, room: int, start: int, end: int) -> int:
    """Take a range out of the piece that it is of. 0 where it is of none, -1 without room."""
    last = 2 * taken[0] + 1
    at = 1
    while at < last and (start < taken[at] or end > taken[at + 1]):
        at = at + 2
    if at == last:
        return 0
    if taken[at] < start:
        if end < taken[at + 1]:
            if last + 2 > room:
                return -1
            _insert(taken, end, taken[at + 1])
        taken[at + 1] = start
    elif end < taken[at + 1]:
        taken[at] = end
    else:
        while at < last - 2:
            taken[at] = taken[at + 2]
            taken[at + 1] = taken[at + 3]
            at = at + 2
        taken[0] = taken[0] - 1
    return 1


@micropython.native
def _make_room():
    global _taken
    larger = array("I", bytes(4 * len(_taken) + 64))
    for i in range(len(_taken)):  # after the allocation, which may bring in whoever frees
        larger[i] = _taken[i]
    _taken = larger


@micropython.viper
def _zero(piece: ptr8, size: int):
    for i in range(size):
        piece[i] = 0
