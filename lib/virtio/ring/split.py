"""The split virtqueue (virtio 1.2, section 2.7): descriptor table, available ring, used ring.

Three parts lie in the static DMA region, where the device sees them and could write
whatever it likes. So everything the driver goes by is kept a second time, in a private
array that no device is told of: the free list, what is in flight, how many bytes of each
chain are writable. The rings are written from it and, but for `used.idx`, the used entries
and the device's notification wishes, never read.

The packed ring, in `packed.py`, is another way to write chains into shared memory and to
read completions from it; all else is the same, and is here.

A chain's life, by the bits of its state word:

    free --add--> IN_FLIGHT --the device uses it--> IN_FLIGHT | DONE --pop--> free

The token of a chain is the index of its first descriptor.
"""

# SPDX-License-Identifier: MIT

from array import array

# In the module itself they are found at once. The built-in names stand in a table that is
# searched from its beginning, after the module's: hundreds of instructions each time.
from builtins import bytearray, bytes, len, type
from struct import unpack
from time import ticks_diff, ticks_ms

import uctypes
from board import uninterrupted
from micropython import const

from ..errors import (
    AlreadyUsed,
    DeviceFault,
    InvalidParam,
    NoDevice,
    NotReady,
    QueueFull,
    Timeout,
    WrongToken,
)
from ..platform import dma
from ..platform.barrier import barrier, publish, spin, used_idx
from ..platform.buffers import checked_length
from .framed import add_framed, fill_frame_tables, new_records

_MAX_SIZE = const(32768)  # section 2.7
_LEGACY_ALIGN = const(4096)
_TABLE_MAX = const(4)  # descriptors in an indirect table; a longer chain goes without one

# From layout.py, by `make layout`.

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
_DONE_HEAD = const(17)  # the completed chains, in order: a ring of size entries
_DONE_COUNT = const(18)
_FRAMES = const(19)  # address of the frames, one for each descriptor; 0 where there are none
_HELD = const(20)  # address of the array of references
_NONE = const(21)  # what None looks like there
_STRIDE = const(22)  # places in it for each descriptor
_COMPLETED = const(23)  # address of the ring of completed chains
_IN_HAND = const(24)  # 1 + the token of a chain added to be waited for, until it is; or -1
_PLAIN = const(25)  # 1 for a split ring's own look: found in half the time by its name
_HEADER_WORDS = const(26)

# … then three for each descriptor …
_SHADOW = const(26)
_SHADOW_WORDS = const(3)
_CHAIN_NEXT = const(0)  # the next free one, or the next in the chain
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

# Why a viper function of the rings refused …
_NO_BUFFERS = const(-1)
_EMPTY_BUFFER = const(-2)
_FULL = const(-3)
_NOT_READY = const(-4)
_WRONG_TOKEN = const(-5)
_NOT_SUBMITTED = const(-6)

# … and what the device has done wrong.
_BAD_INDEX = const(-1)
_BAD_ID = const(-2)
_NOT_IN_FLIGHT = const(-3)
_NAP_MS = const(500)  # how long a device may be broken before who sleeps or awaits sees it

# End of layout.py.


_ROUNDS = const(54000)  # of a loop of five instructions, before the CPU is given up: 150 µs

# The bits of what no token is: an object, which viper makes of no constant, as a number can have
# any size.
_no_token = -_MAX_SIZE

# Queues that a device may know of. The device goes on writing to the buffers of a queue
# whose last reference the program has dropped, so this one is kept until `deinit`.
_live = []


def live(transport):
    """The queues of a device that are not given back."""
    return [
        queue for queue in _live if queue._transport is transport or queue._transport == transport
    ]


