"""Rings of a device that uses chains in the order they were made available (IN_ORDER).

Such a device may answer a whole batch of chains at once, by one used entry that names the last
of them (virtio 1.2, sections 2.7.14 and 2.8.23). The others are taken as used completely: of
what they have that is writable, all was written.

In a split queue the descriptors of a chain then follow each other in the table (2.7.5.2). So a chain of
several needs a run of free ones, and a queue may be full for it while more are free than it takes.
"""

# SPDX-License-Identifier: MIT

from array import array

from micropython import const

from ..platform.buffers import without_allocation
from ..platform.processor import used_idx
from .base import broken, finish, refuse
from .packed import PackedRing, is_used
from .packed import add_framed as add_framed_packed
from .split import SplitRing, add_framed

# From layout.py, by `make layout`.

# A descriptor, split or packed, or an entry of an indirect table, in words (2.7.5, 2.8.13).
_LENGTH = const(2)
_ID_FLAGS = const(3)  # packed: the buffer id, and in the upper half the flags
_DESC_SIZE = const(16)  # bytes

# The private array of a queue, in words. First what is one of a queue …
_DESC = const(0)  # address of the descriptor table, or of the packed ring
_USED = const(2)  # address of the used ring; packed: of the device's event suppression
_MASK = const(3)  # size - 1; ring indices run freely modulo 2^16
_FREE = const(4)  # first free descriptor
_FREE_COUNT = const(5)
_USED_IDX = const(7)  # how far the device's answers were read
_IN_FLIGHT_COUNT = const(8)  # chains that the device owns
_TABLE_LEN = const(10)  # entries in each; 0 when chains are never indirect
_EVENT_IDX = const(13)  # 1 when event indices were negotiated
_EPOCH = const(15)  # address of the transport's epoch
_BORN = const(16)  # its value when the queue was set up
_DONE_COUNT = const(18)

# … then three for each descriptor …
_SHADOW = const(28)
_SHADOW_WORDS = const(3)
_CHAIN_BYTES = const(2)  # that the device may write; when it is done, that it has written

# The state word of a chain's first descriptor: the number of its buffers, and these.
_COUNT_MASK = const(0xFFFF)
_HAS_TABLE = const(0x20000)

# A record: what a driver says of a framed chain to be added, in words. Four are its header.
_RECORD_LENGTH = const(5)  # of what the device is to read; of what it is to write, less than 0
_RECORD_TOKEN = const(7)  # filled in when it was added; when it was ended, the byte at its end
_RECORD_WORDS = const(8)

# Why a viper function of the rings refused …
_FULL = const(-3)

# … and what the device has done wrong.
_BAD_INDEX = const(-1)
_BAD_ID = const(-2)

# End of layout.py.


_add_split = SplitRing.add
_add_packed = PackedRing.add


class InOrderSplitRing(SplitRing):
    """A split ring for a device with which IN_ORDER was negotiated."""

    def _choose_functions(self):
        super()._choose_functions()
        self._order = _new_order(self.size)
        self._free = bytearray(
            self.size
        )  # of each descriptor, whether it is; for `_line_up` alone
        self._look = _collect_split
        self.add_framed = _add_framed_split

    @micropython.viper
    def add(self, inputs, outputs) -> int:
        """As `SplitRing.add`."""
        # What is put in order here is in order while nobody else adds.
        inputs, outputs = without_allocation(inputs), without_allocation(outputs)
        order = self._order
        size = int(len(order)) - 1
        ring = ptr16(order)
        words = int(self.words)
        s = ptr32(words << 2)
        count = int(len(inputs)) + int(len(outputs))
        if count > 1 and count > s[_TABLE_LEN]:
            if int(_line_up(self, words, count)) < count and count <= s[_FREE_COUNT]:
                refuse(_FULL)
        token = int(_add_split(self, inputs, outputs))
        ring[ring[size] & (size - 1)] = token
        ring[size] = ring[size] + 1
        return token

    @micropython.native
    def available_desc(self):
        """The number of free descriptors that a chain can have: those that follow each other."""
        SplitRing.available_desc(self)  # which takes back what was dropped
        return _line_up(self, self.words, 0)


class InOrderPackedRing(PackedRing):
    """A packed ring for a device with which IN_ORDER was negotiated."""

    def _choose_functions(self):
        super()._choose_functions()
        self._order = _new_order(self.size)
        self._look = _collect_packed
        self.add_framed = _add_framed_packed

    @micropython.viper
    def add(self, inputs, outputs) -> int:
        """As `PackedRing.add`."""
        inputs, outputs = without_allocation(inputs), without_allocation(outputs)
        order = self._order
        size = int(len(order)) - 1
        ring = ptr16(order)
        token = int(_add_packed(self, inputs, outputs))
        ring[ring[size] & (size - 1)] = token
        ring[size] = ring[size] + 1
        return token


def _new_order(size):
    """A ring of the tokens in the order they were added, and behind it how many there were."""
    return array("H", bytes(2 * (size + 1)))


