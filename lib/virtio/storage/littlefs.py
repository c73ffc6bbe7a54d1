"""What a littlefs says of itself: its superblock, found as littlefs finds it.

A superblock stands in blocks 0 and 1, of which the newer counts; in one that has been written to
often there is only a pointer to where it has moved. A block's size is needed to find any but
block 0, and stands in the superblock.
"""

# SPDX-License-Identifier: MIT

from array import array
from binascii import crc32
from struct import unpack_from

from micropython import const

_SIZE_MIN = const(512)  # of a block
_SIZE_MAX = const(1 << 20)

# Tags of the on-disk format (SPEC.md of littlefs): a type of 11 bits, an id of 10, a length of 10.
_SUPERBLOCK = const(0x0FF)
_INLINE = const(0x201)
_HARD_TAIL = const(0x601)
_CRC = const(0x500)
_KIND = const(0x780)
_GONE = const(0x3FF)  # a length that is none

_MAGIC = b"littlefs"
_FIRST_TAIL = 0x601FFC08 ^ 0xFFFFFFFF  # the first tag of a block, as it is on the disk

# What a scan has found: the places of a superblock's name and structure, and of a pointer.
_AT_NAME = const(0)
_AT_SUPERBLOCK = const(1)
_AT_TAIL = const(2)
_TAG = const(3)  # the tag that it got to


def superblock(device, second=False):
    """Version, block size and block count of the littlefs on a disk, or None where none is.

    With *second*, as its second block says, for a disk whose first one is damaged; None as well
    where several sizes have one, of which all but the last are left from before.
    """
    found = [_superblock(device, size) for size in _sizes(device, second)]
    found = [block for block in found if block]
    return found[0] if len(found) == 1 else None


def _sizes(device, second):
    """The block sizes that there may be, each a multiple of the disk's."""
    unit = device.block_size
    size = _SIZE_MIN
    if not second:
        start = _start(device, 0)
        if start[8:16] == _MAGIC:
            (size,) = unpack_from("<I", start, 24)
            if unit <= size <= _SIZE_MAX and size & (size - 1) == 0:
                yield size
            return
        if not _begins_with_tail(start):
            return
    while size <= _SIZE_MAX:
        if size >= unit and 2 * size <= device.block_count * unit:
            if not second or _may_be_superblock(_start(device, size // unit), size):
                yield size
        size *= 2


def _start(device, block):
    start = bytearray(32)
    device.readblocks(block, start, 0)
    return start


def _begins_with_tail(start):
    return unpack_from(">I", start, 4)[0] == _FIRST_TAIL


def _may_be_superblock(start, size):
    known = start[8:16] == _MAGIC and unpack_from("<I", start, 24)[0] == size
    return known or _begins_with_tail(start)


def _superblock(device, size):
    # littlefs moves it on with each thousand or so of writes to the root, and never goes back: most
    # of a disk may be pointers. In a circle of them `before` is met again (Brent's way).
    before = pair = (0, 1)
    steps, most = 0, 1
    while True:
        data, at = _newer(device, size, pair)
        if data is None:
            return None
        if at[_AT_NAME] and at[_AT_SUPERBLOCK]:
            found = unpack_from("<III", data, at[_AT_SUPERBLOCK])
            return found if found[1] == size else None
        if not at[_AT_TAIL]:
            return None
        pair = unpack_from("<II", data, at[_AT_TAIL])
        if pair == before:
            return None
        steps += 1
        if steps == most:
            before, steps, most = pair, 0, 2 * most


def _newer(device, size, pair):
    """Bytes of the newer block of a pair that is whole, and what is in them; or None, None."""
    ratio = size // device.block_size
    whole = []
    for block in pair:
        if (block + 1) * ratio <= device.block_count:
            data = bytearray(size)
            device.readblocks(block * ratio, data)
            whole.append(data)
    if len(whole) == 2:
        older, newer = [unpack_from("<I", data)[0] for data in whole]
        if newer - older & 0x80000000 == 0:  # revisions count modulo 2^32
            whole.reverse()
    for data in whole:
        at = _commits(data)
        if at:
            return data, at
    return None, None


def _commits(data):
    """What the commits of a block say together, each with its checksum; None without any."""
    view = memoryview(data)
    at = array("i", (0, 0, 0, -1))
    valid = None
    start, tag = 0, 4
    while True:
        end = _scan(data, len(data), tag, at)
        if end < 0:
            return valid
        checked = crc32(view[start : end + 4]) ^ 0xFFFFFFFF
        if checked != unpack_from("<I", data, end + 4)[0]:
            return valid
        start = tag = _after(at, end)
        valid = array("i", at)


@micropython.viper
def _scan(data: ptr8, size: int, at: int, found: ptr32) -> int:
    """Go through tags up to that of a checksum; returns its place, or less than 0."""
    last = found[_TAG]
    while at + 8 <= size:
        tag = data[at] << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3]
        tag = tag ^ last
        last = tag
        if tag < 0:
            return -1
        kind = (tag >> 20) & 0x7FF
        length = tag & 0x3FF
        if length == _GONE:
            length = 0
        if at + 4 + length > size:
            return -1
        if kind & _KIND == _CRC:
            found[_TAG] = tag
            return at if length >= 4 else -1
        if (tag >> 10) & 0x3FF == 0:
            if kind == _SUPERBLOCK:
                found[_AT_NAME] = at + 4
            if kind == _INLINE and length >= 12:
                found[_AT_SUPERBLOCK] = at + 4
        if kind == _HARD_TAIL and length == 8:
            found[_AT_TAIL] = at + 4
        at += 4 + length
    return -1


@micropython.viper
def _after(found: ptr32, at: int) -> int:
    """Where the next commit begins; notes what its first tag is combined with."""
    tag = found[_TAG]
    found[_TAG] = tag ^ (((tag >> 20) & 1) << 31)
    return at + 4 + (tag & 0x3FF)
