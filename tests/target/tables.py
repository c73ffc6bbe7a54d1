"""Partition tables at random, on a disk that is a dictionary: right ones, wrong ones, damaged ones."""

import random
from binascii import crc32
from struct import pack, pack_into

from virtio.storage.partitions import table

KINDS = (0x01, 0x0C, 0x83, 0xDA)
EXTENDED = (0x05, 0x0F, 0x85)
PROTECTIVE = 0xEE
NUMBERS = (0, 1, 2, 63, 2047, 2048, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)


class Sparse:
    """What `partitions` needs of a disk; blocks that were not written are zeros."""

    read_only = False

    def __init__(self, block_size, block_count):
        self.block_size = block_size
        self.block_count = block_count
        self.blocks = {}
        self.reads = 0

    def block(self, number):
        return self.blocks.setdefault(number, bytearray(self.block_size))

    def readblocks(self, block_num, buf, offset=0):
        self.reads += 1
        size = self.block_size
        assert 0 <= block_num and block_num * size + offset + len(buf) <= self.block_count * size
        at = 0
        while at < len(buf):
            block, within = divmod(block_num * size + offset + at, size)
            count = min(size - within, len(buf) - at)
            if block in self.blocks:
                buf[at : at + count] = self.blocks[block][within : within + count]
            at += count

    def write(self, block, data):
        size = self.block_size
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            self.block(block + at // size)[: len(piece)] = piece


def record(disk, block, entries):
    data = disk.block(block)
    for n, (kind, first, count) in enumerate(entries):
        flag = random.choice((0, 0x80))
        pack_into("<B3xB3xII", data, 446 + 16 * n, flag, kind, first, count)
    data[510:512] = b"\x55\xaa"


def spans(disk, count):
    """So many places that do not touch each other, in order, behind block 64."""
    room = disk.block_count - 64
    ends = sorted(random.randrange(min(room, 1 << 30)) for _ in range(2 * count))
    pairs = [(64 + ends[n], ends[n + 1] - ends[n]) for n in range(0, 2 * count, 2)]
    return [pair for pair in pairs if pair[1]]


def number(disk):
    """A number that a table may have, or no table should."""
    choice = random.randrange(3)
    if choice == 0:
        return random.choice(NUMBERS)
    if choice == 1:
        return max(0, disk.block_count + random.randrange(-3, 3)) & 0xFFFFFFFF
    return random.randrange(1 << random.randrange(1, 30))


def right_mbr(disk):
    parts = [(random.choice(KINDS),) + span for span in spans(disk, random.randrange(1, 5))]
    beyond = (0x83, disk.block_count - 1, 2)
    broken = len(parts) < 4 and disk.block_count < 1 << 32 and random.randrange(2)
    record(disk, 0, parts + [beyond] * broken)
    return [part[1:] for part in parts], broken


def right_logical(disk):
    """An extended partition of the whole disk: each logical one in a part of its own."""
    size = (disk.block_count & 0xFFFFFF) - 64
    count = random.randrange(1, 12)
    share = size // count
    if share < 4:
        return right_mbr(disk)
    record(disk, 0, [(random.choice(EXTENDED), 64, size)])
    expected = []
    for n in range(count):
        # Its table, the partition, and where the next table is: from the extended one's start.
        entries = [(random.choice(KINDS), 2, share - 2)]
        expected.append((64 + n * share + 2, share - 2))
        if n < count - 1:
            entries.append((EXTENDED[0], (n + 1) * share, share))
        record(disk, 64 + n * share, entries)
    loop = random.randrange(3) == 0
    if loop:
        at = 64 + (count - 1) * share
        first = random.randrange(count) * share
        pack_into("<B3xB3xII", disk.block(at), 446 + 16, 0, EXTENDED[0], first, 9)
        # From the extended one's start a distance of 0 is the first table again.
    return expected, loop


def header(own, other, first, count, length, crc, size, last):
    data = bytearray(max(size, 92))
    pack_into("<8sIIIIQQQQ", data, 0, b"EFI PART", 0x10000, size, 0, 0, own, other, 34, last)
    pack_into("<QIII", data, 72, first, count, length, crc)
    pack_into("<I", data, 16, crc32(memoryview(data)[:size]))
    return data


def right_gpt(disk):
    length, count = random.choice(((128, 1), (128, 128), (136, 40), (256, 4), (4096, 3)))
    blocks = (count * length + disk.block_size - 1) // disk.block_size
    if 2 * blocks + 200 > disk.block_count:
        return right_mbr(disk)
    base = 2 + blocks
    room = disk.block_count - 2 * blocks - 4
    parts, data = [], bytearray(count * length)
    share = room // count
    for n in range(count):
        if share and random.randrange(4):
            first, long = base + n * share, random.randrange(min(share, 1 << 30)) + 1
            parts.append((first, long))
            pack_into(
                "<16s16sQQ8x", data, n * length, b"k" * 16, b"u" * 16, first, first + long - 1
            )
            name = bytes(random.getrandbits(8) for _ in range(random.randrange(72)))
            data[n * length + 56 : n * length + 56 + len(name)] = name
    crc = crc32(data)
    last = disk.block_count - 1
    size = random.choice((92, 92, 128, 512))
    record(disk, 0, [(PROTECTIVE, 1, min(last, 0xFFFFFFFF))])
    disk.write(2, data)
    disk.write(last - blocks, data)
    disk.write(1, header(1, last, 2, count, length, crc, size, last))
    disk.write(last, header(last, 1, last - blocks, count, length, crc, size, last))
    damaged = random.randrange(3) == 0
    if damaged:
        flip(disk, random.choice((1, 2)), size if blocks else 92)
    return parts, damaged


def any_gpt(disk):
    """All checksums are right, and nothing else need be."""
    length, count = random.choice((127, 128, 200, 4096, 4097)), random.randrange(1, 6)
    data = bytearray(count * length)
    for n in range(count):
        if random.randrange(3) and n * length + 48 <= len(data):
            ends = number(disk) << random.randrange(34), number(disk) << random.randrange(34)
            pack_into("<16s16sQQ8x", data, n * length, b"k" * 16, b"u" * 16, *ends)
    first = random.choice((0, 1, 2, 2, 2, 2, number(disk)))
    size = random.choice((0, 91, 92, 92, 92, 512, 513, number(disk)))
    told = random.choice((count, count, count, 0, 1 << 20, (1 << 32) - 1))
    count_crc = crc32(data)
    record(disk, 0, [(PROTECTIVE, number(disk), number(disk))])
    if 0 < first and first + len(data) // disk.block_size + 1 < disk.block_count:
        disk.write(first, data)
    block = random.choice((1, 1, disk.block_count - 1))
    made = header(
        block, number(disk), first, told, length, count_crc, min(size, 513), number(disk)
    )
    pack_into("<I", made, 12, size)
    if size <= 513:
        pack_into("<I", made, 16, 0)
        pack_into("<I", made, 16, crc32(memoryview(made)[:size]))
    disk.write(block, made)


def flip(disk, block, length):
    at = random.randrange(min(length, disk.block_size, 92))
    disk.block(block)[at] ^= 1 << random.randrange(8)


def noise(disk):
    entry = lambda: (random.choice(KINDS + EXTENDED + (PROTECTIVE, 0)), number(disk), number(disk))
    record(disk, 0, [entry() for _ in range(4)])
    for _ in range(random.randrange(6)):
        block = random.choice((1, 64, number(disk)))
        if 0 < block < disk.block_count:
            record(disk, block, [entry() for _ in range(random.randrange(5))])
    mutate(disk, random.randrange(3))


def mutate(disk, times):
    for _ in range(times):
        data = disk.blocks[random.choice(list(disk.blocks))]
        data[random.randrange(len(data))] = random.getrandbits(8)


def new_disk():
    size = random.choice((512, 512, 512, 1024, 4096))
    most = random.choice((1 << 12, 1 << 15, 1 << 22, 1 << 30))
    scale = random.choice((0, 0, 0, 1, 2, 10))
    return Sparse(size, random.randrange(300, most) << scale)


def look(disk):
    """`table`, whose result can be: on the disk, and apart unless it says otherwise."""
    disk.reads = 0
    parts, faults = table(disk)
    end = 0
    for part in sorted(parts, key=lambda part: part.first):
        assert part.block_count > 0 < part.first, part
        assert part.first + part.block_count <= disk.block_count, part
        assert part.first >= end or faults, part
        end = max(end, part.first + part.block_count)
        part.name.encode()
        repr(part)
    assert disk.reads < 400, disk.reads
    return [(part.first, part.block_count) for part in parts], faults


def run(count, seed):
    """Returns how many were right, how many had a fault that was said, how many were anything, and
    the partitions of these."""
    random.seed(seed)
    counts = [0, 0, 0, 0]
    for n in range(count):
        state = "step %d of seed %d" % (n, seed)
        try:
            disk = new_disk()
            expected, broken = random.choice((right_mbr, right_logical, right_gpt))(disk)
            found, faults = look(disk)
            assert found == expected, (found, expected)
            assert bool(faults) == bool(broken), (faults, broken)
            counts[1 if broken else 0] += 1
            mutate(disk, 1 + random.randrange(4))
            look(disk)
            disk = new_disk()
            random.choice((noise, any_gpt))(disk)
            found, faults = look(disk)
            counts[3] += len(found)
            counts[2] += 2
        except Exception:
            print(state)
            raise
    return counts
