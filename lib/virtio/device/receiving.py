"""Buffers for what a device says unasked: handed out at the start, taken when filled, handed out again."""

# SPDX-License-Identifier: MIT

from array import array

from micropython import const

from ..ring.slots import Slots, take

# From layout.py, by `make layout`.

# The private array of a queue, in words. First what is one of a queue …
_EPOCH = const(15)  # address of the transport's epoch
_BORN = const(16)  # its value when the queue was set up

# End of layout.py.


class Receiving:
    """All descriptors of a queue, each with a buffer of *size* bytes that the device is to fill.

    A driver makes it in its `_setup`, for a queue that is `heard`, and has IN_ORDER among what it
    has REFUSED; it calls `start` in its `_started`, `take` and `post` in its `buffers_used`.
    """

    def __init__(self, queue, size):
        self._slots = Slots(queue, size, True)
        self._memory = memoryview(self._slots.memory)
        self._found = array("I", bytes(8 * self._slots.count))
        self._taken = array("I", (0,))

    def start(self):
        """Hand all buffers to the device. Raises `DeviceFault`, or `NoDevice`, where it has ended."""
        queue = self._slots.queue
        if not queue.alive:
            queue.refuse_dead()
        self._slots.post_all()
        queue.kick()

    def take(self):
        """What has come next, as a memoryview, or None. It is the driver's until `post`.

        Raises `DeviceFault`.
        """
        if not _take(self):
            return None
        at = 2 * self._taken[0] - 2
        start = self._found[at] * self._slots.size
        return self._memory[start : start + self._found[at + 1]]

    def post(self):
        """Hand all buffers that were taken to the device again, with one notification.

        Raises as `start` does.
        """
        _post(self)


# Viper, for nothing may come between taking or posting a buffer and noting it.


@micropython.viper
def _take(receiving) -> int:
    taken = ptr32(receiving._taken)
    if int(take(receiving._slots, receiving._found, taken[0], 1)) == 0:
        return 0
    taken[0] = taken[0] + 1
    return 1


@micropython.viper
def _post(receiving):
    slots = receiving._slots
    queue = slots.queue
    s = ptr32(int(queue.words) << 2)
    if ptr32(s[_EPOCH])[0] != s[_BORN]:  # the ring may be somebody else's memory
        queue.refuse_dead()
    taken = ptr32(receiving._taken)
    if taken[0]:
        slots.put(slots.words, 0, taken[0], receiving._found)
        taken[0] = 0
    queue.kick()
