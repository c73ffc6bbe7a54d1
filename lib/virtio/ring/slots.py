"""Slots: a queue whose buffers are fixed pieces of one memory, for frames that come by the thousand.

Slot n goes by descriptors of its own, so nothing is an object and nothing is searched for when it is
posted or taken. What the device says of them is checked by the queue, as always.
"""

# SPDX-License-Identifier: MIT

from array import array

from micropython import const
from uctypes import addressof

from ..platform.processor import publish, publish_packed

# From layout.py, by `make layout`.

# A descriptor, split or packed, or an entry of an indirect table, in words (2.7.5, 2.8.13).
_ADDR = const(0)
_ADDR_HIGH = const(1)  # addresses have 64 bits; RAM ends below 2^32
_LENGTH = const(2)
_FLAGS_NEXT = const(3)  # split: flags, and in the upper half the index of the next one
_ID_HALF = const(6)  # packed, in halfwords
_FLAGS_HALF = const(7)
_DESC_SIZE = const(16)  # bytes

# Its flags, sections 2.7.5, 2.8.1 and 2.8.6.
_NEXT = const(1)
_WRITE = const(2)  # the device writes there
_AVAIL_FLAG = const(0x80)  # packed: whose it is, by the wrap counter
_USED_FLAG = const(0x8000)

# Available and used ring (2.7.6, 2.7.8).
_RING_ENTRIES = const(2)  # in halfwords, of the available ring; behind them is used_event

# The private array of a queue, in words. First what is one of a queue …
_DESC = const(0)  # address of the descriptor table, or of the packed ring
_AVAIL = const(1)  # address of the available ring; packed: of the driver's event suppression
_MASK = const(3)  # size - 1; ring indices run freely modulo 2^16
_FREE_COUNT = const(5)
_AVAIL_IDX = const(6)  # what was last published as avail.idx; packed: as in packed.py
_IN_FLIGHT_COUNT = const(8)  # chains that the device owns
_ADDED = const(11)  # index steps added in the range that `should_notify` decides over
_DECIDED = const(12)  # 1 when that was carried out; the next add begins a new range
_DONE_HEAD = const(17)  # the completed chains, in order: a ring of size entries, 16 bits each
_DONE_COUNT = const(18)
_COMPLETED = const(23)  # address of the ring of completed chains

# … then three for each descriptor …
_SHADOW = const(28)
_SHADOW_WORDS = const(3)
_CHAIN_STATE = const(1)  # of the chain that begins here
_CHAIN_BYTES = const(2)  # that the device may write; when it is done, that it has written

# The state word of a chain's first descriptor: the number of its buffers, and these.
_IN_FLIGHT = const(0x10000)

# End of layout.py.

# The words of the slots of a queue.
_SLOT_QUEUE = const(0)  # where the queue's words are, divided by four
_SLOT_MEMORY = const(1)  # address of the first slot
_SLOT_SIZE = const(2)  # of a slot, in bytes
_SLOT_FLAGS = const(3)  # _WRITE where the device writes
_SLOT_HEADER = const(4)  # bytes at a slot's beginning that have a descriptor of their own, or 0
_SLOT_SHIFT = const(5)  # 1 where a slot has two descriptors, else 0
_SLOT_STEP = const(6)  # from one entry of those that are posted to the next, in bytes


class Slots:
    """All descriptors of a queue, as slots, until the queue ends.

    `size` is that of a slot in bytes. The device *writes* them, or reads them. With a *header* so
    many bytes at a slot's beginning are a descriptor of their own, as legacy devices may ask for.
    `memory` holds the slots; the driver keeps this object until the device was reset.
    """

    def __init__(self, queue, size, writes, header=0):
        self.queue = queue
        self.size = size
        shift = 1 if header else 0
        self.count = queue.size >> shift
        self.memory = bytearray(size * self.count)
        flags = _WRITE if writes else 0
        words = [
            queue.words,
            addressof(self.memory),
            size,
            flags,
            header,
            shift,
            4 << (flags >> 1),
        ]
        self._words = array("I", words)
        self.words = addressof(self._words) >> 2  # see VirtQueue.words
        self.put = _put_packed if queue.packed else _put
        self._one = array("I", (0,))
        _claim(queue.words)
        if not queue.packed:
            _describe(self.words, self.count)

    @micropython.viper
    def post(self, slot: int, length: int):
        """Hand a slot to the device, of which it may read or write *length* bytes.

        The device is told of it by the queue's `kick`.
        """
        one = self._one
        ptr32(one)[0] = slot | length << 16
        self.put(self.words, 0, 1, one)

    def post_all(self):
        """Hand over all slots, whole: before the device runs, or after a reset."""
        for slot in range(self.count):
            self.post(slot, 0)


