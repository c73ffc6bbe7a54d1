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
from struct import pack_into
from time import ticks_diff, ticks_ms

import uctypes
from micropython import const

from . import dma
from .barrier import barrier, publish, used_idx
from .dma import byte_length
from .errors import (
    AlreadyUsed,
    DeviceFault,
    InvalidParam,
    NotReady,
    QueueFull,
    Timeout,
    WrongToken,
)

_MAX_SIZE = const(32768)  # section 2.7
_LEGACY_ALIGN = const(4096)
_TABLE_MAX = const(4)  # descriptors in an indirect table; a longer chain goes without one

# Descriptor flags, section 2.7.5.
_NEXT = const(1)
_WRITE = const(2)
_INDIRECT = const(4)

# Ring flags, sections 2.7.7 and 2.7.10: the one asks the other side to stay silent.
_NO_INTERRUPT = const(1)
_NO_NOTIFY = const(1)

# The private array, in words. First what is one of a queue …
_DESC = const(0)  # address of the descriptor table
_AVAIL = const(1)  # address of the available ring
_USED = const(2)  # address of the used ring
_MASK = const(3)  # size - 1; ring indices run freely modulo 2^16
_FREE = const(4)  # first free descriptor
_FREE_COUNT = const(5)
_AVAIL_IDX = const(6)  # what was last published as avail.idx
_USED_IDX = const(7)  # how far the used ring was read
_IN_FLIGHT_COUNT = const(8)  # chains that the device owns
_TABLES = const(9)  # address of the indirect tables, one for each descriptor
_TABLE_LEN = const(10)  # entries in each; 0 when chains are never indirect
_ADDED = const(11)  # index steps added in the range that `should_notify` decides over
_DECIDED = const(12)  # 1 when it has decided; the next add begins a new range
_EVENT_IDX = const(13)  # 1 when event indices were negotiated
_SILENT = const(14)  # 1 when the driver wants no interrupts
_EPOCH = const(15)  # address of the transport's epoch
_BORN = const(16)  # its value when the queue was set up
_DONE_HEAD = const(17)  # the completed chains, in order: a ring of size entries
_DONE_COUNT = const(18)
_HEADER_WORDS = const(19)
# … then three for each descriptor: [next free or next in chain, state, bytes] …
_SHADOW = const(19)
_SHADOW_WORDS = const(3)
# … then the ring of completed chains.

# The state word of a chain's first descriptor: the number of its buffers, and these.
_COUNT_MASK = const(0xFFFF)
_IN_FLIGHT = const(0x10000)
_HAS_TABLE = const(0x20000)
_DONE = const(0x40000)
_AWAITED = const(0x80000)  # somebody waits for just this one: it does not join the completed ring
_ORPHAN = const(0x100000)  # nobody waits any more: taken back as soon as the device lets go

# Why a viper function refused.
_NO_BUFFERS = const(-1)
_EMPTY_BUFFER = const(-2)
_FULL = const(-3)
_DEAD = const(-4)
_NOT_READY = const(-5)
_WRONG_TOKEN = const(-6)

_BAD_INDEX = const(-1)
_BAD_ID = const(-2)
_NOT_IN_FLIGHT = const(-3)
_BAD_LENGTH = const(-4)

_SPINS = const(200)  # looks at the ring before the CPU is given up
_LOOKS = const(600)  # the same time, where viper looks
_NAP_MS = const(500)  # how long a device may be broken before a sleeping waiter sees it

# Queues that a device may know of. The device goes on writing to the buffers of a queue
# whose last reference the program has dropped, so this one is kept until `deinit`.
_live = []


