"""Virtio for MicroPython: devices, and the queues beneath them.

    import virtio
    disk = virtio.Block(0)
    rng = virtio.Rng(0)

`scan` finds what is on the board. The layers, from the bottom: `dma`, `mmio`, `queue`,
`device`, and a module for each driver.
"""

# SPDX-License-Identifier: MIT

from .blk import Block
from .device import opened
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
from .mmio import MmioTransport, scan
from .partitions import Partition, partitions
from .queue import VirtQueue
from .rng import Rng

__version__ = "0.1.0"


def __getattr__(name):
    # For those only who use them.
    if name == "PackedVirtQueue":
        from .packed import PackedVirtQueue

        return PackedVirtQueue
    if name in ("format", "mount"):
        from .filesystems import format, mount

        return format if name == "format" else mount
    if name == "show":
        from .views import show

        return show
    if name == "diagnose":
        from .views import diagnose

        return diagnose
    if name == "Net":
        from .net import Net

        return Net
    if name == "slowmotion":
        import virtio.slowmotion as slowmotion

        return slowmotion
    if name in ("urandom", "entropy"):
        from .entropy import urandom

        globals()["urandom"] = urandom  # where os.urandom finds it at once
        return globals()[name]
    raise AttributeError(name)