class VirtQueue:
    """A split virtqueue.

    `transport` says where the device is, `idx` which of its queues this is. `size` is the
    number of descriptors, a power of two and at most `transport.max_queue_size(idx)`.
    `indirect` and `event_idx` are to be set just when the features INDIRECT_DESC and
    EVENT_IDX were negotiated. With `frames`, chains can be added by `add_framed` too, as
    `framed.py` says; its `words` are those of the queue. `lengths` is to be False where what the
    device says of how much it wrote carries nothing: it is not checked, and what the methods
    return of it is nothing to go by.

    Raises `InvalidParam` for the number or the size, `AlreadyUsed` when the device has this queue set up
    already, `DeviceFault` when it has no such queue, `DmaError` when the rings do not fit.

    Buffers passed to `add` belong to the device until their chain is popped or the device
    was reset. The queue keeps a reference to each that long; the caller must not change or
    resize them. Methods are not to be called from a hard interrupt handler.
    """

    _lengths = True  # whether they are checked
    _end = None  # why it does not work any more, where that is not the device's doing
    closed = False  # with its driver
    heard = False  # whether interrupts are asked for all the time, not only by who waits
    packed = False

    def __init__(
        self, transport, idx, size, indirect=False, event_idx=False, frames=False, lengths=True
    ):
        self.idx = idx
        self.size = size
        self._transport = transport
        if not lengths:
            self._lengths = False
        self._shared = []  # what the device sees: the rings, the indirect tables, the frames
        uninterrupted(self._set_up, indirect, event_idx, frames)

    def _set_up(self, indirect, event_idx, frames):
        transport, idx, size = self._transport, self.idx, self.size
        self._check_size(transport.max_queue_size(idx))
        if transport.queue_used(idx):
            raise AlreadyUsed("queue %d" % idx)
        table_len = min(size, _TABLE_MAX) if indirect else 0
        # The buffers in flight: those of a direct chain under its descriptors, those of an
        # indirect one in a row under its first.
        # An array and not a list, for it can be cleared by address.
        self._held = array("O", [None] * (size * (table_len or 1)))
        self._state = _new_state(size)
        # Where it is, for viper; divided by four, since 30 bits are not an object on the heap.
        self.words = uctypes.addressof(self._state) >> 2
        # What is found in the queue itself costs a fraction of what is found in its class.
        self.notify = transport.notify
        self._look, self._watch, self._wanted, self.add_framed = self._functions()
        for name in ("add", "should_notify", "can_pop", "pop_used", "add_notify_wait_pop"):
            setattr(self, name, getattr(self, name))
        held = uctypes.addressof(self._held)
        self._state[_HELD] = held
        (self._state[_NONE],) = unpack("I", uctypes.bytes_at(held, 4))
        self._state[_STRIDE] = table_len or 1
        self._state[_PLAIN] = self._look is _collect
        ring = 4 * (_SHADOW + _SHADOW_WORDS * size)
        self._state[_COMPLETED] = uctypes.addressof(self._state) + ring
        self._state[_TABLE_LEN] = table_len
        self._state[_EVENT_IDX] = event_idx
        self._state[_EPOCH] = uctypes.addressof(transport.epoch)
        self._state[_BORN] = transport.epoch[0]
        if frames:
            self.record = new_records(1)  # for chains that are added one by one
        avail_at, used_at, length = self._layout()
        state = self._state
        try:
            base = self._share(length, _LEGACY_ALIGN if transport.legacy else 16)
            self._free_gap(avail_at + 6 + 2 * size, used_at)
            state[_DESC] = base
            state[_AVAIL] = base + avail_at
            state[_USED] = base + used_at
            if indirect:
                state[_TABLES] = self._share(size * table_len * _DESC_SIZE)
            if frames:
                state[_FRAMES] = self._share(size * _FRAME_SIZE)
                if indirect:
                    self._prepare_tables()
            _live.append(self)
            transport.queue_set(idx, size, base, base + avail_at, base + used_at)
        except:
            # The device was told last, so it knows of nothing yet.
            if self in _live:
                _live.remove(self)
            self._unshare()
            raise

    def __repr__(self):
        state = self._state
        return "%s(%d, size=%d, free=%d, avail=%d, used=%d, flags=%s)" % (
            type(self).__name__,
            self.idx,
            self.size,
            state[_FREE_COUNT],
            state[_AVAIL_IDX],
            state[_USED_IDX],
            "|".join(self._flags()) or "0",
        )

    def _check_size(self, maximum):
        size = self.size
        if not isinstance(size, int) or not 0 < size <= _MAX_SIZE or size & (size - 1):
            raise InvalidParam("queue size %s" % size)
        if not self._possible(maximum):
            self._fault("queue %d has a maximum of %d" % (self.idx, maximum))
        if size > maximum:
            raise InvalidParam("queue size %d, the device allows %d" % (size, maximum))

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

    def _share(self, length, align=16):
        """Take memory that the device will see; returns its address."""
        self._shared.append(None)  # its place first: it may be what there is no memory for
        try:
            self._shared[-1] = piece = dma.alloc(length, align)
        except:
            self._shared.pop()
            raise
        return uctypes.addressof(piece)

    def _free_gap(self, start, end):
        """Give back what lies between the parts of a ring that was just shared, up to a page."""
        if end - start < 16:
            return
        shared = self._shared
        shared.append(None)  # a place for the second part
        try:
            ring = shared[-2]
            first, second = ring[:start], ring[end:]
            # No jump from here to the end: what was freed is noted as well.
            dma.free(ring[start:end])
            shared[-2] = first
            shared[-1] = second
        except:
            shared.pop()
            raise

    def _unshare(self):
        while self._shared:
            dma.free(self._shared[-1])
            self._shared.pop()

    def _functions(self):
        """What is another function for each ring, kept in the queue:

        `_look` notes which chains the device has used, `_watch` waits a little for one,
        `_wanted` decides whether to notify, `add_framed` adds.
        """
        return _collect, _watch, _wanted, add_framed

    def _flags(self):
        state = self._state
        if state[_TABLE_LEN]:
            yield "indirect"
        if state[_EVENT_IDX]:
            yield "event_idx"
        if state[_SILENT]:
            yield "silent"
        if not self.alive:
            yield "dead"

    @property
    def alive(self):
        """False once the device was reset or has failed, or the queue was given back."""
        return self._state[_BORN] == self._transport.epoch[0]

    def deinit(self):
        """Give the queue back: its rings, and the buffers that are in flight.

        Chains in flight come back safely only by a reset: of the queue alone where the device
        can do that (RING_RESET), of the whole device otherwise. Raises `DeviceFault` when it
        does not end; the queue and its buffers then stay where they are.
        """
        uninterrupted(self._give_back)

    def _give_back(self):
        if not self._shared:
            return
        if self.alive:
            self._end = "the queue was given back"
            if not self._state[_IN_FLIGHT_COUNT]:
                self._transport.queue_unset(self.idx)
            elif not self._transport.queue_reset(self.idx):
                self._transport.reset()
        elif self._transport.failed:
            # It died of a fault, no reset came since: the device may still write.
            self._transport.reset()
        self._state[_BORN] = ~0
        if self in _live:  # it is not where an earlier call got no further, for want of memory
            _live.remove(self)
        self._unshare()
        # Not dropped, for a task that has waited may yet abandon its chain.
        for place in range(len(self._held)):
            self._held[place] = None

    # Adding

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
        type_of = type
        changeable = bytearray
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
            if type_of(buf) is changeable:
                length = int(length_of(buf))
            else:
                length = int(checked_length(buf, flags))
            if length == 0:
                refuse(_EMPTY_BUFFER)
            if flags:
                writable = writable + length
            i = i + 1
            held[place] = buf
            e[_ADDR] = int(ptr8(buf))
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
        idx = s[_AVAIL_IDX]
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

    @micropython.native
    def add_notify_wait_pop(self, inputs, outputs, transport=None, timeout_ms=None):
        """Add a chain, notify, wait until the device has used it, pop it.

        Returns the number of bytes that the device wrote. `timeout_ms` of None waits for
        ever. Other chains may be in flight; their completions stay in order for `pop_used`.

        Raises what `add` does, `Timeout`, and `DeviceFault`. After a timeout, Ctrl-C or
        anything else that ends the wait, the buffers stay the device's: they are let go
        when it has used them after all, or was reset.
        """
        # No jump from here to where it is slept for: the chain is always somebody's.
        return _request(self, inputs, outputs, transport or self._transport, timeout_ms)

    # Chains that somebody waits for one by one, whatever the order they complete in.

    @micropython.viper
    def submit(self, inputs, outputs) -> int:
        """Add a chain to be waited for by `finished`, not popped; returns its token.

        It ends with `take` once it is finished, or with `abandon`. Raises what `add` does.
        """
        token = int(self.add(inputs, outputs))
        # No call from here on: one that the stack has no room for would lose the chain.
        chain = ptr32((int(self.words) << 2) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
        chain[_CHAIN_STATE] = chain[_CHAIN_STATE] | _AWAITED
        return token

    @micropython.viper
    def finished(self, token) -> bool:
        """True when the device has used the submitted chain. Raises `WrongToken`, `DeviceFault`."""
        words = int(self.words)
        self._look(self, words)
        return int(_submitted(words, token)) & _DONE != 0

    @micropython.viper
    def take(self, token) -> int:
        """End a finished chain; returns how many bytes the device wrote.

        Raises `NotReady` when it is not finished, `WrongToken` for what is no such chain, or is
        one no more.
        """
        words = int(self.words)
        if int(_submitted(words, token)) & _DONE == 0:
            refuse(_NOT_READY)
        return int(end(self, words, int(token), False))

    @micropython.viper
    def abandon(self, token):
        """Wait no longer. The buffers stay the device's until it has used them, or is reset.

        Raises `WrongToken` as `take` does.
        """
        words = int(self.words)
        _submitted(words, token)
        _abandon(self, words, int(token))

    @micropython.native
    def _sleep_or_abandon(self, token, timeout_ms):
        # Native, for in bytecode Ctrl-C comes in where `try` ends, too late for `except`.
        state = self._state
        try:
            state[_IN_HAND] = 0  # who comes meanwhile must not take it for one that was dropped
            self._sleep(token, timeout_ms)
            if state[_IN_HAND]:
                self.available_desc()  # takes back what somebody has left there meanwhile
            state[_IN_HAND] = token + 1
        except MemoryError as error:
            # Perhaps it was to be a Timeout. Nobody could tell that the buffers are still the
            # device's, so they are taken from it.
            self._transport.reset()
            raise error
        except BaseException as error:
            state[_IN_HAND] = token + 1  # should there be no stack for the next line
            self.abandon(token)
            raise error

    def wait(self, token, timeout_ms=None):
        """Return when the submitted chain is finished. Raises `Timeout`, `DeviceFault`."""
        if not _spin(self, self.words, token):
            self._sleep(token, timeout_ms)

    @micropython.native
    def _sleep(self, token, timeout_ms):
        # Native code has no jump of the interpreter between the last look and sleeping, where a
        # scheduled function could wait for the same device and have the interrupt that is due.
        start = ticks_ms()
        silent = self._state[_SILENT]
        try:
            while not self.finished(token):
                # Each time, for a task that waits no longer may have asked for silence.
                self.set_dev_notify(True)
                self._transport.check()
                left = _NAP_MS
                if timeout_ms is not None:
                    left = timeout_ms - ticks_diff(ticks_ms(), start)
                    if left <= 0:
                        raise Timeout("queue %d: no answer in %d ms" % (self.idx, timeout_ms))
                # Looked at again after enabling: what was used before brings no interrupt.
                if not self.finished(token):
                    self._transport.wait(min(left, _NAP_MS))
                    if left >= _NAP_MS and not self.finished(token):
                        # Told again, should whoever was to tell it have been interrupted.
                        self.notify(self.idx)
        finally:
            self.set_dev_notify(not silent)

    @micropython.native
    def wait_for_room(self, count, timeout_ms=None):
        """Return when so many descriptors are free; `QueueFull` where that takes too long.

        Raises `DeviceFault`. Native, for what `_sleep` says.
        """
        start = ticks_ms()
        silent = self._state[_SILENT]
        self.set_dev_notify(True)
        try:
            self.can_pop()  # takes back what was abandoned, and used since
            while self.available_desc() < count:
                self._transport.check()
                left = _NAP_MS
                if timeout_ms is not None:
                    left = timeout_ms - ticks_diff(ticks_ms(), start)
                    if left <= 0:
                        refuse_full()
                self._transport.wait(min(left, _NAP_MS))
                self.can_pop()
        finally:
            self.set_dev_notify(not silent)

    # Looking at it

    def rings(self):
        """The descriptor table and both rings, as `uctypes` structures over the same memory.

        `desc[n]` has addr, len, flags and next, `avail` flags, idx, ring and used_event, `used`
        flags, idx, ring (of id and len) and avail_event. They are valid until `deinit`. Raises
        `InvalidParam` afterwards.
        """
        from .structures import split_rings  # for those only who look

        return split_rings(*self._areas())

    def _areas(self):
        if not self._shared:
            raise InvalidParam("queue %d was given back" % self.idx)
        state = self._state
        return state[_DESC], state[_AVAIL], state[_USED], self.size

    # Notifications

    @micropython.viper
    def should_notify(self) -> bool:
        """True when the device wants to be notified of what was added since the last decision.

        With event indices that decision is over the whole range of chains added since this
        was last asked, modulo 2^16 (section 2.7.10), so many `add`s need one call and at most
        one notification. Asked again with nothing added, it says the same again.
        """
        words = self.words
        wanted = bool(self._wanted(words))
        ptr32(int(words) << 2)[_DECIDED] = 1
        return wanted

    @micropython.viper
    def kick(self):
        """Notify the device of what was added, if it wants to be.

        Unlike `should_notify` and a notification after it, which Ctrl-C or a scheduled function
        can come between: then nobody tells the device of what was decided over.
        """
        words = int(self.words)
        if self._wanted(words):
            self.notify(self.idx)
        ptr32(words << 2)[_DECIDED] = 1  # only now: whatever raises in between is made good

    def set_dev_notify(self, enable):
        """Ask the device for used-buffer notifications, or not to bother (sections 2.7.7, 2.7.9).

        It is a wish; a device may notify all the same. A chain that was used before this
        call brings no notification any more: look at `can_pop` once after enabling.
        """
        state = self._state
        state[_SILENT] = not enable
        if self.alive:
            self._tell()

    def hear(self, enable):
        """Have the device interrupt for all that it uses from now on, whether somebody waits or not.

        What was used before is to be looked for, once, by `can_pop`.
        """
        self.heard = enable
        self.set_dev_notify(enable)

    # Popping

    @micropython.viper
    def can_pop(self) -> bool:
        """True when a used chain is there to be popped. Raises `DeviceFault`."""
        return int(self._look(self, self.words)) > 0

    @micropython.native
    def peek_used(self):
        """The token of the next used chain, or None. Raises `DeviceFault`."""
        if not self.can_pop():
            return None
        state = self._state
        return state[_SHADOW + _SHADOW_WORDS * self.size + state[_DONE_HEAD]]

    def available_desc(self):
        """The number of free descriptors."""
        if self._state[_IN_HAND]:
            drop_in_hand(self, self.words)
        return self._state[_FREE_COUNT]

    @micropython.native
    def pop_used(self, token, inputs=None, outputs=None):
        """Pop the next used chain, which must be *token*; returns how many bytes were written.

        The buffers are the caller's again. `inputs` and `outputs`, when given, must be those
        that were added.

        Raises `NotReady` when nothing was used, `WrongToken` when the next chain is another
        one, `InvalidParam` when the buffers are others, each with nothing popped; `DeviceFault`.
        """
        if inputs or outputs or token >> 30:
            self._check_pop(token, inputs or (), outputs or ())
        return end(self, self.words, token, True)

    @micropython.native
    def _check_pop(self, token, inputs, outputs):
        """Raise where the next used chain is another one, or has other buffers than these.

        Native: should anything come in and reset the queue, it is after the check of all.
        """
        if self.peek_used() != token:
            refuse(_NOT_READY if self.peek_used() is None else _WRONG_TOKEN)
        state = self._state
        bits = state[_SHADOW + _SHADOW_WORDS * token + _CHAIN_STATE]
        stride = state[_STRIDE]
        place = token * stride
        count = len(inputs) + len(outputs)
        same = not count or count == bits & _COUNT_MASK
        i = 0
        while same and i < count:
            buf = inputs[i] if i < len(inputs) else outputs[i - len(inputs)]
            same = self._held[place] is buf
            if bits & _HAS_TABLE:
                place += 1
            else:
                place = state[_SHADOW + _SHADOW_WORDS * (place // stride)] * stride
            i += 1
        if not same:
            raise InvalidParam("not the buffers of chain %d" % token)

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

    @micropython.native
    def measure(self, writable):
        """The length of a used chain that is larger than what it has that is writable.

        Native, for nothing may come in while the ring is looked at.
        """
        if self._lengths:
            self._fault("used length larger than the writable buffers")
        return writable

    def _fault(self, why):
        self._transport.fail(why)
        raise DeviceFault(self._transport.why)

    def refuse_dead(self):
        """Raise the reason why the queue does not work."""
        if self.closed:
            raise NoDevice("the driver was closed")
        if self._transport.failed:
            raise DeviceFault(self._transport.why)
        raise DeviceFault(self._end or "the device was reset since")


# Set-up


def _new_state(size):
    state = array("I", bytes(4 * _HEADER_WORDS))
    # Piece by piece, for the collector may not find out at once that a large one is not needed.
    piece = min(size, 8)
    zeros = bytes(4 * (_SHADOW_WORDS + 1) * piece)
    for _ in range(size // piece):
        state.extend(array("I", zeros))
    state[_MASK] = size - 1
    state[_FREE_COUNT] = size
    for i in range(size - 1):
        state[_SHADOW + _SHADOW_WORDS * i] = i + 1
    return state


# The data path. Viper functions allocate nothing, and the interpreter lets neither Ctrl-C
# nor a scheduled handler in while one of them runs.


@micropython.viper
def _collect(queue, words: int) -> int:
    """Note what the device has used; returns how many chains wait to be popped."""
    s = ptr32(words << 2)
    if ptr32(s[_EPOCH])[0] != s[_BORN]:
        queue.refuse_dead()
    while True:
        idx = s[_USED_IDX]
        new = (int(used_idx(words)) - idx) & 0xFFFF
        if new == 0:
            return s[_DONE_COUNT]
        left = s[_IN_FLIGHT_COUNT] - new
        if left < 0:
            broken(queue, _BAD_INDEX)
        mask = s[_MASK]
        while new:
            # Each word is read once: the device could change it between two readings.
            entry = ptr32(s[_USED] + _USED_ENTRIES + _USED_SIZE * (idx & mask))
            token = entry[_USED_ID]
            length = entry[_USED_LENGTH]
            idx = idx + 1
            new = new - 1
            # What finish() does for the packed ring, without a call for each chain.
            if token & ~mask:
                broken(queue, _BAD_ID)
            chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
            bits = chain[_CHAIN_STATE]
            if bits & (_IN_FLIGHT | _DONE) != _IN_FLIGHT:
                broken(queue, _NOT_IN_FLIGHT)
            if uint(length) > uint(chain[_CHAIN_BYTES]):
                # Where there is no stack for the call, the next look goes on from here.
                s[_USED_IDX] = (idx - 1) & 0xFFFF
                s[_IN_FLIGHT_COUNT] = left + new + 1
                length = int(queue.measure(chain[_CHAIN_BYTES]))
            chain[_CHAIN_STATE] = bits | _DONE
            chain[_CHAIN_BYTES] = length
            if bits & (_AWAITED | _ORPHAN) == 0:
                ptr32(s[_COMPLETED])[(s[_DONE_HEAD] + s[_DONE_COUNT]) & mask] = token
                s[_DONE_COUNT] = s[_DONE_COUNT] + 1
            elif bits & _ORPHAN:
                chain[_CHAIN_STATE] = bits
                s[_USED_IDX] = (idx - 1) & 0xFFFF
                s[_IN_FLIGHT_COUNT] = left + new + 1
                end(queue, words, token, False)
        s[_USED_IDX] = idx & 0xFFFF
        s[_IN_FLIGHT_COUNT] = left
        # used_event names the index after which the device is to notify, so it has to follow;
        # a device without event indices does not look there. Who wants to be notified looks
        # again, by used_idx() and its barriers, for what came before the device saw it.
        ptr16(s[_AVAIL])[_RING_ENTRIES + 1 + mask] = idx - s[_SILENT]
        if left == 0 or s[_SILENT] or s[_EVENT_IDX] == 0:
            return s[_DONE_COUNT]


@micropython.viper
def _watch(words: int, rounds: int) -> int:
    """Return when the device has used something, or after so many rounds; those that are left."""
    return int(spin(words, rounds))


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


@micropython.viper
def finish(queue, token: int, length: int) -> int:
    """Take note that the device has used a chain; returns its state word.

    Checks everything that the device said by the driver's own notes first.
    """
    words = int(queue.words)
    s = ptr32(words << 2)
    if token & ~s[_MASK]:
        broken(queue, _BAD_ID)
    shadow = _SHADOW + _SHADOW_WORDS * token
    bits = s[shadow + 1]
    if bits & (_IN_FLIGHT | _DONE) != _IN_FLIGHT:
        broken(queue, _NOT_IN_FLIGHT)
    if uint(length) > uint(s[shadow + 2]):
        length = int(queue.measure(s[shadow + 2]))
    if bits & _ORPHAN:
        end(queue, words, token, False)  # before the rest: there may be no stack for the call
    else:
        s[shadow + 1] = bits | _DONE
        s[shadow + 2] = length
    s[_IN_FLIGHT_COUNT] -= 1
    if not bits & (_AWAITED | _ORPHAN):
        ptr32(s[_COMPLETED])[(s[_DONE_HEAD] + s[_DONE_COUNT]) & s[_MASK]] = token
        s[_DONE_COUNT] += 1
    return bits


@micropython.viper
def end(queue, words: int, token: int, pop: bool) -> int:
    """Put a used chain's descriptors back on the free list, and let go of its buffers.

    To *pop* it, it must be the next in the completed ring; otherwise it is one that never
    joined it. Returns how many bytes the device wrote.
    """
    words = words << 2  # the array's address from here on, as a parameter in a register
    if pop:
        # With chains in the completed ring there is no need to look for more.
        if ptr32(words)[_DONE_COUNT] == 0 or ptr32(ptr32(words)[_EPOCH])[0] != ptr32(words)[_BORN]:
            if ptr32(words)[_PLAIN]:
                if int(_collect(queue, words >> 2)) == 0:
                    refuse(_NOT_READY)
            elif int(queue._look(queue, words >> 2)) == 0:
                refuse(_NOT_READY)
        mask = ptr32(words)[_MASK]
        first = ptr32(words)[_DONE_HEAD]
        if ptr32(ptr32(words)[_COMPLETED])[first] != token:
            refuse(_WRONG_TOKEN)
        ptr32(words)[_DONE_HEAD] = (first + 1) & mask
        ptr32(words)[_DONE_COUNT] = ptr32(words)[_DONE_COUNT] - 1
    held = ptr32(ptr32(words)[_HELD])
    none = ptr32(words)[_NONE]
    chain = ptr32(words + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
    bits = chain[_CHAIN_STATE]
    chain[_CHAIN_STATE] = 0
    count = bits & _COUNT_MASK
    stride = ptr32(words)[_STRIDE]
    place = token * stride
    held[place] = none
    if bits & _HAS_TABLE:
        while count > 1:
            place = place + 1
            held[place] = none
            count = count - 1
        ptr32(words)[_FREE_COUNT] = ptr32(words)[_FREE_COUNT] + 1
        chain[_CHAIN_NEXT] = ptr32(words)[_FREE]
    else:
        ptr32(words)[_FREE_COUNT] = ptr32(words)[_FREE_COUNT] + count
        last = token
        while count > 1:
            last = ptr32(words)[_SHADOW + _SHADOW_WORDS * last]
            held[last * stride] = none
            count = count - 1
        ptr32(words)[_SHADOW + _SHADOW_WORDS * last] = ptr32(words)[_FREE]
    ptr32(words)[_FREE] = token
    return chain[_CHAIN_BYTES]


@micropython.viper
def _submitted(words: int, token) -> int:
    """The state word of a chain that was submitted, and neither taken nor abandoned since."""
    s = ptr32(words << 2)
    if type(token) is not type(_no_token) or token & _no_token:
        refuse(_NOT_SUBMITTED)
    n = int(token)
    if n & ~s[_MASK]:
        refuse(_NOT_SUBMITTED)
    bits = s[_SHADOW + _SHADOW_WORDS * n + _CHAIN_STATE]
    if bits & (_IN_FLIGHT | _AWAITED | _ORPHAN) != _IN_FLIGHT | _AWAITED:
        refuse(_NOT_SUBMITTED)
    return bits


@micropython.viper
def _request(queue, inputs, outputs, transport, timeout_ms) -> int:
    """Add a chain, notify if the device wants it, wait until it is used, and take it."""
    words = int(queue.words)
    notify = transport.notify
    token = int(queue.add(inputs, outputs))
    s = ptr32(words << 2)
    s[_IN_HAND] = token + 1
    shadow = _SHADOW + _SHADOW_WORDS * token + _CHAIN_STATE
    s[shadow] = s[shadow] | _AWAITED
    announce(queue, words, token, notify)
    wait(queue, words, token, timeout_ms)
    length = int(end(queue, words, token, False))
    s[_IN_HAND] = 0
    return length


@micropython.viper
def drop_in_hand(queue, words: int):
    """Abandon a chain whose owner has gone between adding it and waiting for it.

    Nothing is let in there. But each call could be the one that the stack has no room for. Less
    than 0: that was the one which was to publish.
    """
    s = ptr32(words << 2)
    if s[_IN_HAND] > 0:
        _abandon(queue, words, s[_IN_HAND] - 1)
    else:
        queue._scrub()


@micropython.viper
def announce(queue, words: int, token: int, notify):
    """Notify, if the device wants it, of a chain that somebody waits for and others before it."""
    if queue._wanted(words):
        idx = queue.idx
        chain = ptr32((words << 2) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
        bits = chain[_CHAIN_STATE]
        in_hand = ptr32(words << 2)[_IN_HAND]
        ptr32(words << 2)[_IN_HAND] = -1
        chain[_CHAIN_STATE] = bits | _ORPHAN  # nobody's, should the notification raise
        notify(idx)
        chain[_CHAIN_STATE] = bits
        ptr32(words << 2)[_IN_HAND] = in_hand
    ptr32(words << 2)[_DECIDED] = 1  # as in `kick`


@micropython.viper
def wait(queue, words: int, token: int, timeout_ms):
    """Return when the device has used a chain that somebody waits for.

    Raises `Timeout` and `DeviceFault`; then it is nobody's chain any more.
    """
    if not _spin(queue, words, token):
        queue._sleep_or_abandon(token, timeout_ms)


@micropython.viper
def _spin(queue, words: int, token: int) -> bool:
    """Whether the device uses the chain within the time that is worth waiting awake."""
    chain = ptr32((words << 2) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
    rounds = _ROUNDS
    while True:
        queue._look(queue, words)
        if chain[_CHAIN_STATE] & _DONE:
            return True
        if rounds == 0:
            return False
        rounds = int(queue._watch(words, rounds))


@micropython.viper
def _abandon(queue, words: int, token: int):
    """Nobody waits for this chain any more. It is the device's until it is used."""
    s = ptr32(words << 2)
    shadow = _SHADOW + _SHADOW_WORDS * token + _CHAIN_STATE
    if s[shadow] & _DONE:
        end(queue, words, token, False)
    else:
        s[shadow] = s[shadow] | _ORPHAN
    if s[_IN_HAND] == token + 1:
        s[_IN_HAND] = 0
    if s[_DECIDED] == 0 and ptr32(s[_EPOCH])[0] == s[_BORN]:
        queue.kick()  # it may be as this was to be done that its owner went


def refuse_full():
    refuse(_FULL)


def refuse(code):
    if code == _NO_BUFFERS:
        raise InvalidParam("no buffers")
    if code == _EMPTY_BUFFER:
        raise InvalidParam("empty buffer")
    if code == _FULL:
        raise QueueFull("not enough free descriptors")
    if code == _NOT_READY:
        raise NotReady("nothing used")
    if code == _WRONG_TOKEN:
        raise WrongToken("another chain is next")
    if code == _NOT_SUBMITTED:
        raise WrongToken("not a chain that was submitted and is still waited for")


def broken(queue, code):
    if code == _BAD_INDEX:
        queue._fault("used.idx ran ahead of what is in flight")
    if code == _BAD_ID:
        queue._fault("used id out of range")
    if code == _NOT_IN_FLIGHT:
        queue._fault("used id not in flight")
