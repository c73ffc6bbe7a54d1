"""Partitions of a disk: the tables of MBR and GPT, and a block device over a part of a disk."""

# SPDX-License-Identifier: MIT

from binascii import crc32, hexlify
from struct import unpack_from

from micropython import const

from .blk import _is_on_stack, number, sync
from .dma import byte_length
from .errors import InvalidParam

_SECTOR = const(512)
_MBR_ENTRIES = const(446)
_MBR_SIGNATURE = const(510)
_EXTENDED = (0x05, 0x0F, 0x85)
_PROTECTIVE = const(0xEE)  # there is a GPT
_LOGICAL_MAX = const(60)  # partitions in an extended one; its chain may be a loop
_GPT_ENTRIES_MAX = const(1024)

# vfs.AbstractBlockDev.ioctl
_IOCTL_INIT = const(1)
_IOCTL_DEINIT = const(2)
_IOCTL_SYNC = const(3)
_IOCTL_BLOCK_COUNT = const(4)
_IOCTL_BLOCK_SIZE = const(5)


class Partition:
    """*count* blocks of a disk from block *first* on, as a block device of its own.

    `kind` is its type as the table has it, a number in an MBR and a GUID in a GPT; `name` the
    name that a GPT gives it. With a `block_size`, a multiple of the disk's, its blocks are
    that large, as a littlefs may want them. A whole disk is `Partition(disk)`.
    """

    def __init__(self, disk, first=0, count=None, kind=None, name="", block_size=None):
        self.disk = disk
        self.first = first
        self.kind = kind
        self.name = name
        self._littlefs = False
        self.read_only = disk.read_only
        self.block_size = block_size or disk.block_size
        if self.block_size % disk.block_size:
            raise InvalidParam("blocks of %d bytes on %r" % (self.block_size, disk))
        if count is None:
            count = disk.block_count - first
        if first < 0 or count <= 0 or first + count > disk.block_count:
            raise InvalidParam("blocks %d to %d of %r" % (first, first + count - 1, disk))
        self._ratio = self.block_size // disk.block_size
        self.block_count = count // self._ratio

    def __repr__(self):
        return "<Partition %d blocks of %d from %d of %r, kind=%r, name=%r>" % (
            self.block_count,
            self.block_size,
            self.first,
            self.disk,
            self.kind,
            self.name,
        )

    def readblocks(self, block_num, buf, offset=None):
        """As `Block.readblocks`."""
        return self._pass(self.disk.readblocks, block_num, buf, offset)

    def writeblocks(self, block_num, buf, offset=None):
        """As `Block.writeblocks`."""
        return self._pass(self.disk.writeblocks, block_num, buf, offset)

    def flush(self):
        """As `Block.flush`: of the whole disk, which has but one cache."""
        self.disk.flush()

    def reset(self):
        """As `Block.reset`: of the whole disk."""
        self.disk.reset()

    def ioctl(self, op, arg):
        """The operations of `vfs.AbstractBlockDev`; as `Block.ioctl`."""
        if op in (_IOCTL_DEINIT, _IOCTL_SYNC):
            return sync(self, self._littlefs)
        if op == _IOCTL_INIT:
            self._littlefs = arg == 1
            return 0
        if op == _IOCTL_BLOCK_COUNT:
            return self.block_count
        if op == _IOCTL_BLOCK_SIZE:
            return self.block_size
        return self.disk.ioctl(op, arg)

    def _pass(self, function, block_num, buf, offset):
        try:
            place = self._place(block_num, buf, offset)
        except ValueError as error:
            if _is_on_stack(buf):
                return number(error)  # to a filesystem, whose C code an exception would jump over
            raise
        return function(place, buf, offset)

    def _place(self, block_num, buf, offset):
        """The disk's block where that is, which must not reach beyond the partition."""
        size = self.block_size
        length = byte_length(buf)
        if offset is None:
            offset = 0
            if length % size:
                raise InvalidParam("%d bytes, in blocks of %d" % (length, size))
        end = block_num + (offset + length + size - 1) // size
        if block_num < 0 or offset < 0 or end > self.block_count:
            raise InvalidParam("%d bytes at block %d" % (length, block_num))
        return self.first + block_num * self._ratio


