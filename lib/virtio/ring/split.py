"""The split virtqueue (virtio 1.2, section 2.7): descriptor table, available ring, used ring.

The rings are written from the private array of `base.py` and, but for `used.idx`, the used entries
and the device's notification wishes, never read. `packed.py` has the other ring.
"""

# SPDX-License-Identifier: MIT

# In the module itself they are found at once. The built-in names stand in a table that is
# searched from its beginning, after the module's: hundreds of instructions each time.
from builtins import len

from micropython import const

from ..platform.processor import barrier, publish, spin, used_idx
from ..platform.buffers import checked_length, without_allocation
from . import base
from .base import Ring, broken, drop_in_hand, end, refuse
from .framed import fill_frame_tables

# From layout.py, by `make layout`.

# What a queue may be (2.7).
_LEGACY_ALIGN = const(4096)  # of the used ring, and of the whole, for a legacy device

# A descriptor, split or packed, or an entry of an indirect table, in words (2.7.5, 2.8.13).
_ADDR = const(0)
_ADDR_HIGH = const(1)  # addresses have 64 bits; RAM ends below 2^32
_LENGTH = const(2)
_FLAGS_NEXT = const(3)  # split: flags, and in the upper half the index of the next one
_DESC_SIZE = const(16)  # bytes

# Its flags, sections 2.7.5, 2.8.1 and 2.8.6.
_NEXT = const(1)
_WRITE = const(2)  # the device writes there
_INDIRECT = const(4)

# Available and used ring (2.7.6, 2.7.8).
_RING_FLAGS = const(0)  # in halfwords, of both rings
_RING_ENTRIES = const(2)  # in halfwords, of the available ring; behind them is used_event
_USED_ENTRIES = const(4)  # in bytes, of the used ring; behind them is avail_event
_USED_SIZE = const(8)  # of an entry, in bytes
_USED_ID = const(0)  # of an entry, in words
_USED_LENGTH = const(1)
_NO_INTERRUPT = const(1)  # ring flags: the one asks the other side to stay silent
_NO_NOTIFY = const(1)

# The private array of a queue, in words. First what is one of a queue …
_DESC = const(0)  # address of the descriptor table, or of the packed ring
_AVAIL = const(1)  # address of the available ring; packed: of the driver's event suppression
_USED = const(2)  # address of the used ring; packed: of the device's event suppression
_MASK = const(3)  # size - 1; ring indices run freely modulo 2^16
_FREE = const(4)  # first free descriptor
_FREE_COUNT = const(5)
_AVAIL_IDX = const(6)  # what was last published as avail.idx; packed: as in packed.py
_USED_IDX = const(7)  # how far the device's answers were read
_IN_FLIGHT_COUNT = const(8)  # chains that the device owns
_TABLES = const(9)  # address of the indirect tables, one for each descriptor
_TABLE_LEN = const(10)  # entries in each; 0 when chains are never indirect
_ADDED = const(11)  # index steps added in the range that `should_notify` decides over
_DECIDED = const(12)  # 1 when that was carried out; the next add begins a new range
_EVENT_IDX = const(13)  # 1 when event indices were negotiated
_SILENT = const(14)  # 1 when the driver wants no interrupts
_EPOCH = const(15)  # address of the transport's epoch
_BORN = const(16)  # its value when the queue was set up
_DONE_HEAD = const(17)  # the completed chains, in order: a ring of size entries, 16 bits each
_DONE_COUNT = const(18)
_FRAMES = const(19)  # address of the frames, one for each descriptor; 0 where there are none
_HELD = const(20)  # address of the array of references
_STRIDE = const(22)  # places in it for each descriptor
_COMPLETED = const(23)  # address of the ring of completed chains
_IN_HAND = const(24)  # 1 + the token of a chain added to be waited for, until it is; or -1
_BYTEARRAY = const(27)  # what a bytearray begins with, its type; 0 where that is not known

