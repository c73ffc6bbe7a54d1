"""The entropy device (virtio 1.2, section 5.4)."""

# SPDX-License-Identifier: MIT

from builtins import bytearray, len, type  # as in ring/split.py
from struct import pack_into

from micropython import const

from ..device import Device
from ..errors import DeviceFault
from ..platform.buffers import byte_length

_QUEUE_SIZE = const(8)


class Rng(Device):
    """An entropy device. `timeout_ms` is how long one answer may take; None is for ever."""

    TYPE = 4

    def __init__(self, where=0, ring=None):
        self.timeout_ms = 30_000
        self._outputs = [None]
        super().__init__(where, ring)

    def _setup(self):
        self._queue = self.queue(0, _QUEUE_SIZE)
        self._draw = self._draw  # found at once in the object itself

    @micropython.native
    def readinto(self, buf):
        """Fill all of *buf* with random bytes; returns how many.

        The device may give less than was asked for; it is asked again. Allocates nothing
        when it does not. Raises `TypeError` for a read-only buffer, `Timeout`, `DeviceFault`.
        """
        size = len(buf) if type(buf) is bytearray else byte_length(buf)
        if size:
            filled = self._draw(buf)
            if filled < size:
                pack_into("%ds" % (size - filled), buf, filled, self.read(size - filled))
        return size

    def readsome(self, buf):
        """Fill the beginning of *buf* with what the device gives at once; returns how many.

        That is one byte at least. Raises what `readinto` does.
        """
        return self._draw(buf)

    def read(self, n):
        """*n* random bytes. Raises what `readinto` does."""
        data = bytearray(n)
        view = memoryview(data)
        filled = 0
        while filled < n:
            filled += self._draw(view[filled:])
        return bytes(data)

    async def areadinto(self, buf):
        """`readinto`, awaited. The buffer is the device's until it returns.

        A task that is cancelled, or whose time is up, leaves the buffer with the device.
        """
        size = byte_length(buf)
        filled = 0
        if size:
            filled = self._given(await self.complete(self._queue, (), (buf,)))
        if filled < size:
            rest = bytearray(size - filled)
            view = memoryview(rest)
            at = 0
            while at < len(rest):
                at += self._given(await self.complete(self._queue, (), (view[at:],)))
            pack_into("%ds" % len(rest), buf, filled, rest)
        return size

    @micropython.native
    def _draw(self, buf):
        # A list that is kept, for a new one would be an allocation.
        self._outputs[0] = buf
        try:
            count = self._queue.add_notify_wait_pop((), self._outputs, None, self.timeout_ms)
        finally:
            self._outputs[0] = None
        return count if count else self._given(count)

    def _given(self, count):
        if count == 0:
            # Section 5.4.6.2 asks for a byte at least. Asking on could go on for ever.
            self.transport.fail("an entropy device without entropy")
            raise DeviceFault(self.transport.why)
        return count
