"""What a board gives, of any MicroPython port: see `platform`.

Where its slots are the port says in a module `virtio_slots`, with a table SLOTS as `devices` returns.

What this relies on:

- an object's address is the one that devices use, and below 2^32: no MMU in between, no cache that
  devices do not see through;
- the collector moves nothing;
- `time` has ticks_ms, ticks_diff, ticks_add and sleep_ms: the port's, or a module of that name;
- no device runs while the heap is made anew. Before a soft reset a program closes what is in
  `virtio.opened()`: what a device writes later lands in somebody else's memory.

What it lacks: interrupts, so that who waits looks once a millisecond; keeping Ctrl-C out while a
driver is opened, closed or writes what it holds back; knowing what is mounted on which disk.
"""

# SPDX-License-Identifier: MIT

from uctypes import addressof

_ENODEV = 19
_PAGE = 4096  # the unit in which a legacy device is told where a queue is


def region(size):
    """So many bytes, a multiple of 4096, that begin where a page does. Not to be made twice."""
    memory = memoryview(bytearray(size + _PAGE))
    start = -addressof(memory) % _PAGE
    return memory[start : start + size]


def devices(compatible):
    try:
        from virtio_slots import SLOTS
    except ImportError:
        raise OSError(_ENODEV, "no slots are known: there is no module virtio_slots")
    return SLOTS


def dma():
    return _dma


def check_wait():
    pass


def uninterrupted(function, *arguments):
    return function(*arguments)


undisturbed = uninterrupted


def mounted():
    import vfs

    return [filesystem for filesystem, _ in vfs.mount()]


_dma = region(65536)
