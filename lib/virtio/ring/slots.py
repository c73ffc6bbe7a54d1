"""Slots: a queue whose buffers are fixed pieces of one memory, for frames that come by the thousand.

Slot n goes by descriptors of its own, so nothing is an object and nothing is searched for when it is
posted or taken. What the device says of them is checked by the queue, as always.
"""

# SPDX-License-Identifier: MIT

from array import array

from micropython import const
from uctypes import addressof

from ..platform.barrier import publish, publish_packed

# As in queue.py.
_NEXT = const(1)
_WRITE = const(2)
_DESC = const(0)
_AVAIL = const(1)
_MASK = const(3)
_FREE_COUNT = const(5)
_AVAIL_IDX = const(6)
_IN_FLIGHT_COUNT = const(8)
_ADDED = const(11)
_DECIDED = const(12)
_DONE_HEAD = const(17)
_DONE_COUNT = const(18)
_COMPLETED = const(23)
_SHADOW = const(26)
_SHADOW_WORDS = const(3)
_IN_FLIGHT = const(0x10000)

# As in packed.py.
_AVAIL_FLAG = const(0x80)
_USED_FLAG = const(0x8000)

# The words of the slots of a queue.
_QUEUE = const(0)  # where the queue's words are, divided by four
_MEMORY = const(1)  # address of the first slot
_SIZE = const(2)  # of a slot, in bytes
_FLAGS = const(3)  # _WRITE where the device writes
_HEADER = const(4)  # bytes at a slot's beginning that have a descriptor of their own, or 0
_PARTS = const(5)  # descriptors of a slot


class Slots:
    """All descriptors of a queue, as slots, until the queue ends.

    `size` is that of a slot in bytes. The device *writes* them, or reads them. With a *header* so
    many bytes at a slot's beginning are a descriptor of their own, as legacy devices may ask for.
    `memory` holds the slots; the driver keeps this object until the device was reset.
    """

    def __init__(self, queue, size, writes, packed, header=0):
        self.queue = queue
        self.size = size
        parts = 2 if header else 1
        self.count = queue.size // parts
        self.memory = bytearray(size * self.count)
        flags = _WRITE if writes else 0
        self._words = array("I", [queue.words, addressof(self.memory), size, flags, header, parts])
        self.words = addressof(self._words) >> 2  # see VirtQueue.words
        self._post = _post_packed if packed else _post
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
    words = t[_QUEUE]
    s = ptr32(words << 2)
    token = slot * t[_PARTS]
    flags = t[_FLAGS]
    header = t[_HEADER]
    address = t[_MEMORY] + slot * t[_SIZE]
    e = ptr32(s[_DESC] + 16 * token)
    bits = 1 | _IN_FLIGHT
    e[0] = address
    e[1] = 0
    if header:
        e[2] = header
        e[3] = flags | _NEXT | (token + 1) << 16
        e = ptr32(int(e) + 16)
        e[0] = address + header
        e[1] = 0
        bits = bits + 1
    e[2] = length - header
    e[3] = flags
    idx = s[_AVAIL_IDX]
    ptr16(s[_AVAIL])[2 + (idx & s[_MASK])] = token
    publish(words, idx + 1)
    chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
    chain[1] = bits
    chain[2] = length if flags else 0
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
    words = t[_QUEUE]
    s = ptr32(words << 2)
    flags = t[_FLAGS]
    idx = s[_AVAIL_IDX]
    mask = s[_MASK]
    e = ptr32(s[_DESC] + 16 * (idx & mask))
    e[0] = t[_MEMORY] + slot * t[_SIZE]
    e[1] = 0
    e[2] = length
    ptr16(int(e))[6] = slot
    turn = _USED_FLAG if idx & (mask + 1) else _AVAIL_FLAG
    publish_packed(words, idx & mask, flags | turn)
    chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * slot)
    chain[1] = 1 | _IN_FLIGHT
    chain[2] = length if flags else 0
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
    words = t[_QUEUE]
    queue = slots.queue
    s = ptr32(words << 2)
    queue._look(queue, words)
    mask = s[_MASK]
    taken = 0
    while taken < most and s[_DONE_COUNT]:
        first = s[_DONE_HEAD]
        token = ptr32(s[_COMPLETED])[first]
        s[_DONE_HEAD] = (first + 1) & mask
        s[_DONE_COUNT] = s[_DONE_COUNT] - 1
        chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
        chain[1] = 0
        f[0] = token // t[_PARTS]
        f[1] = chain[2]
        f = ptr32(int(f) + 8)
        taken = taken + 1
    return taken