# … then three for each descriptor …
_SHADOW = const(28)
_SHADOW_WORDS = const(3)
_SHADOW_SIZE = const(12)  # the same in bytes
_CHAIN_STATE = const(1)  # of the chain that begins here
_CHAIN_BYTES = const(2)  # that the device may write; when it is done, that it has written

# The state word of a chain's first descriptor: the number of its buffers, and these.
_COUNT_MASK = const(0xFFFF)
_IN_FLIGHT = const(0x10000)
_HAS_TABLE = const(0x20000)
_DONE = const(0x40000)
_AWAITED = const(0x80000)  # somebody waits for just this one: it does not join the completed ring
_ORPHAN = const(0x100000)  # nobody waits any more: taken back as soon as the device lets go

# A frame: what a framed chain has of its own, in memory that the device sees.
_FRAME_SIZE = const(80)  # bytes
_DIRECT_FRAME_SIZE = const(32)  # the same where chains have no tables
_FRAME_END = const(16)  # behind a header of 16 bytes for the device to read: a byte that it writes
_FRAME_STATUS = const(4)  # the same, in words
_FRAME_TABLE = const(32)  # the chain's indirect table: header, data, end
_FRAME_DATA_ADDR = const(12)  # of the table's second entry, in words of the frame
_FRAME_DATA_LENGTH = const(14)
_FRAME_DATA_FLAGS = const(15)
_FRAMED_MAX = const(3)  # descriptors that a framed chain takes without a table

# A record: what a driver says of a framed chain to be added, in words. Four are its header.
_RECORD_ADDRESS = const(4)  # of the buffer
_RECORD_LENGTH = const(5)  # of what the device is to read; of what it is to write, less than 0
_RECORD_BUFFER = const(6)  # the object
_RECORD_TOKEN = const(7)  # filled in when it was added; when it was ended, the byte at its end
_RECORD_WORDS = const(8)
_PENDING = const(0xFF)  # stands at a frame's end until the device has written there

# Why a viper function of the rings refused …
_NO_BUFFERS = const(-1)
_EMPTY_BUFFER = const(-2)
_FULL = const(-3)

# … and what the device has done wrong.
_BAD_INDEX = const(-1)
_BAD_ID = const(-2)
_NOT_IN_FLIGHT = const(-3)

# What lies where in MicroPython's objects, in words; behind the type (py/objlist.h, objtuple.h,
# objarray.h, objstr.h).
_OBJECT_TYPE = const(0)
_BUFFER_LENGTH = const(2)  # of a bytearray, or bytes
_BUFFER_ADDRESS = const(3)
_NO_POINTER = const(3)  # the bits of an object that is in the word itself

# End of layout.py.