class VirtQueue:
    """A split virtqueue.

    `transport` says where the device is, `idx` which of its queues this is. `size` is the
    number of descriptors, a power of two and at most `transport.max_queue_size(idx)`.
    `indirect` and `event_idx` are to be set just when the features INDIRECT_DESC and
    EVENT_IDX were negotiated.

    Raises `InvalidParam` for the size, `AlreadyUsed` when the device has this queue set up
    already, `DeviceFault` when it has no such queue, `DmaError` when the rings do not fit.

    Buffers passed to `add` belong to the device until their chain is popped or the device
    was reset. The queue keeps a reference to each that long; the caller must not change or
    resize them. Methods are not to be called from a hard interrupt handler.
    """

    def __init__(self, transport, idx, size, indirect=False, event_idx=False):
        self.idx = idx
        self.size = size
        self._transport = transport
        self._check_size(transport.max_queue_size(idx))
        if transport.queue_used(idx):
            raise AlreadyUsed("queue %d" % idx)
        avail_at, used_at, length = self._layout()
        table_len = min(size, _TABLE_MAX) if indirect else 0
        align = _LEGACY_ALIGN if transport.legacy else 16
        self._rings = dma.alloc(length, align)
        try:
            self._tables = dma.alloc(size * table_len * 16) if indirect else None
        except:
            dma.free(self._rings)
            raise
        # The buffers in flight: those of a direct chain under its descriptors, those of an
        # indirect one in a row under its first.
        self._held = [None] * (size * (table_len or 1))
        self._state = _new_state(size)
        # What is found in the queue itself costs a fraction of what is found in its class.
        self._look = self._looker()
        for name in ("add", "should_notify", "can_pop", "pop_used", "add_notify_wait_pop"):
            setattr(self, name, getattr(self, name))
        base = uctypes.addressof(self._rings)
        self._state[_DESC] = base
        self._state[_AVAIL] = base + avail_at
        self._state[_USED] = base + used_at
        self._state[_TABLES] = uctypes.addressof(self._tables) if indirect else 0
        self._state[_TABLE_LEN] = table_len
        self._state[_EVENT_IDX] = event_idx
        self._state[_EPOCH] = uctypes.addressof(transport.epoch)
        self._state[_BORN] = transport.epoch[0]
        _live.append(self)
        transport.queue_set(idx, size, base, base + avail_at, base + used_at)

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
        avail_at = 16 * self.size
        avail_end = avail_at + 6 + 2 * self.size
        align = _LEGACY_ALIGN if self._transport.legacy else 4
        used_at = (avail_end + align - 1) & -align
        return avail_at, used_at, used_at + 6 + 8 * self.size

    def _looker(self):
        """What notes which chains the device has used, kept in the queue: see `_look`."""
        return _collect

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
        if self._rings is None:
            return
        if self.alive:
            if not self._state[_IN_FLIGHT_COUNT]:
                self._transport.queue_unset(self.idx)
            elif not self._transport.queue_reset(self.idx):
                self._transport.reset()
        elif self._transport.failed:
            # It died of a fault, no reset came since: the device may still write.
            self._transport.reset()
        self._state[_BORN] = ~0
        _live.remove(self)
        dma.free(self._rings)
        if self._tables is not None:
            dma.free(self._tables)
        self._rings = self._tables = self._held = None

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
        s = ptr32(self._state)
        held = self._held
        if ptr32(s[_EPOCH])[0] != s[_BORN]:
            refuse(_DEAD)
        length_of = len
        type_of = type
        changeable = bytearray
        readable = int(length_of(inputs))
        count = readable + int(length_of(outputs))
        if count == 0:
            refuse(_NO_BUFFERS)
        head = s[_FREE]
        stride = s[_TABLE_LEN]
        indirect = 0
        taken = count
        if 1 < count <= stride:
            indirect = 1
            taken = 1
        if taken > s[_FREE_COUNT]:
            refuse(_FULL)
        if stride == 0:
            stride = 1

        d = head
        place = head * stride
        e = ptr32(s[_DESC] + 16 * head)
        if indirect:
            e = ptr32(s[_TABLES] + 16 * place)
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
                if flags:
                    pack_into("", buf, 0)  # writes nothing; TypeError for a read-only buffer
                length = int(byte_length(buf))
            if length == 0:
                refuse(_EMPTY_BUFFER)
            if flags:
                writable = writable + length
            i = i + 1
            held[place] = buf
            e[0] = int(ptr8(buf))
            e[1] = 0  # addresses have 64 bits; RAM ends below 2^32
            e[2] = length
            if i == count:
                e[3] = flags
                break
            if indirect:
                e[3] = flags | _NEXT | i << 16
                e = ptr32(int(e) + 16)
                place = place + 1
            else:
                d = s[_SHADOW + _SHADOW_WORDS * d]
                e[3] = flags | _NEXT | d << 16
                e = ptr32(s[_DESC] + 16 * d)
                place = d * stride

        # Up to here only free descriptors were written, so whatever was raised changed nothing;
        # a reference left under one of them goes with the next add.
        bits = count | _IN_FLIGHT
        if indirect:
            bits = bits | _HAS_TABLE
            e = ptr32(s[_DESC] + 16 * head)
            e[0] = s[_TABLES] + 16 * head * stride
            e[1] = 0
            e[2] = 16 * count
            e[3] = _INDIRECT
        s[_FREE] = s[_SHADOW + _SHADOW_WORDS * d]
        s[_FREE_COUNT] = s[_FREE_COUNT] - taken
        chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * head)
        chain[1] = bits
        chain[2] = writable
        s[_IN_FLIGHT_COUNT] = s[_IN_FLIGHT_COUNT] + 1
        if s[_DECIDED]:
            s[_DECIDED] = 0
            s[_ADDED] = 0
        if s[_ADDED] <= 0xFFFF:
            s[_ADDED] = s[_ADDED] + 1
        idx = s[_AVAIL_IDX]
        ptr16(s[_AVAIL])[2 + (idx & s[_MASK])] = head
        s[_AVAIL_IDX] = (idx + 1) & 0xFFFF
        publish(int(s) >> 2)
        return head

    def add_notify_wait_pop(self, inputs, outputs, transport=None, timeout_ms=None):
        """Add a chain, notify, wait until the device has used it, pop it.

        Returns the number of bytes that the device wrote. `timeout_ms` of None waits for
        ever. Other chains may be in flight; their completions stay in order for `pop_used`.

        Raises what `add` does, `Timeout`, and `DeviceFault`. After a timeout, Ctrl-C or
        anything else that ends the wait, the buffers stay the device's: they are let go
        when it has used them after all, or was reset.
        """
        # No jump between the two, as above: the chain is always somebody's.
        token = _begin(self, inputs, outputs, transport or self._transport)
        return _complete(self, token, timeout_ms)

    # Chains that somebody waits for one by one, whatever the order they complete in.

    def submit(self, inputs, outputs):
        """Add a chain to be waited for by `finished`, not popped; returns its token.

        It ends with `take` once it is finished, or with `abandon`. Raises what `add` does.
        """
        token = self.add(inputs, outputs)
        _await(self._state, token)
        return token

    @micropython.viper
    def finished(self, token: int) -> bool:
        """True when the device has used the submitted chain. Raises `DeviceFault`."""
        state = self._state
        self._look(self, state)
        return ptr32(state)[_SHADOW + _SHADOW_WORDS * token + 1] & _DONE != 0

    def take(self, token):
        """End a finished chain; returns how many bytes the device wrote."""
        return _end(self, self._state, self._held, token, False)

    def abandon(self, token):
        """Wait no longer. The buffers stay the device's until it has used them, or is reset."""
        _abandon(self._state, self._held, token)

    def _wait_and_take(self, token, timeout_ms):
        try:
            self.wait(token, timeout_ms)
        except:
            self.abandon(token)
            raise
        return self.take(token)

    def wait(self, token, timeout_ms=None):
        """Return when the submitted chain is finished. Raises `Timeout`, `DeviceFault`."""
        for _ in range(_SPINS):
            if self.finished(token):
                return
        start = ticks_ms()
        silent = self._state[_SILENT]
        self.set_dev_notify(True)
        try:
            # Looked at again after enabling: what was used before brings no interrupt.
            while not self.finished(token):
                self._transport.check()
                left = _NAP_MS
                if timeout_ms is not None:
                    left = timeout_ms - ticks_diff(ticks_ms(), start)
                    if left <= 0:
                        raise Timeout("queue %d: no answer in %d ms" % (self.idx, timeout_ms))
                self._transport.wait(min(left, _NAP_MS))
        finally:
            self.set_dev_notify(not silent)

    # Notifications

    @micropython.viper
    def should_notify(self) -> bool:
        """True when the device wants to be notified of what was added since the last decision.

        With event indices that decision is over the whole range of chains added since this
        was last asked, modulo 2^16 (section 2.7.10), so many `add`s need one call and at most
        one notification. Asked again with nothing added, it says the same again.
        """
        s = ptr32(self._state)
        s[_DECIDED] = 1
        # The barrier between publishing avail.idx and reading what follows is in publish().
        if not s[_EVENT_IDX]:
            return ptr16(s[_USED])[0] & _NO_NOTIFY == 0
        if s[_ADDED] > 0xFFFF:
            return True
        avail_event = int(ptr16(s[_USED])[2 + 4 * (s[_MASK] + 1)])
        return (s[_AVAIL_IDX] - avail_event - 1) & 0xFFFF < s[_ADDED]

    def set_dev_notify(self, enable):
        """Ask the device for used-buffer notifications, or not to bother (sections 2.7.7, 2.7.9).

        It is a wish; a device may notify all the same. A chain that was used before this
        call brings no notification any more: look at `can_pop` once after enabling.
        """
        state = self._state
        state[_SILENT] = not enable
        if self.alive:
            self._tell()

    # Popping

    @micropython.viper
    def can_pop(self) -> bool:
        """True when a used chain is there to be popped. Raises `DeviceFault`."""
        return int(self._look(self, self._state)) > 0

    def peek_used(self):
        """The token of the next used chain, or None. Raises `DeviceFault`."""
        if not self.can_pop():
            return None
        state = self._state
        return state[_SHADOW + _SHADOW_WORDS * self.size + state[_DONE_HEAD]]

    def available_desc(self):
        """The number of free descriptors."""
        return self._state[_FREE_COUNT]

    def pop_used(self, token, inputs=None, outputs=None):
        """Pop the next used chain, which must be *token*; returns how many bytes were written.

        The buffers are the caller's again. `inputs` and `outputs`, when given, must be those
        that were added.

        Raises `NotReady` when nothing was used, `WrongToken` when the next chain is another
        one, `InvalidParam` when the buffers are others, each with nothing popped; `DeviceFault`.
        """
        if inputs is not None or outputs is not None:
            self._check_buffers(token, inputs or (), outputs or ())
        return _end(self, self._state, self._held, token, True)

    def _check_buffers(self, token, inputs, outputs):
        if self.peek_used() != token:
            return  # _end says what is wrong
        stride = self._state[_TABLE_LEN] or 1
        state = self._state[_SHADOW + _SHADOW_WORDS * token + 1]
        place = token * stride
        given = list(inputs) + list(outputs)
        same = len(given) == state & _COUNT_MASK
        for buf in given:
            same = same and self._held[place] is buf
            if state & _HAS_TABLE:
                place += 1
            elif same:
                place = self._state[_SHADOW + _SHADOW_WORDS * (place // stride)] * stride
        if not same:
            raise InvalidParam("not the buffers of chain %d" % token)

    @micropython.viper
    def _tell(self):
        """Write the driver's wish for notifications where the device looks for it."""
        s = ptr32(self._state)
        avail = ptr16(s[_AVAIL])
        if s[_EVENT_IDX]:
            # Wanted: at the next one. Unwanted: as late as the index allows (section 2.7.10).
            used_event = s[_USED_IDX]
            if s[_SILENT]:
                used_event = used_event - 1
            avail[2 + s[_MASK] + 1] = used_event
        else:
            avail[0] = _NO_INTERRUPT if s[_SILENT] else 0
        # Pairs with the device's between used.idx and reading this: either the device sees
        # the new wish, or the driver, looking again, sees what was used.
        barrier()

    def _fault(self, why):
        self._transport.fail()
        raise DeviceFault(why)


# Set-up


def _new_state(size):
    state = array("I", bytes(4 * (_HEADER_WORDS + (_SHADOW_WORDS + 1) * size)))
    state[_MASK] = size - 1
    state[_FREE_COUNT] = size
    for i in range(size - 1):
        state[_SHADOW + _SHADOW_WORDS * i] = i + 1
    return state


# The data path. Viper functions allocate nothing, and the interpreter lets neither Ctrl-C
# nor a scheduled handler in while one of them runs.


@micropython.viper
def _collect(queue, state) -> int:
    """Note what the device has used; returns how many chains wait to be popped."""
    s = ptr32(state)
    if ptr32(s[_EPOCH])[0] != s[_BORN]:
        refuse(_DEAD)
    while True:
        new = (int(used_idx(int(s) >> 2)) - s[_USED_IDX]) & 0xFFFF
        if new == 0:
            return s[_DONE_COUNT]
        if new > s[_IN_FLIGHT_COUNT]:
            broken(queue, _BAD_INDEX)
        mask = s[_MASK]
        used = ptr32(s[_USED] + 4)
        while new:
            # Each word is read once: the device could change it between two readings.
            idx = s[_USED_IDX]
            at = 2 * (idx & mask)
            token = used[at]
            length = used[at + 1]
            s[_USED_IDX] = (idx + 1) & 0xFFFF
            new = new - 1
            # What finish() does for the packed ring, without a call for each chain.
            if token < 0 or token > mask:
                broken(queue, _BAD_ID)
            chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
            bits = chain[1]
            if bits & (_IN_FLIGHT | _DONE) != _IN_FLIGHT:
                broken(queue, _NOT_IN_FLIGHT)
            if length < 0 or length > chain[2]:
                broken(queue, _BAD_LENGTH)
            chain[1] = bits | _DONE
            chain[2] = length
            s[_IN_FLIGHT_COUNT] = s[_IN_FLIGHT_COUNT] - 1
            if bits & _ORPHAN:
                _end(queue, state, queue._held, token, False)
            elif not bits & _AWAITED:
                count = s[_DONE_COUNT]
                ring = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * (mask + 1))
                ring[(s[_DONE_HEAD] + count) & mask] = token
                s[_DONE_COUNT] = count + 1
        if s[_EVENT_IDX]:
            # used_event names the index after which the device is to notify, so it has to
            # follow. Who wants that looks again for what came before the device saw it.
            ptr16(s[_AVAIL])[3 + mask] = s[_USED_IDX] - s[_SILENT]
            if s[_SILENT]:
                return s[_DONE_COUNT]
            barrier()  # as in _tell()
        else:
            return s[_DONE_COUNT]


@micropython.viper
def finish(queue, token: int, length: int) -> int:
    """Take note that the device has used a chain; returns its state word.

    Checks everything that the device said by the driver's own notes first.
    """
    state = queue._state
    s = ptr32(state)
    if token < 0 or token > s[_MASK]:
        broken(queue, _BAD_ID)
    shadow = _SHADOW + _SHADOW_WORDS * token
    bits = s[shadow + 1]
    if bits & (_IN_FLIGHT | _DONE) != _IN_FLIGHT:
        broken(queue, _NOT_IN_FLIGHT)
    if length < 0 or length > s[shadow + 2]:
        broken(queue, _BAD_LENGTH)
    s[shadow + 1] = bits | _DONE
    s[shadow + 2] = length
    s[_IN_FLIGHT_COUNT] -= 1
    if bits & _ORPHAN:
        _end(queue, state, queue._held, token, False)
    elif not bits & _AWAITED:
        ring = _SHADOW + _SHADOW_WORDS * (s[_MASK] + 1)
        s[ring + ((s[_DONE_HEAD] + s[_DONE_COUNT]) & s[_MASK])] = token
        s[_DONE_COUNT] += 1
    return bits


@micropython.viper
def _end(queue, state, held, token: int, pop: bool) -> int:
    """Put a used chain's descriptors back on the free list, and let go of its buffers.

    To *pop* it, it must be the next in the completed ring; otherwise it is one that never
    joined it. Returns how many bytes the device wrote.
    """
    s = ptr32(state)
    if pop:
        # With chains in the completed ring there is no need to look for more.
        if s[_DONE_COUNT] == 0 or ptr32(s[_EPOCH])[0] != s[_BORN]:
            if int(queue._look(queue, state)) == 0:
                refuse(_NOT_READY)
        mask = s[_MASK]
        first = s[_DONE_HEAD]
        if ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * (mask + 1))[first] != token:
            refuse(_WRONG_TOKEN)
        s[_DONE_HEAD] = (first + 1) & mask
        s[_DONE_COUNT] = s[_DONE_COUNT] - 1
    chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
    bits = chain[1]
    chain[1] = 0
    count = bits & _COUNT_MASK
    stride = s[_TABLE_LEN]
    if stride == 0:
        stride = 1
    place = token * stride
    last = token
    freed = 1
    held[place] = None
    if bits & _HAS_TABLE:
        end = place + count
        place = place + 1
        while place < end:
            held[place] = None
            place = place + 1
    else:
        while freed < count:
            last = s[_SHADOW + _SHADOW_WORDS * last]
            held[last * stride] = None
            freed = freed + 1
    s[_SHADOW + _SHADOW_WORDS * last] = s[_FREE]
    s[_FREE] = token
    s[_FREE_COUNT] = s[_FREE_COUNT] + freed
    return chain[2]


