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


# As in packed.py.

# The words of the slots of a queue.
_SLOT_QUEUE = const(0)  # where the queue's words are, divided by four
_SLOT_MEMORY = const(1)  # address of the first slot
_SLOT_SIZE = const(2)  # of a slot, in bytes
_SLOT_FLAGS = const(3)  # _WRITE where the device writes
_SLOT_HEADER = const(4)  # bytes at a slot's beginning that have a descriptor of their own, or 0
_SLOT_PARTS = const(5)  # descriptors of a slot


class Slots:
    """All descriptors of a queue, as slots, until the queue ends.

    `size` is that of a slot in bytes. The device *writes* them, or reads them. With a *header* so
    many bytes at a slot's beginning are a descriptor of their own, as legacy devices may ask for.
    `memory` holds the slots; the driver keeps this object until the device was reset.
    """

    def __init__(self, queue, size, writes, header=0):
        self.queue = queue
        self.size = size
        parts = 2 if header else 1
        self.count = queue.size // parts
        self.memory = bytearray(size * self.count)
        flags = _WRITE if writes else 0
        self._words = array("I", [queue.words, addressof(self.memory), size, flags, header, parts])
        self.words = addressof(self._words) >> 2  # see VirtQueue.words
        self._post = _post_packed if queue.packed else _post
        _claim(queue.words)

    def post(self, slot, length):
        """Hand a slot to the device, of which it may read or write *length* bytes.

        The device is told of it by the queue's `kick`.
        """
        self._post(self.words, slot, length)

    def post_all(self):
        """Hand over all slots, whole: before the device runs, or after a reset."""
        for slot in range(self.count):
            self._post(self.words, slot, self.size)


@micropython.viper
def _claim(words: int):
    """Take all descriptors off the queue's free list."""
    ptr32(words << 2)[_FREE_COUNT] = 0


@micropython.viper
def _post(slots: int, slot: int, length: int):
    """Put a slot into the available ring of a split queue."""
    t = ptr32(slots << 2)
    words = t[_SLOT_QUEUE]
    s = ptr32(words << 2)
    token = slot * t[_SLOT_PARTS]
    flags = t[_SLOT_FLAGS]
    header = t[_SLOT_HEADER]
    address = t[_SLOT_MEMORY] + slot * t[_SLOT_SIZE]
    e = ptr32(s[_DESC] + _DESC_SIZE * token)
    bits = 1 | _IN_FLIGHT
    e[_ADDR] = address
    e[_ADDR_HIGH] = 0
    if header:
        e[_LENGTH] = header
        e[_FLAGS_NEXT] = flags | _NEXT | (token + 1) << 16
        e = ptr32(int(e) + _DESC_SIZE)
        e[_ADDR] = address + header
        e[_ADDR_HIGH] = 0
        bits = bits + 1
    e[_LENGTH] = length - header
    e[_FLAGS_NEXT] = flags
    idx = s[_AVAIL_IDX]
    ptr16(s[_AVAIL])[_RING_ENTRIES + (idx & s[_MASK])] = token
    publish(words, idx + 1)
    chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
    chain[_CHAIN_STATE] = bits
    chain[_CHAIN_BYTES] = length if flags else 0
    s[_IN_FLIGHT_COUNT] = s[_IN_FLIGHT_COUNT] + 1
    if s[_DECIDED]:
        s[_DECIDED] = 0
        s[_ADDED] = 0
    if s[_ADDED] <= 0xFFFF:
        s[_ADDED] = s[_ADDED] + 1


@micropython.viper
def _post_packed(slots: int, slot: int, length: int):
    """Write a slot's descriptor into a packed ring."""
    t = ptr32(slots << 2)
    words = t[_SLOT_QUEUE]
    s = ptr32(words << 2)
    flags = t[_SLOT_FLAGS]
    idx = s[_AVAIL_IDX]
    mask = s[_MASK]
    e = ptr32(s[_DESC] + _DESC_SIZE * (idx & mask))
    e[_ADDR] = t[_SLOT_MEMORY] + slot * t[_SLOT_SIZE]
    e[_ADDR_HIGH] = 0
    e[_LENGTH] = length
    ptr16(int(e))[_ID_HALF] = slot
    turn = _USED_FLAG if idx & (mask + 1) else _AVAIL_FLAG
    publish_packed(words, idx & mask, flags | turn)
    chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * slot)
    chain[_CHAIN_STATE] = 1 | _IN_FLIGHT
    chain[_CHAIN_BYTES] = length if flags else 0
    s[_IN_FLIGHT_COUNT] = s[_IN_FLIGHT_COUNT] + 1
    if s[_DECIDED]:
        s[_DECIDED] = 0
        s[_ADDED] = 0
    if s[_ADDED] <= 0xFFFF:
        s[_ADDED] = s[_ADDED] + 1
    s[_AVAIL_IDX] = (idx + 1) & 0xFFFF


@micropython.viper
def take(slots, found, at: int, most: int) -> int:
    """Take back up to *most* slots that the device has used; returns how many.

    *found*, an array of words, has pairs (slot, bytes) of them from pair *at* on. Raises
    `DeviceFault`.
    """
    # As an object, for its address, passed as an integer, would be one on the heap.
    f = ptr32(int(ptr32(found)) + 8 * at)
    t = ptr32(int(slots.words) << 2)
    words = t[_SLOT_QUEUE]
    queue = slots.queue
    s = ptr32(words << 2)
    queue._look(queue, words)
    mask = s[_MASK]
    taken = 0
    while taken < most and s[_DONE_COUNT]:
        first = s[_DONE_HEAD]
        token = ptr16(s[_COMPLETED])[first]
        s[_DONE_HEAD] = (first + 1) & mask
        s[_DONE_COUNT] = s[_DONE_COUNT] - 1
        chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
        chain[_CHAIN_STATE] = 0
        f[0] = token // t[_SLOT_PARTS]
        f[1] = chain[_CHAIN_BYTES]
        f = ptr32(int(f) + 8)
        taken = taken + 1
    return taken


@micropython.viper
def post_again(slots, found, count: int):
    """Hand the first *count* slots in *found*, as `take` has filled it, back to the device, whole.

    The device is told once.
    """
    words = int(slots.words)
    f = ptr32(found)
    post = slots._post
    size = int(slots.size)
    i = 0
    while i < count:
        post(words, f[2 * i], size)
        i = i + 1
    slots.queue.kick()