class SplitRing(Ring):
    """A split ring; a `VirtQueue` is one, with what waits for its chains."""

    packed = False

    def _possible(self, maximum):
        """Whether a device may have such a maximum: a power of two, by section 2.7."""
        return maximum > 0 and not maximum & (maximum - 1)

    def _layout(self):
        """Where the available and used rings begin, and where all ends (2.7 and 2.7.2)."""
        avail_at = _DESC_SIZE * self.size
        avail_end = avail_at + 6 + 2 * self.size
        align = _LEGACY_ALIGN if self._transport.legacy else 4
        used_at = (avail_end + align - 1) & -align
        return avail_at, used_at, used_at + 6 + 8 * self.size

    def _prepare_tables(self):
        fill_frame_tables(self.words, _NEXT | 1 << 16, _WRITE)

    def _choose_functions(self):
        self._look = _collect
        self._watch = spin
        self._wanted = _wanted
        self.add_framed = add_framed

    @micropython.viper
    def add(self, inputs, outputs) -> int:
        """Put a chain of buffers into the available ring; returns its token.

        `inputs` are buffers that the device reads, `outputs` buffers that it writes, each a
        list or tuple of objects with the buffer protocol. The device may take the chain at
        once, notified or not. All buffers are the device's until the chain is popped.

        Raises `InvalidParam` for no buffers or an empty one, `TypeError` for what is no
        buffer or cannot be written, `QueueFull`, and `DeviceFault` on a queue that has died.
        Whatever it raises, nothing was added. Allocates nothing for `bytes`, `bytearray`
        and `memoryview`.
        """
        # Only between two bytecodes does the interpreter let Ctrl-C in, so a chain that is
        # published here is never left without its owner. On speed: a name of the module is
        # looked up at each use, and `s[n] += 1` costs more than `s[n] = s[n] + 1`.
        words = int(self.words)
        s = ptr32(words << 2)
        held = self._held
        if ptr32(s[_EPOCH])[0] != s[_BORN]:
            self.refuse_dead()
        if s[_IN_HAND]:
            drop_in_hand(self, words)
        length_of = len
        readable = int(length_of(inputs))
        count = readable + int(length_of(outputs))
        if count == 0:
            refuse(_NO_BUFFERS)
        head = s[_FREE]
        stride = s[_STRIDE]
        indirect = 0
        taken = count
        if 1 < count <= s[_TABLE_LEN]:
            indirect = 1
            taken = 1
        if taken > s[_FREE_COUNT]:
            refuse(_FULL)

        idx = s[_AVAIL_IDX]
        d = head
        place = head * stride
        e = ptr32(s[_DESC] + _DESC_SIZE * head)
        if indirect:
            e = ptr32(s[_TABLES] + _DESC_SIZE * place)
        writable = 0
        i = 0
        while True:
            if i < readable:
                buf = inputs[i]
                flags = 0
            else:
                buf = outputs[i - readable]
                flags = _WRITE
            held[place] = buf
            o = ptr32(ptr32(s[_HELD])[place])
            if int(o) & _NO_POINTER == 0 and o[_OBJECT_TYPE] == s[_BYTEARRAY]:
                # Read where it lies: asking for its type, length and address takes three calls.
                length = o[_BUFFER_LENGTH]
                address = o[_BUFFER_ADDRESS]
            else:
                length = int(checked_length(buf, flags))
                if s[_AVAIL_IDX] != idx:
                    # That may have allocated, and a finaliser has sent by this queue: once more.
                    return int(self.add(without_allocation(inputs), without_allocation(outputs)))
                address = int(ptr8(buf))
            if length == 0:
                refuse(_EMPTY_BUFFER)
            if flags:
                writable = writable + length
            i = i + 1
            e[_ADDR] = address
            e[_ADDR_HIGH] = 0  # addresses have 64 bits; RAM ends below 2^32
            e[_LENGTH] = length
            if i == count:
                e[_FLAGS_NEXT] = flags
                break
            if indirect:
                e[_FLAGS_NEXT] = flags | _NEXT | i << 16
                e = ptr32(int(e) + _DESC_SIZE)
                place = place + 1
            else:
                d = s[_SHADOW + _SHADOW_WORDS * d]
                e[_FLAGS_NEXT] = flags | _NEXT | d << 16
                e = ptr32(s[_DESC] + _DESC_SIZE * d)
                place = d * stride

        bits = count | _IN_FLIGHT
        if indirect:
            bits = bits | _HAS_TABLE
            e = ptr32(s[_DESC] + _DESC_SIZE * head)
            e[_ADDR] = s[_TABLES] + _DESC_SIZE * head * stride
            e[_ADDR_HIGH] = 0
            e[_LENGTH] = _DESC_SIZE * count
            e[_FLAGS_NEXT] = _INDIRECT
        ptr16(s[_AVAIL])[_RING_ENTRIES + (idx & s[_MASK])] = head
        # Up to here only free descriptors were written, so whatever was raised changed nothing;
        # a reference left under one of them goes with the next add. From here on nothing raises.
        publish(words, idx + 1)
        s[_FREE] = s[_SHADOW + _SHADOW_WORDS * d]
        s[_FREE_COUNT] = s[_FREE_COUNT] - taken
        chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * head)
        chain[_CHAIN_STATE] = bits
        chain[_CHAIN_BYTES] = writable
        s[_IN_FLIGHT_COUNT] = s[_IN_FLIGHT_COUNT] + 1
        if s[_DECIDED]:
            s[_DECIDED] = 0
            s[_ADDED] = 0
        if s[_ADDED] <= 0xFFFF:
            s[_ADDED] = s[_ADDED] + 1
        return head

    def rings(self):
        """The descriptor table and both rings, as `uctypes` structures over the same memory.

        `desc[n]` has addr, len, flags and next, `avail` flags, idx, ring and used_event, `used`
        flags, idx, ring (of id and len) and avail_event. They are valid until `deinit`. Raises
        `InvalidParam` afterwards.
        """
        from .structures import split_rings  # for those only who look

        return split_rings(self)

    @micropython.viper
    def _tell(self):
        """Write the driver's wish for notifications where the device looks for it."""
        s = ptr32(int(self.words) << 2)
        avail = ptr16(s[_AVAIL])
        if s[_EVENT_IDX]:
            # Wanted: at the next one. Unwanted: as late as the index allows (section 2.7.10).
            used_event = s[_USED_IDX]
            if s[_SILENT]:
                used_event = used_event - 1
            avail[_RING_ENTRIES + s[_MASK] + 1] = used_event
        else:
            avail[_RING_FLAGS] = _NO_INTERRUPT if s[_SILENT] else 0
        # Pairs with the device's between used.idx and reading this: either the device sees
        # the new wish, or the driver, looking again, sees what was used.
        barrier()

    @micropython.viper
    def _scrub(self):
        """Put free descriptors right that were written, and never published."""
        s = ptr32(int(self.words) << 2)
        d = s[_FREE]
        left = s[_FREE_COUNT]
        while left:
            s[_SHADOW + _SHADOW_WORDS * d + _CHAIN_STATE] = 0
            d = s[_SHADOW + _SHADOW_WORDS * d]
            left = left - 1
        s[_IN_HAND] = 0


