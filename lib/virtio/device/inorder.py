"""Queues of a device with which IN_ORDER was negotiated: few are."""

# SPDX-License-Identifier: MIT

from ..ring.inorder import InOrderPackedRing, InOrderSplitRing
from .waiting import Waiting


class InOrderVirtQueue(InOrderSplitRing, Waiting):
    """`VirtQueue`, for such a device."""


class InOrderPackedVirtQueue(InOrderPackedRing, Waiting):
    """`PackedVirtQueue`, for such a device."""