@micropython.viper
def _line_up(queue, words: int, count: int) -> int:
    """Have the free list begin with *count* descriptors that follow each other, the first after the last.

    Returns how many there are, less where so many do not follow each other; with a *count* of 0 how
    many do at most.
    """
    s = ptr32(words << 2)
    mask = s[_MASK]
    free = ptr8(queue._free)
    i = mask
    while i >= 0:
        free[i] = 0
        i = i - 1
    d = s[_FREE]
    left = s[_FREE_COUNT]
    while left:
        free[d] = 1
        d = s[_SHADOW + _SHADOW_WORDS * d]
        left = left - 1
    longest = 0
    run = 0
    i = 0
    while run != count or count == 0:
        if i > 2 * mask + 1 or longest > mask:
            return longest
        run = run + 1 if free[i & mask] else 0
        if run > longest:
            longest = run
        i = i + 1
    first = i - count
    following = 0  # of the last one, which nobody follows
    i = mask
    while i >= 0:
        if free[i] and (i - first) & mask >= count:
            s[_SHADOW + _SHADOW_WORDS * i] = following
            following = i
        i = i - 1
    i = count
    while i:
        i = i - 1
        d = (first + i) & mask
        s[_SHADOW + _SHADOW_WORDS * d] = following
        following = d
    s[_FREE] = following
    return count


@micropython.viper
def _add_framed_split(words: int, records: int, queue, count: int) -> int:
    order = queue._order
    size = int(len(order)) - 1
    ring = ptr16(order)
    direct = ptr32(words << 2)[_TABLE_LEN] == 0
    r = ptr32(records << 2)
    added = 0
    while added < count:
        # All at once, or one by one. The calls of one round are those of the next: where the stack has
        # no room for them nothing was added yet.
        more = count
        if direct:
            more = 1
            need = 3 if r[_RECORD_LENGTH] else 2
            if int(_line_up(queue, words, need)) < need:
                break
        more = int(add_framed(words, int(r) >> 2, queue, more))
        if more == 0:
            break
        added = added + more
        while more:
            ring[ring[size] & (size - 1)] = r[_RECORD_TOKEN]
            ring[size] = ring[size] + 1
            r = ptr32(int(r) + 4 * _RECORD_WORDS)
            more = more - 1
        if not direct:
            break
    return added


@micropython.viper
def _add_framed_packed(words: int, records: int, queue, count: int) -> int:
    order = queue._order
    size = int(len(order)) - 1
    ring = ptr16(order)
    added = int(add_framed_packed(words, records, queue, count))
    r = ptr32(records << 2)
    for _ in range(added):
        ring[ring[size] & (size - 1)] = r[_RECORD_TOKEN]
        ring[size] = ring[size] + 1
        r = ptr32(int(r) + 4 * _RECORD_WORDS)
    return added


@micropython.viper
def _collect_split(queue, words: int) -> int:
    s = ptr32(words << 2)
    if ptr32(s[_EPOCH])[0] != s[_BORN]:
        queue.refuse_dead()
    while True:
        new = (int(used_idx(words)) - s[_USED_IDX]) & 0xFFFF
        if new == 0:
            return s[_DONE_COUNT]
        if new > s[_IN_FLIGHT_COUNT]:
            broken(queue, _BAD_INDEX)
        used = ptr32(s[_USED] + 4)
        while new > 0:
            at = 2 * (s[_USED_IDX] & s[_MASK])
            before = s[_IN_FLIGHT_COUNT]
            _finish_up_to(queue, used[at], used[at + 1], new)
            steps = before - s[_IN_FLIGHT_COUNT]
            s[_USED_IDX] = (s[_USED_IDX] + steps) & 0xFFFF
            new -= steps
        if s[_EVENT_IDX]:
            queue._tell()


@micropython.viper
def _collect_packed(queue, words: int) -> int:
    s = ptr32(words << 2)
    if ptr32(s[_EPOCH])[0] != s[_BORN]:
        queue.refuse_dead()
    while is_used(words):
        idx = s[_USED_IDX]
        entry = ptr32(s[_DESC] + _DESC_SIZE * (idx & s[_MASK]))
        last = entry[_ID_FLAGS] & 0xFFFF
        places = int(_finish_up_to(queue, last, entry[_LENGTH], s[_IN_FLIGHT_COUNT]))
        # The device writes its next one behind all the places that were used.
        s[_USED_IDX] = (idx + places) & 0xFFFF
        if s[_EVENT_IDX]:
            queue._tell()
    return s[_DONE_COUNT]


@micropython.viper
def _check_stack(calls: int):
    """Raise where there is no stack for so many calls, one in the other."""
    if calls > 1:
        _check_stack(calls - 1)


@micropython.viper
def _finish_up_to(queue, last: int, length: int, most: int) -> int:
    """Finish the oldest chain in flight and all up to *last*; returns the places they took.

    *last* has to be among the *most* oldest.
    """
    s = ptr32(int(queue.words) << 2)
    mask = s[_MASK]
    order = ptr16(queue._order)
    oldest = order[mask + 1] - s[_IN_FLIGHT_COUNT]
    count = 0
    while count < most and order[(oldest + count) & mask] != last:
        count += 1
    if count == most:
        broken(queue, _BAD_ID)
    _check_stack(2)  # for finish() and what it calls: one entry is all that tells of these chains
    places = 0
    for i in range(count + 1):
        token = order[(oldest + i) & mask]
        written = length
        if i < count:
            written = s[_SHADOW + _SHADOW_WORDS * token + _CHAIN_BYTES]
        bits = int(finish(queue, token, written))
        if bits & _HAS_TABLE:
            places = places + 1
        else:
            places = places + (bits & _COUNT_MASK)
    return places
