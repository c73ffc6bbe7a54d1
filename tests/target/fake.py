"""A virtio device over RAM that a test steers, for what a real one will not do.

It is `virtio.slowmotion`, by the names of these tests.
"""

import uctypes
from machine import mem8, mem16, mem32
from virtio.features import EVENT_IDX, INDIRECT_DESC, VERSION_1
from virtio.slowmotion import (
    AVAIL,
    NEXT,
    USED,
    WRITE,
    Device,
    PackedHalf,
    Registers,
    SplitHalf,
    Transport,
    answer,
    readable,
    slot,
)

FakeDevice = Device
FakeTransport = Transport


class FakeQueue(SplitHalf):
    pop = SplitHalf.take


class FakePackedQueue(PackedHalf):
    pop = PackedHalf.take