def partitions(disk):
    """The partitions of a disk, as block devices; an empty list where there is no table.

    Where the two tables of a GPT differ, the first that is whole is taken.
    Raises what reading the disk does.
    """
    if disk.block_count == 0:
        return []
    entries = _mbr(disk, 0)
    if any(entry[0] == _PROTECTIVE for entry in entries):
        return _gpt(disk, 1) or _gpt(disk, disk.block_count - 1)
    found = []
    for kind, first, count in entries:
        if kind in _EXTENDED:
            found += _logical(disk, first)
        else:
            found.append(Partition(disk, first, count, kind))
    return found


def _mbr(disk, block, extended=0):
    """The used entries of the table in that block, as (type, first, count).

    Inside an *extended* partition what leads to the next table counts from that one's
    beginning, and all else from the table.
    """
    table = bytearray(_SECTOR)
    disk.readblocks(block, table, 0)
    if table[_MBR_SIGNATURE:] != b"\x55\xaa":
        return []
    found = []
    for at in range(_MBR_ENTRIES, _MBR_SIGNATURE, 16):
        flag, kind, first, count = unpack_from("<B3xB3xII", table, at)
        if kind == 0:
            continue
        # FAT's boot sector has the same signature, and code where the table would be. The
        # count of a protective entry may be larger than the disk.
        base = extended if kind in _EXTENDED else block
        inside = base + first + count <= disk.block_count or kind == _PROTECTIVE
        if flag not in (0, 0x80) or first == 0 or count == 0 or not inside:
            return []
        found.append((kind, first, count))
    return found


def _logical(disk, extended):
    """The partitions inside an extended one: a chain of tables, each with one of them."""
    found = []
    block = extended
    for _ in range(_LOGICAL_MAX):
        following = None
        for kind, first, count in _mbr(disk, block, extended):
            if kind in _EXTENDED:
                following = extended + first
            else:
                found.append(Partition(disk, block + first, count, kind))
        if following is None:
            break
        block = following
    return found


def _gpt(disk, block):
    """The partitions of the GPT whose header is in that block; none unless all of it is right."""
    header = bytearray(disk.block_size)
    disk.readblocks(block, header)
    magic, size, crc, own = unpack_from("<8s4xII4xQ", header)
    if magic != b"EFI PART" or own != block or not 92 <= size <= len(header):
        return []
    header[16:20] = bytes(4)
    if crc32(memoryview(header)[:size]) != crc:
        return []
    first, count, length, crc = unpack_from("<QIII", header, 72)
    if count > _GPT_ENTRIES_MAX or not 128 <= length <= disk.block_size:
        return []
    table = bytearray(count * length)
    if first + len(table) // disk.block_size >= disk.block_count or not table:
        return []
    disk.readblocks(first, table, 0)
    if crc32(table) != crc:
        return []
    found = []
    for at in range(0, len(table), length):
        kind, first, last, name = unpack_from("<16s16xQQ8x72s", table, at)
        if kind != bytes(16) and 0 < first <= last < disk.block_count:
            found.append(Partition(disk, first, last - first + 1, _guid(kind), _text(name)))
    return found


def _guid(data):
    a, b, c = unpack_from("<IHH", data)
    rest = hexlify(data[8:]).decode()
    return "%08x-%04x-%04x-%s-%s" % (a, b, c, rest[:4], rest[4:])


def _text(data):
    """UTF-16 up to the first zero; MicroPython decodes UTF-8 only."""
    units = [unpack_from("<H", data, at)[0] for at in range(0, len(data), 2)]
    units = units[: units.index(0)] if 0 in units else units
    return "".join([chr(unit) for unit in units])
