"""Awaiting completions: tasks on one side, a device's interrupt on the other.

What a task waits for stands in the queue's own notes: the chain is finished, so many descriptors
are free. asyncio's poller is given an object that looks there. So nobody has to be woken, and no
wake-up can be lost: an interrupt has the poller look, and so has a timer, some times a second,
should there be none. Nothing is kept in here that Ctrl-C or an error could leave half done.
"""

# SPDX-License-Identifier: MIT

import io
from asyncio import core, sleep_ms

from machine import Timer
from micropython import const

from ..errors import DeviceFault, VirtioError

# From layout.py, by `make layout`.

# The private array of a queue, in words. First what is one of a queue …
_MASK = const(3)  # size - 1; ring indices run freely modulo 2^16
_FREE_COUNT = const(5)
_EPOCH = const(15)  # address of the transport's epoch
_BORN = const(16)  # its value when the queue was set up

# … then three for each descriptor …
_SHADOW = const(28)
_SHADOW_WORDS = const(3)
_CHAIN_STATE = const(1)  # of the chain that begins here

# The state word of a chain's first descriptor: the number of its buffers, and these.
_IN_FLIGHT = const(0x10000)
_DONE = const(0x40000)
_ORPHAN = const(0x100000)  # nobody waits any more: taken back as soon as the device lets go
_TASK = const(0x200000)  # a task has it, of the loop that ran last

# A record: what a driver says of a framed chain to be added, in words. Four are its header.
_RECORD_TOKEN = const(7)  # filled in when it was added; when it was ended, the byte at its end
_RECORD_WORDS = const(8)

# … and what the device has done wrong.
_NAP_MS = const(500)  # how long a device may be broken before who sleeps or awaits sees it

# How far a batch of requests is, in words.
_FIRST_RECORD = const(0)  # its address divided by four
_BATCH_ADDED = const(2)
_BATCH_ENDED = const(3)

# End of layout.py.

_POLL = const(3)  # of a stream's ioctl
_READABLE = const(1)


class Waiter(io.IOBase):
    """What the poller asks: is the chain finished; with a token of -1, are so many free."""

    def __init__(self, queue, token, count):
        self.queue = queue
        self.words = queue.words
        self.token = token
        self.count = count

    @micropython.viper
    def ioctl(self, request: int, flags: int) -> int:
        if request != _POLL:
            return -1
        s = ptr32(int(self.words) << 2)
        token = int(self.token)
        if token < 0:
            ready = s[_FREE_COUNT] >= int(self.count)
        else:
            ready = s[_SHADOW + _SHADOW_WORDS * token + _CHAIN_STATE] & _DONE != 0
        # A queue that has died has no more to wait for.
        if ready or ptr32(s[_EPOCH])[0] != s[_BORN]:
            return flags & _READABLE
        return 0


class Waiters:
    """The tasks that wait for chains of one device."""

    def __init__(self, device):
        self._device = device
        self._loop = None  # the poller of the loop that they are of
        self._timer = None
        self._ticks = False

    def enter(self):
        """Notice when another loop runs. What tasks of the one before had is nobody's any more."""
        if self._loop is not core._io_queue:
            for queue in self._device.queues:
                if queue:
                    _drop_all(queue, queue.words)
                    self._hush(queue)
            self._loop = core._io_queue  # last, should this not come to its end

    def look(self):
        """Bring the notes up to date. For an interrupt's handler."""
        self.enter()
        for queue in self._device.queues:
            try:
                if queue:
                    queue.can_pop()
            except VirtioError:
                pass  # the task that waits for it will see, and raise, the same

    async def finished(self, queue, token):
        """Return when the device has used the submitted chain. Raises `DeviceFault`.

        Other tasks run at least once meanwhile, however quick the device is. Whoever cancels
        this still has the chain, and must `abandon` it.
        """
        mark(queue.words, token)
        if queue.finished(token):
            await sleep_ms(0)
        while not queue.finished(token):
            await self._wait(queue, token, 0)

    async def room(self, queue, count):
        """Return when the queue has that many free descriptors. Raises `DeviceFault`."""
        self.enter()
        while queue.available_desc() < count:
            await self._wait(queue, -1, count)

    async def _wait(self, queue, token, count):
        poller = core._io_queue
        waiter = Waiter(queue, token, count)
        key = id(waiter)
        try:
            queue.set_dev_notify(True)
            # Looked at again after enabling: what was used before brings no interrupt. And what
            # was abandoned, and used since, is room.
            queue.can_pop()
            self._tick_on()
            yield poller.queue_read(waiter)
        finally:
            if key in poller.map:  # there was no memory to enter it completely
                poller._dequeue(waiter)
            self._hush(queue)

    def _hush(self, queue):
        """Ask for no interrupts where no task waits for this queue any more, and nobody hears it."""
        waiting = core._io_queue.map
        for key in waiting:  # an allocation could fail, where a collection brought this in
            waiter = waiting[key][2]
            if isinstance(waiter, Waiter) and waiter.queue is queue:
                return True
        queue.set_dev_notify(queue.heard)
        return False

    def _tick_on(self):
        if not self._ticks:
            if self._timer is None:
                self._timer = Timer(-1)
            self._timer.init(period=_NAP_MS, mode=Timer.PERIODIC, callback=self._tick)
            self._ticks = True

    def _tick(self, timer):
        self.look()
        waits = False
        for queue in self._device.queues:
            waits = queue and self._hush(queue) or waits
        if waits:
            try:
                self._device.transport.check()
            except DeviceFault:
                pass
        else:
            self._ticks = False
            timer.deinit()


@micropython.viper
def mark(words: int, token: int):
    """Take note that a task of the loop that runs has the chain."""
    s = ptr32(words << 2)
    at = _SHADOW + _SHADOW_WORDS * token + _CHAIN_STATE
    s[at] = s[at] | _TASK


@micropython.viper
def mark_all(batch):
    """`mark` for all that a batch of batch.py has in flight."""
    b = ptr32(batch.state)
    words = int(batch.queue.words)
    ended = b[_BATCH_ENDED]
    while ended < b[_BATCH_ADDED]:
        mark(words, ptr32(b[_FIRST_RECORD] + _RECORD_WORDS * ended << 2)[_RECORD_TOKEN])
        ended = ended + 1


@micropython.viper
def _drop_all(queue, words: int):
    """Abandon all chains that tasks have."""
    s = ptr32(words << 2)
    token = 0
    while token <= s[_MASK]:
        bits = s[_SHADOW + _SHADOW_WORDS * token + _CHAIN_STATE]
        if bits & (_IN_FLIGHT | _TASK | _ORPHAN) == _IN_FLIGHT | _TASK:
            queue.abandon(token)
        token = token + 1