@micropython.viper
def _await(state, token: int):
    s = ptr32(state)
    shadow = _SHADOW + _SHADOW_WORDS * token + 1
    s[shadow] = s[shadow] | _AWAITED


@micropython.viper
def _begin(queue, inputs, outputs, transport) -> int:
    """Add a chain that its owner waits for, and notify if the device wants it."""
    token = int(queue.add(inputs, outputs))
    chain = ptr32(int(ptr32(queue._state)) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
    bits = chain[1] | _AWAITED
    # Nobody's, should the notification raise.
    chain[1] = bits | _ORPHAN
    if queue.should_notify():
        transport.notify(queue.idx)
    chain[1] = bits
    return token


@micropython.viper
def _complete(queue, token: int, timeout_ms) -> int:
    """Wait until the chain is used, and take it; returns how many bytes the device wrote."""
    state = queue._state
    chain = ptr32(int(ptr32(state)) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
    looks = _LOOKS
    while looks:
        queue._look(queue, state)
        if chain[1] & _DONE:
            return int(_end(queue, state, queue._held, token, False))
        looks = looks - 1
    return int(queue._wait_and_take(token, timeout_ms))


@micropython.viper
def _abandon(state, held, token: int):
    """Nobody waits for this chain any more. It is the device's until it is used."""
    s = ptr32(state)
    shadow = _SHADOW + _SHADOW_WORDS * token + 1
    if s[shadow] & _DONE:
        _end(None, state, held, token, False)
    else:
        s[shadow] = s[shadow] | _ORPHAN


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
    raise DeviceFault("the queue is dead until its device is reset")


def broken(queue, code):
    if code == _BAD_INDEX:
        queue._fault("used.idx ran ahead of what is in flight")
    if code == _BAD_ID:
        queue._fault("used id out of range")
    if code == _NOT_IN_FLIGHT:
        queue._fault("used id not in flight")
    queue._fault("used length larger than the writable buffers")
