"""What all rings share: who owns a buffer, what is free, in flight, used; when to notify.

What lies in the static DMA region the device sees, and could write whatever it likes there. So
everything the driver goes by is kept a second time, in a private array that no device is told of:
the free list, what is in flight, how many bytes of each chain are writable. `layout.py` has its words.

A chain's life, by the bits of its state word:

    free --add--> IN_FLIGHT --the device uses it--> IN_FLIGHT | DONE --pop--> free

The token of a chain is the index of its first descriptor, or its identifier in a packed ring.
"""

# SPDX-License-Identifier: MIT

from array import array
from struct import unpack

import uctypes
from micropython import const

from .. import errors
from ..platform import board, dma
from .framed import new_records

_TABLE_MAX = const(4)  # descriptors in an indirect table; a longer chain goes without one

# From layout.py, by `make layout`.

# What a queue may be (2.7).
_MAX_SIZE = const(32768)
_LEGACY_ALIGN = const(4096)  # of the used ring, and of the whole, for a legacy device

# A descriptor, split or packed, or an entry of an indirect table, in words (2.7.5, 2.8.13).
_DESC_SIZE = const(16)  # bytes

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
_DECIDED = const(12)  # 1 when that was carried out; the next add begins a new range
_EVENT_IDX = const(13)  # 1 when event indices were negotiated
_SILENT = const(14)  # 1 when the driver wants no interrupts
_EPOCH = const(15)  # address of the transport's epoch
_BORN = const(16)  # its value when the queue was set up
_DONE_HEAD = const(17)  # the completed chains, in order: a ring of size entries, 16 bits each
_DONE_COUNT = const(18)
_FRAMES = const(19)  # address of the frames, one for each descriptor; 0 where there are none
_HELD = const(20)  # address of the array of references
_NONE = const(21)  # what None looks like there
_STRIDE = const(22)  # places in it for each descriptor
_COMPLETED = const(23)  # address of the ring of completed chains
_IN_HAND = const(24)  # 1 + the token of a chain added to be waited for, until it is; or -1
_PLAIN = const(25)  # 1 for a split ring's own look: found in half the time by its name
_IDX = const(26)  # which of the device's queues it is
_BYTEARRAY = const(27)  # what a bytearray begins with, its type; 0 where that is not known
_HEADER_WORDS = const(28)

# … then three for each descriptor …
_SHADOW = const(28)
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
_DIRECT_FRAME_SIZE = const(32)  # the same where chains have no tables

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

# What lies where in MicroPython's objects, in words; behind the type (py/objlist.h, objtuple.h,
# objarray.h, objstr.h).
_OBJECT_TYPE = const(0)
_BUFFER_LENGTH = const(2)  # of a bytearray, or bytes
_BUFFER_ADDRESS = const(3)

# End of layout.py.

# The split ring's `_look`, which stands here by its name: found in half the time.
plain_look = None

# Queues that a device may know of. The device goes on writing to the buffers of a queue
# whose last reference the program has dropped, so this one is kept until `deinit`.
_live = []


def live(transport):
    """The queues of a device that are not given back."""
    return [
        queue for queue in _live if queue._transport is transport or queue._transport == transport
    ]


