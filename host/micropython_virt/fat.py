# SPDX-License-Identifier: MIT
"""FAT16 images, written and read in Python alone.

A tree is a dictionary: a name leads to a tree, to bytes, or to the path of a file whose content
is meant.
"""

import re
import struct
import time
from pathlib import Path

SECTOR = 512
MIB = 1 << 20
# By their number FAT16 is told from FAT12 and FAT32; not everybody agrees about the last few.
CLUSTERS_MIN, CLUSTERS_MAX = 4096, 65500
LARGEST = 1 << 31
END = 0xFFFF
VOLUME, FOLDER, ARCHIVE, LONG = 0x08, 0x10, 0x20, 0x0F
ENTRY = struct.Struct("<11sBBBHHHHHHHI")
PART = 13  # characters of a long name that one entry holds
NOT_IN_A_NAME = re.compile(r'[\x00-\x1f"*:<>?\\/|]|[ .]$')


class TooLarge(Exception):
    """A tree holds more than a FAT16 can; str() says how much."""


def name_fits(name):
    """Whether FAT has such a name."""
    return not NOT_IN_A_NAME.search(name) and len(name.encode("utf-16-le")) <= 2 * 255


def make(path, tree, free=MIB):
    """Write an image that holds the tree, with so many bytes of room besides."""
    layout = _Layout(tree, free)
    with open(path, "wb") as image:
        image.truncate(layout.sectors * SECTOR)
        image.write(layout.boot_sector())
        layout.write_data(image)
        image.seek(SECTOR)
        image.write(struct.pack(f"<{len(layout.table)}H", *layout.table))


