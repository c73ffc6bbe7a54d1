"""Partitions of a disk: the tables of MBR and GPT, and a block device over a part of a disk."""

# SPDX-License-Identifier: MIT

from binascii import crc32, hexlify
from struct import unpack_from

from micropython import const

from ..blockdev.calls import as_number, ioctl, is_on_stack
from ..errors import InvalidParam
from ..platform.buffers import byte_length

# From layout.py, by `make layout`.

# A request to a disk, in words of its record, and types and statuses (5.2.6).
_SECTOR = const(512)  # the unit of capacity and of a request's position, always

# End of layout.py.

_MBR_ENTRIES = const(446)
_MBR_SIGNATURE = const(510)
_EXTENDED = (0x05, 0x0F, 0x85)
_PROTECTIVE = const(0xEE)  # there is a GPT
_LOGICAL_MAX = const(60)  # partitions in an extended one
_GPT_ENTRIES_MAX = const(1024)
_GPT_ENTRY_MAX = const(4096)  # bytes
_LOST = "\ufffd"  # for half a character
_GPT_PIECE = const(32)  # entries that are looked at at once


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
        self.littlefs = False
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
        try:
            place = self._place(block_num, buf, offset)
        except ValueError as error:
            return self._failed(error, buf)
        return self.disk.readblocks(place, buf, offset)

    def writeblocks(self, block_num, buf, offset=None):
        """As `Block.writeblocks`."""
        try:
            place = self._place(block_num, buf, offset)
        except ValueError as error:
            return self._failed(error, buf)
        return self.disk.writeblocks(place, buf, offset)

    def flush(self):
        """As `Block.flush`: of the whole disk, which has but one cache."""
        self.disk.flush()

    def reset(self):
        """As `Block.reset`: of the whole disk."""
        self.disk.reset()

    def ioctl(self, op, arg):
        """The operations of `vfs.AbstractBlockDev`; as `Block.ioctl`."""
        answer = ioctl(self, op, arg)
        return self.disk.ioctl(op, arg) if answer is None else answer

    def _failed(self, error, buf):
        """Pass an error on as a filesystem can bear it; see `Block`."""
        if is_on_stack(buf):
            return as_number(error)
        raise error

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

    One that is not on the disk, or has no blocks, is left out. Where the two tables of a GPT
    differ, the first that is whole is taken. Raises what reading the disk does.
    """
    return table(disk)[0]


def table(disk):
    """What `partitions` returns, and a list of texts: what is wrong with the table."""
    faults = []
    if disk.block_count == 0:
        return [], faults
    entries = _mbr(disk, 0)
    protective = [entry for entry in entries if entry[0] == _PROTECTIVE]
    if protective:
        found = _gpt(disk, protective[0], faults)
        if found is not None:
            return found, faults
        faults.append("no GPT is whole")
    entries = [entry for entry in entries if entry[0] != _PROTECTIVE]
    faults += [_outside(*entry[1:]) for entry in entries if not _inside(disk, *entry[1:])]
    if faults and _is_filesystem(disk):
        return [], []  # a boot sector, and code where the table would be
    found = []
    for kind, first, count in entries:
        if kind in _EXTENDED:
            found += _logical(disk, first, count, faults)
        elif _inside(disk, first, count):
            found.append(Partition(disk, first, count, kind))
    _check_apart([(0, 1)] + [entry[1:] for entry in entries], faults)
    return found, faults


def _mbr(disk, block):
    """The used entries of the table in that block, as (type, first, count); none without one."""
    if block >= disk.block_count:
        return []
    sector = bytearray(_SECTOR)
    disk.readblocks(block, sector, 0)
    if sector[_MBR_SIGNATURE:] != b"\x55\xaa":
        return []
    found = []
    for at in range(_MBR_ENTRIES, _MBR_SIGNATURE, 16):
        flag, kind, first, count = unpack_from("<B3xB3xII", sector, at)
        if flag not in (0, 0x80):
            return []  # FAT's boot sector has the same signature, and code in this place
        if kind and count:
            found.append((kind, first, count))
    return found


def _is_filesystem(disk):
    """Whether block 0 is the boot sector of FAT, exFAT or NTFS."""
    sector = bytearray(32)
    disk.readblocks(0, sector, 0)
    return sector[3:11] in (b"EXFAT   ", b"NTFS    ") or is_fat(sector)


def is_fat(sector):
    """Whether the numbers at the beginning of a boot sector can be FAT's."""
    unit, cluster, reserved, tables = unpack_from("<HBHB", sector, 11)
    powers = unit and cluster and not unit & (unit - 1) and not cluster & (cluster - 1)
    return bool(powers and 512 <= unit <= 4096 and reserved and 1 <= tables <= 2)


