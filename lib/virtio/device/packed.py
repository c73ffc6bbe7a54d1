"""The packed queue. In a module of its own, for QEMU's devices are not packed by default."""

# SPDX-License-Identifier: MIT

from ..ring.packed import PackedRing
from .waiting import Waiting


class PackedVirtQueue(PackedRing, Waiting):
    """A packed virtqueue: to be used just when the feature RING_PACKED was negotiated.

    Arguments, methods and errors are those of `VirtQueue`; in addition `Unsupported` for a
    legacy transport, which has no packed ring.
    """
