"""Which parts of the disks are mounted, so that nobody else makes or mounts a filesystem there."""

# SPDX-License-Identifier: MIT

from ..errors import AlreadyUsed
from ..platform import board

# MicroPython's table of mounts is all that is asked: a mount that failed, or was interrupted, has
# left nothing here that would have to be given back.


def check_unused(device):
    """Raise `AlreadyUsed` where something is mounted on a part of what *device* is."""
    disk, first, end = _extent(device)
    for mounted in _mounted():
        other, other_first, other_end = _extent(mounted)
        if other == disk and first < other_end and other_first < end:
            raise AlreadyUsed("%r is mounted" % mounted)


def close_mounts(disk):
    """Have the filesystems on a disk that is no longer open say so."""
    for item in board.mounted():
        source = getattr(item, "source", None)
        if source is not None and _extent(source)[0] is disk:
            item.close()


def _mounted():
    """The disks and partitions that have a filesystem mounted, by `virtio.mount` or by hand."""
    found = []
    for item in board.mounted():
        device = getattr(item, "source", item)
        if hasattr(device, "block_count") and getattr(_extent(device)[0], "queues", True):
            found.append(device)
    return found


def _extent(device):
    """The disk that has it, and its first byte there and the one after its last."""
    first, length = 0, device.block_count * device.block_size
    disk = getattr(device, "disk", None)
    while disk is not None:
        first += device.first * disk.block_size
        device, disk = disk, getattr(disk, "disk", None)
    return device, first, first + length
