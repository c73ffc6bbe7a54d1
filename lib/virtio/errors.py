"""What can go wrong, as exceptions with an ``errno``.

Every `VirtioError` is an `OSError`; a caller that knows no virtio can go by the
number. Misuse that no device has a part in is a `ValueError` (`InvalidParam`)
or a `TypeError`.
"""

# SPDX-License-Identifier: MIT

from micropython import const

# From layout.py, by `make layout`.

# errno
_EIO = const(5)
_EBUSY = const(16)
_ENODEV = const(19)
_EINVAL = const(22)

# End of layout.py.

_EAGAIN = const(11)
_ENOMEM = const(12)
_ENOSPC = const(28)
_EPROTO = const(71)  # MicroPython's errno has no name for it; the number is Linux's
_EOPNOTSUPP = const(95)
_ETIMEDOUT = const(110)


class VirtioError(OSError):
    """Any error of a virtio device or queue."""

    ERRNO = _EIO

    def __init__(self, message=""):
        super().__init__(self.ERRNO, message)


class QueueFull(VirtioError):
    """Not enough free descriptors. Nothing was changed; pop something and try again."""

    ERRNO = _ENOSPC


class NotReady(VirtioError):
    """The device has used nothing that could be popped."""

    ERRNO = _EAGAIN


class WrongToken(VirtioError):
    """The next used chain is another one. Nothing was popped."""

    ERRNO = _EINVAL


class AlreadyUsed(VirtioError):
    """The queue, or the device, already has an owner."""

    ERRNO = _EBUSY


class DmaError(VirtioError):
    """The static DMA region has no room left."""

    ERRNO = _ENOMEM


class NoDevice(VirtioError):
    """There is no such device, or nothing virtio at that address."""

    ERRNO = _ENODEV


class IoError(VirtioError):
    """The device reports that a request failed."""


class BatchError(IoError):
    """Some requests of a batch failed: `failed` is a list of (index in the batch, exception)."""

    def __init__(self, failed):
        super().__init__(
            "%d requests failed, the first is %d: %s" % (len(failed), failed[0][0], failed[0][1])
        )
        self.failed = failed


class Unsupported(VirtioError):
    """The device does not offer what was asked of it."""

    ERRNO = _EOPNOTSUPP


class Timeout(VirtioError):
    """No answer in time. The buffers still belong to the device."""

    ERRNO = _ETIMEDOUT


class DeviceFault(VirtioError):
    """The device broke the protocol, or asks for a reset; only `reset()` brings it back."""

    ERRNO = _EPROTO


class InvalidParam(ValueError):
    """An argument that no device could accept."""