@micropython.viper
def _claim(words: int):
    """Take all descriptors off the queue's free list."""
    ptr32(words << 2)[_FREE_COUNT] = 0


@micropython.viper
def _describe(slots: int, count: int):
    """Write what never changes of a split queue's descriptors."""
    t = ptr32(slots << 2)
    e = ptr32(ptr32(t[_SLOT_QUEUE] << 2)[_DESC])
    address = t[_SLOT_MEMORY]
    flags = t[_SLOT_FLAGS]
    header = t[_SLOT_HEADER]
    d = 0
    while count:
        if header:
            d = d + 1
            e[_ADDR] = address
            e[_ADDR_HIGH] = 0
            e[_LENGTH] = header
            e[_FLAGS_NEXT] = flags | _NEXT | d << 16
            e = ptr32(int(e) + _DESC_SIZE)
        e[_ADDR] = address + header
        e[_ADDR_HIGH] = 0
        e[_FLAGS_NEXT] = flags
        e = ptr32(int(e) + _DESC_SIZE)
        d = d + 1
        address = address + t[_SLOT_SIZE]
        count = count - 1


# Slots are put into a ring together: entries *at* and the following ones of an array of words, each a
# slot and, in the upper half, its length; 0 is all of it. Those that the device writes stand there in
# pairs, as `take` leaves them. All parameters that can be are in registers, and become addresses.


@micropython.viper
def _put(slots: int, at: int, count: int, entries):
    """Put slots into the available ring of a split queue."""
    slots = slots << 2
    at = 4 * at + int(ptr32(entries))
    words = ptr32(slots)[_SLOT_QUEUE]
    s = words << 2
    table = ptr32(s)[_DESC] + 4 * _LENGTH
    ring = ptr16(ptr32(s)[_AVAIL] + 2 * _RING_ENTRIES)
    mask = ptr32(s)[_MASK]
    idx = ptr32(s)[_AVAIL_IDX]
    shift = ptr32(slots)[_SLOT_SHIFT]
    bits = (1 + shift) | _IN_FLIGHT
    while count:
        token = ptr16(at)[0]
        length = int(ptr16(at)[1])
        if length == 0:
            length = ptr32(slots)[_SLOT_SIZE]
        at = at + ptr32(slots)[_SLOT_STEP]
        token = token << shift
        ring[idx & mask] = token
        idx = idx + 1
        ptr32(((token + shift) << 4) + table)[0] = length - ptr32(slots)[_SLOT_HEADER]
        chain = ptr32(4 * _SHADOW_WORDS * token + s)  # its words, from _SHADOW on
        chain[_SHADOW + _CHAIN_STATE] = bits
        chain[_SHADOW + _CHAIN_BYTES] = length if ptr32(slots)[_SLOT_FLAGS] else 0
        count = count - 1
    at = idx - ptr32(s)[_AVAIL_IDX]
    publish(words, idx)  # noted only then, for it is a call, and there may be no stack for it
    ptr32(s)[_IN_FLIGHT_COUNT] = ptr32(s)[_IN_FLIGHT_COUNT] + at
    if ptr32(s)[_DECIDED]:
        ptr32(s)[_DECIDED] = 0
        ptr32(s)[_ADDED] = 0
    if ptr32(s)[_ADDED] <= 0xFFFF:
        ptr32(s)[_ADDED] = ptr32(s)[_ADDED] + at


