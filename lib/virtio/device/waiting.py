"""Waiting for chains one by one, whatever the order they complete in: awake for a little, then asleep.

A queue is one of the rings of `ring/`, and this; the split one stands here, for most are. A chain
that somebody waits for belongs to whoever added it until it is taken or abandoned: it does not join
the completed ring, which is popped from.
"""

# SPDX-License-Identifier: MIT

import time
from builtins import type  # as in ring/split.py

from micropython import const

from ..errors import Timeout
from ..ring.base import abandon, end, refuse
from ..ring.split import SplitRing

_ROUNDS = const(54000)  # of a loop of five instructions, before the CPU is given up: 150 µs

# From layout.py, by `make layout`.

# What a queue may be (2.7).
_MAX_SIZE = const(32768)

# The private array of a queue, in words. First what is one of a queue …
_MASK = const(3)  # size - 1; ring indices run freely modulo 2^16
_DECIDED = const(12)  # 1 when that was carried out; the next add begins a new range
_SILENT = const(14)  # 1 when the driver wants no interrupts
_IN_HAND = const(24)  # 1 + the token of a chain added to be waited for, until it is; or -1
_IDX = const(26)  # which of the device's queues it is

# … then three for each descriptor …
_SHADOW = const(28)
_SHADOW_WORDS = const(3)
_CHAIN_STATE = const(1)  # of the chain that begins here

# The state word of a chain's first descriptor: the number of its buffers, and these.
_IN_FLIGHT = const(0x10000)
_DONE = const(0x40000)
_AWAITED = const(0x80000)  # somebody waits for just this one: it does not join the completed ring
_ORPHAN = const(0x100000)  # nobody waits any more: taken back as soon as the device lets go

# Why a viper function of the rings refused …
_FULL = const(-3)
_NOT_READY = const(-4)
_NOT_SUBMITTED = const(-6)

# … and what the device has done wrong.
_NAP_MS = const(500)  # how long a device may be broken before who sleeps or awaits sees it

# End of layout.py.

# The bits of what no token is: an object, which viper makes of no constant, as a number can have
# any size.
_no_token = -_MAX_SIZE


class Waiting:
    """What makes a queue of a ring. No name is one of a ring's: those are found first."""

    _requests = ("add_notify_wait_pop",)  # see Ring

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
        return add_and_wait(self, inputs, outputs, transport or self._transport, timeout_ms)

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
        abandon(self, words, int(token))

    def wait(self, token, timeout_ms=None):
        """Return when the submitted chain is finished. Raises `Timeout`, `DeviceFault`."""
        wait(self, self.words, token, timeout_ms, False)

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

    @micropython.native
    def _sleep(self, token, timeout_ms):
        # Native code has no jump of the interpreter between the last look and sleeping, where a
        # scheduled function could wait for the same device and have the interrupt that is due.
        start = time.ticks_ms()
        silent = self._state[_SILENT]
        try:
            while not self.finished(token):
                # Each time, for a task that waits no longer may have asked for silence.
                self.set_dev_notify(True)
                self._transport.check()
                left = _NAP_MS
                if timeout_ms is not None:
                    left = timeout_ms - time.ticks_diff(time.ticks_ms(), start)
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
        start = time.ticks_ms()
        silent = self._state[_SILENT]
        self.set_dev_notify(True)
        try:
            self.can_pop()  # takes back what was abandoned, and used since
            while self.available_desc() < count:
                self._transport.check()
                left = _NAP_MS
                if timeout_ms is not None:
                    left = timeout_ms - time.ticks_diff(time.ticks_ms(), start)
                    if left <= 0:
                        refuse(_FULL)
                self._transport.wait(min(left, _NAP_MS))
                self.can_pop()
        finally:
            self.set_dev_notify(not silent)


class VirtQueue(SplitRing, Waiting):
    """A split virtqueue.

    `transport` says where the device is, `idx` which of its queues this is. `size` is the
    number of descriptors, a power of two and at most `transport.max_queue_size(idx)`.
    `indirect` and `event_idx` are to be set just when the features INDIRECT_DESC and
    EVENT_IDX were negotiated. With `frames`, chains can be added by `add_framed` too, as
    `framed.py` says; its `words` are those of the queue. `lengths` is to be False where what the
    device says of how much it wrote carries nothing: it is not checked, and what the methods
    return of it is nothing to go by.

    Raises `InvalidParam` for the number or the size, `AlreadyUsed` when the device has this queue
    set up already, `DeviceFault` when it has no such queue, `DmaError` when the rings do not fit.

    Buffers passed to `add` belong to the device until their chain is popped or the device
    was reset. The queue keeps a reference to each that long; the caller must not change or
    resize them. Methods are not to be called from a hard interrupt handler.
    """


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
def add_and_wait(queue, inputs, outputs, transport, timeout_ms) -> int:
    """Add a chain, notify if the device wants it, wait until it is used, and take it."""
    words = int(queue.words)
    notify = transport.notify
    token = int(queue.add(inputs, outputs))
    s = ptr32(words << 2)
    s[_IN_HAND] = token + 1
    shadow = _SHADOW + _SHADOW_WORDS * token + _CHAIN_STATE
    s[shadow] = s[shadow] | _AWAITED
    announce(queue, words, token, notify)
    wait(queue, words, token, timeout_ms, True)
    length = int(end(queue, words, token, False))
    s[_IN_HAND] = 0
    return length


@micropython.viper
def announce(queue, words: int, token: int, notify):
    """Notify, if the device wants it, of a chain that somebody waits for and others before it."""
    if queue._wanted(words):
        idx = ptr32(words << 2)[_IDX]
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
def wait(queue, words: int, token: int, timeout_ms, abandon: bool):
    """Return when the device has used a chain that somebody waits for, awake for a little first.

    Raises `Timeout` and `DeviceFault`; where it is to *abandon* it, the chain is nobody's then.
    """
    chain = ptr32((words << 2) + 4 * _SHADOW + 4 * _SHADOW_WORDS * token)
    rounds = _ROUNDS
    while True:
        queue._look(queue, words)
        if chain[_CHAIN_STATE] & _DONE:
            return
        if rounds == 0:
            break
        rounds = int(queue._watch(words, rounds))
    if abandon:
        queue._sleep_or_abandon(token, timeout_ms)
    else:
        queue._sleep(token, timeout_ms)
