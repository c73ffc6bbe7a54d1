"""What a block device owes the C code of a filesystem that calls it.

Such code bears no exception, has its buffers on the stack, and takes an error as a number. `vfs`
calls a device by `readblocks`, `writeblocks` and `ioctl`; what is the same there for a disk, a
partition and a cache is here, whichever of them it is.
"""

# SPDX-License-Identifier: MIT

from micropython import const, stack_use

from ..errors import DeviceFault, Timeout
from ..platform.processor import words_above_stack_pointer
from .owners import check_unused

# From layout.py, by `make layout`.

# vfs.AbstractBlockDev.ioctl
_IOCTL_INIT = const(1)
_IOCTL_DEINIT = const(2)
_IOCTL_SYNC = const(3)
_IOCTL_BLOCK_COUNT = const(4)
_IOCTL_BLOCK_SIZE = const(5)

# errno
_EINVAL = const(22)

# End of layout.py.


_held = [None]


def is_on_stack(buf):
    """True for the buffer objects that MicroPython's filesystems make: they live on C's stack."""
    _held[0] = buf
    distance = words_above_stack_pointer(_held)
    _held[0] = None
    return distance <= stack_use() >> 2


def unanswered(error):
    """Whether after this error of a request the device may still have its buffer.

    Where memory was too short for more than that, `VirtQueue` has taken it from the device.
    """
    if isinstance(error, Exception):
        # The end of the stack may come between a request and its answer.
        return isinstance(error, (Timeout, DeviceFault, RuntimeError))
    return True  # Ctrl-C


def as_number(error):
    """What a filesystem's C code is told instead of an `OSError` or a `ValueError`."""
    return -_EINVAL if isinstance(error, ValueError) else -error.errno


def sync(device, littlefs):
    """What `ioctl` does to sync, for FatFs and for littlefs, which MicroPython tells apart by INIT.

    FatFs syncs at the very end, where an exception does no harm, and does not look at what is
    returned. littlefs does; an exception leaves it with pointers to C's stack, which is gone.
    """
    try:
        device.flush()
    except (OSError, ValueError) as error:
        if littlefs:
            return as_number(error)
        raise
    return 0


def ioctl(device, op, arg):
    """The operations of `vfs.AbstractBlockDev` for a disk or a part of one; None for any other.

    A failed sync raises, but is a negative errno for a littlefs that mounted the device.
    """
    if op in (_IOCTL_DEINIT, _IOCTL_SYNC):
        return sync(device, device.littlefs)
    if op == _IOCTL_INIT:
        check_unused(device)
        device.littlefs = arg == 1
    if op == _IOCTL_BLOCK_COUNT:
        return device.block_count
    if op == _IOCTL_BLOCK_SIZE:
        return device.block_size
    return 0 if op == _IOCTL_INIT else None