class _Layout:
    """Where everything lies. Files follow each other, each in one piece."""

    def __init__(self, tree, free):
        self.root_entries = -(-max(512, _entries(tree) + 1) // 16) * 16
        if self.root_entries > 65520:
            raise TooLarge("there are too many names in one folder")
        for self.cluster in (512, 1024, 2048, 4096, 8192, 16384, 32768):
            needed = _clusters(tree, self.cluster) + -(-free // self.cluster)
            if needed <= CLUSTERS_MAX:
                break
        else:
            raise TooLarge(f"{_bytes(tree) // MIB} MiB of files are more than a FAT16 can hold")
        self.clusters = max(needed, CLUSTERS_MIN)
        self.table_sectors = -(-(self.clusters + 2) * 2 // SECTOR)
        self.root = (1 + self.table_sectors) * SECTOR
        self.data = self.root + self.root_entries * 32
        self.sectors = (self.data + self.clusters * self.cluster) // SECTOR
        self.table = [0xFFF8, END]
        self.tree = tree

    def boot_sector(self):
        small = self.sectors if self.sectors < 65536 else 0
        head = struct.pack(
            "<3s8sHBHBHHBHHHII",
            b"\xeb\xfe\x90",
            b"MSDOS5.0",
            SECTOR,
            self.cluster // SECTOR,
            1,  # sectors before the table
            1,  # tables
            self.root_entries,
            small,
            0xF8,
            self.table_sectors,
            63,
            255,
            0,
            0 if small else self.sectors,
        )
        head += struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 0, b"NO NAME    ", b"FAT16   ")
        return head.ljust(510, b"\0") + b"\x55\xaa"

    def write_data(self, image):
        self.write_folder(image, self.tree, self.root, 0, None)

    def place(self, cluster):
        return self.data + (cluster - 2) * self.cluster

    def take(self, length):
        """Take as many clusters as that needs and return the first."""
        count = -(-length // self.cluster)
        if count == 0:
            return 0
        first = len(self.table)
        self.table += range(first + 1, first + count)
        self.table.append(END)
        return first

    def write_folder(self, image, tree, place, own, parent):
        now = time.time()
        entries = []
        if parent is not None:
            entries.append(_short(b".          ", FOLDER, now, own, 0))
            entries.append(_short(b"..         ", FOLDER, now, parent, 0))
        for number, (name, node) in enumerate(tree.items()):
            alias = b"%08X   " % number
            entries += _long(name, alias)
            if isinstance(node, dict):
                length = (_entries(node) + 2) * 32
                cluster = self.take(length)
                self.write_folder(image, node, self.place(cluster), cluster, own)
                entries.append(_short(alias, FOLDER, now, cluster, 0))
            else:
                entries.append(self.write_file(image, node, alias, now))
        image.seek(place)
        image.write(b"".join(entries))

    def write_file(self, image, node, alias, now):
        content = node.read_bytes() if isinstance(node, Path) else node
        changed = node.stat().st_mtime if isinstance(node, Path) else now
        cluster = self.take(len(content))
        if cluster:
            if len(self.table) - 2 > self.clusters:
                raise TooLarge("files grew while they were read")
            image.seek(self.place(cluster))
            image.write(content)
        return _short(alias, ARCHIVE, changed, cluster, len(content))


def _entries(tree):
    """How many entries the names of one folder need."""
    units = [len(name.encode("utf-16-le")) // 2 for name in tree]
    return sum(1 + -(-count // PART) for count in units)


def _length(node):
    return node.stat().st_size if isinstance(node, Path) else len(node)


def _bytes(tree):
    return sum(_bytes(n) if isinstance(n, dict) else _length(n) for n in tree.values())


def _clusters(tree, cluster):
    total = 0
    for node in tree.values():
        if isinstance(node, dict):
            total += -(-(_entries(node) + 2) * 32 // cluster) + _clusters(node, cluster)
        else:
            total += -(-_length(node) // cluster)
    return total


def _short(alias, attributes, changed, cluster, length):
    year, month, day, hour, minute, second = time.gmtime(changed)[:6]
    date = max(0, year - 1980) << 9 | month << 5 | day
    clock = hour << 11 | minute << 5 | second // 2
    return ENTRY.pack(alias, attributes, 0, 0, clock, date, date, 0, clock, date, cluster, length)


def _long(name, alias):
    """The entries of a long name, which stand before the short one."""
    check = 0
    for byte in alias:
        check = ((check & 1) << 7 | check >> 1) + byte & 0xFF
    text = name.encode("utf-16-le")
    parts = [text[start : start + 2 * PART] for start in range(0, len(text), 2 * PART)]
    entries = []
    for number, part in enumerate(parts, 1):
        if len(part) < 2 * PART:
            part = (part + b"\0\0").ljust(2 * PART, b"\xff")
        last = 0x40 if number == len(parts) else 0
        entries.append(
            struct.pack(
                "<B10sBBB12sH4s",
                number | last,
                part[:10],
                LONG,
                0,
                check,
                part[10:22],
                0,
                part[22:],
            )
        )
    return entries[::-1]


def read(path):
    """Return the tree that a FAT16 image holds, all its files as bytes."""
    with open(path, "rb") as image:
        return _Reader(image).folder(None)


class _Reader:
    def __init__(self, image):
        self.image = image
        head = image.read(SECTOR)
        size, per_cluster, reserved, tables, self.root_entries = struct.unpack_from(
            "<HBHBH", head, 11
        )
        (table_sectors,) = struct.unpack_from("<H", head, 22)
        self.cluster = size * per_cluster
        self.root = (reserved + tables * table_sectors) * size
        self.data = self.root + self.root_entries * 32
        image.seek(reserved * size)
        content = image.read(table_sectors * size)
        self.table = struct.unpack(f"<{len(content) // 2}H", content)

    def chain(self, cluster):
        pieces = []
        while 2 <= cluster < 0xFFF0 and len(pieces) < len(self.table):
            self.image.seek(self.data + (cluster - 2) * self.cluster)
            pieces.append(self.image.read(self.cluster))
            cluster = self.table[cluster]
        return b"".join(pieces)

    def folder(self, cluster):
        if cluster is None:
            self.image.seek(self.root)
            content = self.image.read(self.root_entries * 32)
        else:
            content = self.chain(cluster)
        tree, long = {}, {}
        for place in range(0, len(content), 32):
            entry = content[place : place + 32]
            if entry[0] == 0:
                break
            if entry[0] == 0xE5:
                long = {}
            elif entry[11] == LONG:
                long[entry[0] & 0x1F] = entry[1:11] + entry[14:26] + entry[28:32]
            else:
                name = _name(entry, long)
                long = {}
                (first,) = struct.unpack_from("<H", entry, 26)
                (length,) = struct.unpack_from("<I", entry, 28)
                if entry[11] & VOLUME or name in (".", ".."):
                    continue
                if entry[11] & FOLDER:
                    tree[name] = self.folder(first)
                else:
                    tree[name] = self.chain(first)[:length]
        return tree


def _name(entry, long):
    if long:
        text = b"".join(long[number] for number in sorted(long)).decode("utf-16-le", "replace")
        return text.partition("\0")[0]
    base = entry[:8].decode("cp437").rstrip()
    extension = entry[8:11].decode("cp437").rstrip()
    if entry[12] & 0x08:
        base = base.lower()
    if entry[12] & 0x10:
        extension = extension.lower()
    return f"{base}.{extension}" if extension else base