@micropython.viper
def add_framed(words: int, records: int, queue, count: int) -> int:
    """Add the chains of *count* records, as many as fit; returns how many.

    *records* is the address of the first, divided by four. The caller vouches for them. The
    chains are ones that are waited for by themselves, as by `submit`; `end_framed` ends them.
    """
    words = words << 2  # addresses from here on: the first two parameters are in registers
    records = records << 2
    if ptr32(ptr32(words)[_EPOCH])[0] != ptr32(words)[_BORN]:
        queue.refuse_dead()
    if ptr32(words)[_IN_HAND]:
        drop_in_hand(queue, words >> 2)
    stride = ptr32(words)[_TABLE_LEN]
    room = ptr32(words)[_FREE_COUNT]
    frame_size = _FRAME_SIZE
    if stride == 0:
        room = room // _FRAMED_MAX
        frame_size = _DIRECT_FRAME_SIZE
    if count > room:
        count = room
    if count == 0:
        return 0
    idx = ptr32(words)[_AVAIL_IDX]
    left = count
    free = ptr32(words)[_FREE]
    taken = 0
    ptr32(words)[_IN_HAND] = -1  # notes of free descriptors are written before all is published
    while left:
        ptr32(records)[_RECORD_TOKEN] = free
        ptr16(ptr32(words)[_AVAIL])[(idx & ptr32(words)[_MASK]) + _RING_ENTRIES] = free
        chain = ptr32(free * _SHADOW_SIZE + words)  # its words, from _SHADOW on
        f = ptr32(free * frame_size + ptr32(words)[_FRAMES])
        f[0] = ptr32(records)[0]
        f[1] = ptr32(records)[1]
        f[2] = ptr32(records)[2]
        f[3] = ptr32(records)[3]
        f[_FRAME_STATUS] = _PENDING
        e = ptr32(free * _DESC_SIZE + ptr32(words)[_DESC])
        e[_ADDR_HIGH] = 0
        length = ptr32(records)[_RECORD_LENGTH]
        writable = 1
        flags = _NEXT
        if length < 0:
            flags = _NEXT | _WRITE
            length = 0 - length
            writable = length + 1
        chain[_SHADOW + _CHAIN_BYTES] = writable
        if stride:
            # Indirect: the frame's table is the chain, and needs its second entry.
            ptr32(ptr32(words)[_HELD])[free * stride] = ptr32(records)[_RECORD_BUFFER]
            free = chain[_SHADOW]
            chain[_SHADOW + _CHAIN_STATE] = 1 | _IN_FLIGHT | _AWAITED | _HAS_TABLE
            taken = taken + 1
            e[_ADDR] = int(f) + _FRAME_TABLE
            e[_FLAGS_NEXT] = _INDIRECT
            if length:
                e[_LENGTH] = 3 * _DESC_SIZE
                f[_FRAME_DATA_ADDR] = ptr32(records)[_RECORD_ADDRESS]
                f[_FRAME_DATA_LENGTH] = length
                f[_FRAME_DATA_FLAGS] = flags | 2 << 16
            else:
                e[_LENGTH] = 2 * _DESC_SIZE
                f[_FRAME_DATA_ADDR] = int(f) + _FRAME_END
                f[_FRAME_DATA_LENGTH] = 1
                f[_FRAME_DATA_FLAGS] = _WRITE
        else:
            # Direct: two or three descriptors, in the order of the free list.
            ptr32(ptr32(words)[_HELD])[free] = ptr32(records)[_RECORD_BUFFER]
            bits = 2 | _IN_FLIGHT | _AWAITED
            free = chain[_SHADOW]
            e[_ADDR] = int(f)
            e[_LENGTH] = _FRAME_END
            e[_FLAGS_NEXT] = _NEXT | free << 16
            e = ptr32(free * _DESC_SIZE + ptr32(words)[_DESC])
            free = ptr32(free * _SHADOW_SIZE + words)[_SHADOW]
            if length:
                bits = 3 | _IN_FLIGHT | _AWAITED
                e[_ADDR] = ptr32(records)[_RECORD_ADDRESS]
                e[_ADDR_HIGH] = 0
                e[_LENGTH] = length
                e[_FLAGS_NEXT] = flags | free << 16
                e = ptr32(free * _DESC_SIZE + ptr32(words)[_DESC])
                free = ptr32(free * _SHADOW_SIZE + words)[_SHADOW]
            e[_ADDR] = int(f) + _FRAME_END
            e[_ADDR_HIGH] = 0
            e[_LENGTH] = 1
            e[_FLAGS_NEXT] = _WRITE
            chain[_SHADOW + _CHAIN_STATE] = bits
            taken = taken + (bits & _COUNT_MASK)
        idx = idx + 1
        records = records + 4 * _RECORD_WORDS
        left = left - 1
    publish(words >> 2, idx)
    ptr32(words)[_IN_HAND] = 0
    ptr32(words)[_FREE] = free
    ptr32(words)[_FREE_COUNT] = ptr32(words)[_FREE_COUNT] - taken
    ptr32(words)[_IN_FLIGHT_COUNT] = ptr32(words)[_IN_FLIGHT_COUNT] + count
    if ptr32(words)[_DECIDED]:
        ptr32(words)[_DECIDED] = 0
        ptr32(words)[_ADDED] = 0
    if ptr32(words)[_ADDED] <= 0xFFFF:
        ptr32(words)[_ADDED] = ptr32(words)[_ADDED] + count
    return count