def _logical(disk, extended, length, faults):
    """The partitions inside an extended one: a chain of tables, each with one of them.

    What leads to the next table counts from the beginning of the extended one, and all else
    from the table.
    """
    found = []
    tables = []
    block = extended
    while 0 < block < disk.block_count:
        if block in tables or len(tables) == _LOGICAL_MAX:
            faults.append("the tables of the extended partition do not end")
            break
        tables.append(block)
        following = 0
        for kind, first, count in _mbr(disk, block):
            if kind in _EXTENDED:
                following = extended + first
            elif first and _inside(disk, block + first, count):
                found.append(Partition(disk, block + first, count, kind))
            else:
                faults.append(_outside(block + first, count))
        block = following
    if block >= disk.block_count:
        faults.append("block %d, where partitions go on, is not on the disk" % block)
    taken = [(block, 1) for block in tables] + [(part.first, part.block_count) for part in found]
    taken.append((extended + length, 1 << 62))  # what is not its own
    _check_apart(taken, faults)
    return found


def _gpt(disk, protective, faults):
    """The partitions of the GPT; None where none is whole.

    The second table is in the last block, or where that was before the disk grew.
    """
    _, first, count = protective
    for block in (1, disk.block_count - 1, first + count - 1):
        if 0 < block < disk.block_count:
            entries = _gpt_table(disk, block)
            if entries is not None:
                if block != 1:
                    faults.append("the first GPT is damaged")
                return _gpt_partitions(disk, entries, faults)
    return None


def _gpt_table(disk, block):
    """Block and bytes of the table whose header is in that block, and of each entry; or None."""
    header = bytearray(disk.block_size)
    disk.readblocks(block, header)
    magic, size, crc, own = unpack_from("<8s4xII4xQ", header)
    if magic != b"EFI PART" or own != block or not 92 <= size <= len(header):
        return None
    header[16:20] = bytes(4)
    if crc32(memoryview(header)[:size]) != crc:
        return None
    first, count, length, crc = unpack_from("<QIII", header, 72)
    if not 0 < count <= _GPT_ENTRIES_MAX or not 128 <= length <= _GPT_ENTRY_MAX:
        return None
    blocks = (count * length + disk.block_size - 1) // disk.block_size
    if first < 2 or first + blocks > disk.block_count:
        return None
    found = 0
    for piece in _gpt_pieces(disk, first, count, length):
        found = crc32(piece, found)
    return (first, blocks, count, length) if found == crc else None


def _gpt_pieces(disk, first, count, length):
    """The bytes of the table, some entries at a time."""
    for entry in range(0, count, _GPT_PIECE):
        piece = bytearray(min(_GPT_PIECE, count - entry) * length)
        disk.readblocks(first, piece, entry * length)
        yield piece


def _gpt_partitions(disk, entries, faults):
    found = []
    first, blocks, count, length = entries
    taken = [(0, 2), (first, blocks)]
    for piece in _gpt_pieces(disk, first, count, length):
        for at in range(0, len(piece), length):
            kind, first, last, name = unpack_from("<16s16xQQ8x72s", piece, at)
            if kind == bytes(16):
                continue
            if 0 < first <= last < disk.block_count:
                taken.append((first, last - first + 1))
                found.append(Partition(disk, first, last - first + 1, _guid(kind), _text(name)))
            else:
                faults.append(_outside(first, last - first + 1))
    _check_apart(taken, faults)
    return found


def _inside(disk, first, count):
    return 0 < first and first + count <= disk.block_count


def _outside(first, count):
    return "%d blocks from %d are not on the disk" % (count, first)


def _check_apart(taken, faults):
    """Note where two of these share a block; each is (first, count)."""
    end = 0
    for first, count in sorted(taken):
        if first < end:
            faults.append("what begins at block %d overlaps another" % first)
        end = max(end, first + count)


def _guid(data):
    a, b, c = unpack_from("<IHH", data)
    rest = hexlify(data[8:]).decode()
    return "%08x-%04x-%04x-%s-%s" % (a, b, c, rest[:4], rest[4:])


def _text(data):
    """UTF-16 up to the first zero; MicroPython decodes UTF-8 only."""
    text = ""
    half = 0  # the first half of a character that has two
    for at in range(0, len(data), 2):
        (unit,) = unpack_from("<H", data, at)
        if unit == 0:
            break
        if half and unit & 0xFC00 == 0xDC00:
            text = text[:-1] + chr(0x10000 + ((half & 0x3FF) << 10 | unit & 0x3FF))
            half = 0
            continue
        half = unit if unit & 0xFC00 == 0xD800 else 0
        text += _LOST if unit & 0xF800 == 0xD800 else chr(unit)
    return text
