"""Virtio for MicroPython: devices, and the queues beneath them.

    import virtio
    disk = virtio.Block(0)
    rng = virtio.Rng(0)

`scan` finds what is on the board. The layers, from the bottom: `platform`, `transport`, `ring`,
`device`, `blockdev`, `drivers`, `storage`.
"""

# SPDX-License-Identifier: MIT

from .device import opened
from .device.waiting import VirtQueue
from .errors import (
    AlreadyUsed,
    BatchError,
    DeviceFault,
    DmaError,
    InvalidParam,
    IoError,
    NoDevice,
    NotReady,
    QueueFull,
    Timeout,
    Unsupported,
    VirtioError,
    WrongToken,
)
from .transport.mmio import MmioTransport, scan

__version__ = "0.1.0"

# Imported for those only who use them: from which module each comes. Not a dict, which would take heap.
_LATER = (
    ("Block", "drivers.block"),
    ("Net", "drivers.net"),
    ("P9", "drivers.p9"),
    ("PackedVirtQueue", "device.packed"),
    ("Partition", "storage.partitions"),
    ("Rng", "drivers.rng"),
    ("Serial", "drivers.serial"),
    ("diagnose", "views"),
    ("entropy", "drivers.entropy"),
    ("features", "features"),
    ("format", "storage.filesystems"),
    ("mount", "storage.filesystems"),
    ("partitions", "storage.partitions"),
    ("show", "views"),
    ("slowmotion", "slowmotion"),
    ("urandom", "drivers.entropy"),
)


def __getattr__(name):
    for known, where in _LATER:
        if known == name:
            module = __import__("virtio." + where, None, None, (name,))
            found = getattr(module, name, module)
            globals()[name] = found  # where it is found at once
            return found
    raise AttributeError(name)