@micropython.viper
def _collect(queue, words: int) -> int:
    """Note what the device has used; returns how many chains wait to be popped."""
    words = words << 2  # its address from here on, as a parameter in a register
    if ptr32(ptr32(words)[_EPOCH])[0] != ptr32(words)[_BORN]:
        queue.refuse_dead()
    while True:
        idx = ptr32(words)[_USED_IDX]
        new = (int(used_idx(words >> 2)) - idx) & 0xFFFF
        if new == 0:
            return ptr32(words)[_DONE_COUNT]
        left = ptr32(words)[_IN_FLIGHT_COUNT] - new
        if left < 0:
            broken(queue, _BAD_INDEX)
        while new:
            # Each word is read once: the device could change it between two readings.
            entry = ptr32((idx & ptr32(words)[_MASK]) * _USED_SIZE + ptr32(words)[_USED])
            token = entry[_USED_ENTRIES // 4 + _USED_ID]
            length = entry[_USED_ENTRIES // 4 + _USED_LENGTH]
            idx = idx + 1
            new = new - 1
            # What finish() does for the packed ring, without a call for each chain.
            if uint(token) > uint(ptr32(words)[_MASK]):
                broken(queue, _BAD_ID)
            chain = ptr32(token * _SHADOW_SIZE + words)  # its words, from _SHADOW on
            bits = chain[_SHADOW + _CHAIN_STATE]
            if (bits & (_IN_FLIGHT | _DONE)) ^ _IN_FLIGHT:
                broken(queue, _NOT_IN_FLIGHT)
            if uint(length) > uint(chain[_SHADOW + _CHAIN_BYTES]):
                # Where there is no stack for the call, the next look goes on from here.
                ptr32(words)[_USED_IDX] = (idx - 1) & 0xFFFF
                ptr32(words)[_IN_FLIGHT_COUNT] = left + new + 1
                length = int(queue.measure(chain[_SHADOW + _CHAIN_BYTES]))
            chain[_SHADOW + _CHAIN_STATE] = bits | _DONE
            chain[_SHADOW + _CHAIN_BYTES] = length
            if bits & _ORPHAN:
                chain[_SHADOW + _CHAIN_STATE] = bits
                ptr32(words)[_USED_IDX] = (idx - 1) & 0xFFFF
                ptr32(words)[_IN_FLIGHT_COUNT] = left + new + 1
                end(queue, words >> 2, token, False)
            elif bits & _AWAITED:
                pass
            else:
                place = (ptr32(words)[_DONE_HEAD] + ptr32(words)[_DONE_COUNT]) & ptr32(words)[
                    _MASK
                ]
                ptr16(ptr32(words)[_COMPLETED])[place] = token
                ptr32(words)[_DONE_COUNT] = ptr32(words)[_DONE_COUNT] + 1
        ptr32(words)[_USED_IDX] = idx & 0xFFFF
        ptr32(words)[_IN_FLIGHT_COUNT] = left
        # used_event names the index after which the device is to notify, so it has to follow;
        # a device without event indices does not look there. Who wants to be notified looks
        # again, by used_idx() and its barriers, for what came before the device saw it.
        event = _RING_ENTRIES + 1 + ptr32(words)[_MASK]
        ptr16(ptr32(words)[_AVAIL])[event] = idx - ptr32(words)[_SILENT]
        if left == 0 or ptr32(words)[_SILENT] or ptr32(words)[_EVENT_IDX] == 0:
            return ptr32(words)[_DONE_COUNT]


@micropython.viper
def _wanted(words: int) -> bool:
    """What `should_notify` says."""
    s = ptr32(words << 2)
    # The barrier between publishing avail.idx and reading what follows is in publish().
    if not s[_EVENT_IDX]:
        return ptr16(s[_USED])[_RING_FLAGS] & _NO_NOTIFY == 0
    if s[_ADDED] > 0xFFFF:
        return True
    avail_event = int(ptr16(s[_USED])[2 + 4 * (s[_MASK] + 1)])
    return (s[_AVAIL_IDX] - avail_event - 1) & 0xFFFF < s[_ADDED]


base.plain_look = _collect