class Ring:
    """The driver's side of a queue. `split.py` and `packed.py` have the two rings that there are.

    What waits for chains is no ring's business: whose class is made of one and of that may name
    methods that are called for each chain, in `_requests`. Each ring has `add` and `rings`, and

    - `_layout`: where its parts lie, `_possible`: which sizes a device may allow,
    - `_prepare_tables`: what is the same in the tables of all frames,
    - `_choose_functions`: has `_look`, which notes what the device has used, `_watch`, which waits a
      little for that, `_wanted`, which decides whether to notify, `add_framed`,
    - `_tell`: tells the device whether to interrupt,
    - `_scrub`: puts right what was written and never published.
    """

    _lengths = True  # whether they are checked
    _end = None  # why it does not work any more, where that is not the device's doing
    closed = False  # with its driver
    heard = False  # whether interrupts are asked for all the time, not only by who waits

    def __init__(
        self, transport, idx, size, indirect=False, event_idx=False, frames=False, lengths=True
    ):
        self.idx = idx
        self.size = size
        self._transport = transport
        if not lengths:
            self._lengths = False
        self._shared = []  # what the device sees: the rings, the indirect tables, the frames
        board.uninterrupted(self._set_up, indirect, event_idx, frames)

    def _set_up(self, indirect, event_idx, frames):
        transport, idx, size = self._transport, self.idx, self.size
        self._check_size(transport.max_queue_size(idx))
        if transport.queue_used(idx):
            raise errors.AlreadyUsed("queue %d" % idx)
        table_len = min(size, _TABLE_MAX) if indirect else 0
        # The buffers in flight: those of a direct chain under its descriptors, those of an
        # indirect one in a row under its first.
        # An array and not a list, for it can be cleared by address.
        self._held = array("O", [None] * (size * (table_len or 1)))
        self._state = _new_state(size)
        # Where it is, for viper; divided by four, since 30 bits are not an object on the heap.
        self.words = uctypes.addressof(self._state) >> 2
        # What is found in the queue itself costs a fraction of what is found in its class. Where
        # there are frames, nothing but `can_pop` is called for each chain.
        self.notify = transport.notify
        self._choose_functions()
        often = ("can_pop",)
        if not frames:
            often += ("add", "should_notify", "pop_used") + getattr(self, "_requests", ())
        for name in often:
            setattr(self, name, getattr(self, name))
        held = uctypes.addressof(self._held)
        self._state[_IDX] = idx
        self._state[_HELD] = held
        (self._state[_NONE],) = unpack("I", uctypes.bytes_at(held, 4))
        # What a bytearray begins with stays 0 where one is not seen to lie as said above.
        self._held[0] = sample = bytearray(9)
        (at,) = unpack("I", uctypes.bytes_at(held, 4))
        words = unpack("4I", uctypes.bytes_at(at, 16))
        if words[_BUFFER_LENGTH] == 9 and words[_BUFFER_ADDRESS] == uctypes.addressof(sample):
            self._state[_BYTEARRAY] = words[_OBJECT_TYPE]
        self._held[0] = None
        self._state[_STRIDE] = table_len or 1
        self._state[_PLAIN] = self._look is plain_look
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
                state[_FRAMES] = self._share(
                    size * (_FRAME_SIZE if indirect else _DIRECT_FRAME_SIZE)
                )
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
        from .structures import flags  # for those only who look

        state = self._state
        return "%s(%d, size=%d, free=%d, avail=%d, used=%d, flags=%s)" % (
            type(self).__name__,
            self.idx,
            self.size,
            state[_FREE_COUNT],
            state[_AVAIL_IDX],
            state[_USED_IDX],
            "|".join(flags(self)) or "0",
        )

    def _check_size(self, maximum):
        size = self.size
        if not isinstance(size, int) or not 0 < size <= _MAX_SIZE or size & (size - 1):
            raise errors.InvalidParam("queue size %s" % size)
        if not self._possible(maximum):
            self._fault("queue %d has a maximum of %d" % (self.idx, maximum))
        if size > maximum:
            raise errors.InvalidParam("queue size %d, the device allows %d" % (size, maximum))

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
        board.uninterrupted(self._give_back)

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
            self.notify(ptr32(words << 2)[_IDX])
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
        if enable != self.heard:
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
        return _next_completed(self.words)

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
            raise errors.InvalidParam("not the buffers of chain %d" % token)

    # What the device did wrong, and what the caller

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
        raise errors.DeviceFault(self._transport.why)

    def refuse_dead(self):
        """Raise the reason why the queue does not work."""
        if self.closed:
            raise errors.NoDevice("the driver was closed")
        if self._transport.failed:
            raise errors.DeviceFault(self._transport.why)
        raise errors.DeviceFault(self._end or "the device was reset since")