@micropython.viper
def _put_packed(slots: int, at: int, count: int, entries):
    """Write the descriptors of slots into a packed ring, the first one's flags last."""
    slots = slots << 2
    at = 4 * at + int(ptr32(entries))
    words = ptr32(slots)[_SLOT_QUEUE]
    s = words << 2
    mask = ptr32(s)[_MASK]
    first = ptr32(s)[_AVAIL_IDX]
    idx = first
    flags = ptr32(slots)[_SLOT_FLAGS]
    while count:
        slot = ptr16(at)[0]
        length = int(ptr16(at)[1])
        if length == 0:
            length = ptr32(slots)[_SLOT_SIZE]
        at = at + ptr32(slots)[_SLOT_STEP]
        e = ptr32(ptr32(s)[_DESC] + _DESC_SIZE * (idx & mask))
        e[_ADDR] = ptr32(slots)[_SLOT_MEMORY] + slot * ptr32(slots)[_SLOT_SIZE]
        e[_ADDR_HIGH] = 0
        e[_LENGTH] = length
        ptr16(int(e))[_ID_HALF] = slot
        if idx != first:
            turn = _USED_FLAG if idx & (mask + 1) else _AVAIL_FLAG
            ptr16(int(e))[_FLAGS_HALF] = flags | turn
        chain = ptr32(4 * _SHADOW_WORDS * slot + s)
        chain[_SHADOW + _CHAIN_STATE] = 1 | _IN_FLIGHT
        chain[_SHADOW + _CHAIN_BYTES] = length if flags else 0
        idx = idx + 1
        count = count - 1
    turn = _USED_FLAG if first & (mask + 1) else _AVAIL_FLAG
    publish_packed(words, first & mask, flags | turn)
    ptr32(s)[_AVAIL_IDX] = idx & 0xFFFF
    at = idx - first
    ptr32(s)[_IN_FLIGHT_COUNT] = ptr32(s)[_IN_FLIGHT_COUNT] + at
    if ptr32(s)[_DECIDED]:
        ptr32(s)[_DECIDED] = 0
        ptr32(s)[_ADDED] = 0
    if ptr32(s)[_ADDED] <= 0xFFFF:
        ptr32(s)[_ADDED] = ptr32(s)[_ADDED] + at


@micropython.viper
def take(slots, found, at: int, most: int) -> int:
    """Take back up to *most* slots that the device has used; returns how many.

    *found*, an array of words, has pairs (slot, bytes) of them from pair *at* on. Raises
    `DeviceFault`.
    """
    words = int(slots.words)
    queue = slots.queue
    s = ptr32(ptr32(words << 2)[_SLOT_QUEUE] << 2)
    count = int(queue._look(queue, int(s) >> 2))
    if count > most:
        count = most
    if count:
        _take(int(s) >> 2, at, count, found, words)
    return count


@micropython.viper
def _take(words: int, at: int, count: int, found, slots: int):
    words = words << 2
    # As an object, for its address, passed as an integer, would be one on the heap.
    at = 8 * at + int(ptr32(found))
    shift = ptr32(slots << 2)[_SLOT_SHIFT]
    first = ptr32(words)[_DONE_HEAD]
    mask = ptr32(words)[_MASK]
    ptr32(words)[_DONE_COUNT] = ptr32(words)[_DONE_COUNT] - count
    ptr32(words)[_DONE_HEAD] = (first + count) & mask
    completed = ptr16(ptr32(words)[_COMPLETED])
    while count:
        token = completed[first]
        first = (first + 1) & mask
        chain = ptr32(4 * _SHADOW_WORDS * token + words)  # its words, from _SHADOW on
        chain[_SHADOW + _CHAIN_STATE] = 0
        ptr32(at)[0] = token >> shift
        ptr32(at)[1] = chain[_SHADOW + _CHAIN_BYTES]
        at = at + 8
        count = count - 1


@micropython.native
def post_again(slots, found, count):
    """Hand the first *count* slots in *found*, as `take` has filled it, back to the device, whole.

    The device is told once.
    """
    slots.put(slots.words, 0, count, found)
    slots.queue.kick()