# Set-up


def _new_state(size):
    state = array("I", bytes(4 * _HEADER_WORDS))
    # Piece by piece, for the collector may not find out at once that a large one is not needed.
    piece = min(size, 8)
    zeros = bytes(4 * (_SHADOW_WORDS * piece + (piece + 1) // 2))
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
def _next_completed(words: int) -> int:
    s = ptr32(words << 2)
    return ptr16(s[_COMPLETED])[s[_DONE_HEAD]]


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
        ptr16(s[_COMPLETED])[(s[_DONE_HEAD] + s[_DONE_COUNT]) & s[_MASK]] = token
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
                plain_look(queue, words >> 2)
            else:
                queue._look(queue, words >> 2)
            if ptr32(words)[_DONE_COUNT] == 0:
                refuse(_NOT_READY)
        mask = ptr32(words)[_MASK]
        first = ptr32(words)[_DONE_HEAD]
        if ptr16(ptr32(words)[_COMPLETED])[first] != token:
            refuse(_WRONG_TOKEN)
        ptr32(words)[_DONE_HEAD] = (first + 1) & mask
        ptr32(words)[_DONE_COUNT] = ptr32(words)[_DONE_COUNT] - 1
    held = ptr32(ptr32(words)[_HELD])
    none = ptr32(words)[_NONE]
    chain = ptr32(words + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
    bits = chain[_CHAIN_STATE]
    chain[_CHAIN_STATE] = 0
    count = (bits & _COUNT_MASK) - 1  # that come after the first
    stride = ptr32(words)[_STRIDE]
    place = token * stride
    held[place] = none
    if bits & _HAS_TABLE:
        while count:
            place = place + 1
            held[place] = none
            count = count - 1
        ptr32(words)[_FREE_COUNT] = ptr32(words)[_FREE_COUNT] + 1
        chain[_CHAIN_NEXT] = ptr32(words)[_FREE]
    else:
        ptr32(words)[_FREE_COUNT] = ptr32(words)[_FREE_COUNT] + count + 1
        last = token
        while count:
            last = ptr32(words)[_SHADOW + _SHADOW_WORDS * last]
            held[last * stride] = none
            count = count - 1
        ptr32(words)[_SHADOW + _SHADOW_WORDS * last] = ptr32(words)[_FREE]
    ptr32(words)[_FREE] = token
    return chain[_CHAIN_BYTES]


@micropython.viper
def drop_in_hand(queue, words: int):
    """Abandon a chain whose owner has gone between adding it and waiting for it.

    Nothing is let in there. But each call could be the one that the stack has no room for. Less
    than 0: that was the one which was to publish.
    """
    s = ptr32(words << 2)
    if s[_IN_HAND] > 0:
        abandon(queue, words, s[_IN_HAND] - 1)
    else:
        queue._scrub()


@micropython.viper
def abandon(queue, words: int, token: int):
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


def refuse(code):
    if code == _NO_BUFFERS:
        raise errors.InvalidParam("no buffers")
    if code == _EMPTY_BUFFER:
        raise errors.InvalidParam("empty buffer")
    if code == _FULL:
        raise errors.QueueFull("not enough free descriptors")
    if code == _NOT_READY:
        raise errors.NotReady("nothing used")
    if code == _WRONG_TOKEN:
        raise errors.WrongToken("another chain is next")
    if code == _NOT_SUBMITTED:
        raise errors.WrongToken("not a chain that was submitted and is still waited for")


def broken(queue, code):
    if code == _BAD_INDEX:
        queue._fault("used.idx ran ahead of what is in flight")
    if code == _BAD_ID:
        queue._fault("used id out of range")
    if code == _NOT_IN_FLIGHT:
        queue._fault("used id not in flight")
