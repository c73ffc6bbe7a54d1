"""What is looked at of a queue: its rings, as `uctypes` structures over the same memory; its flags.

Every field can be read, and written, which a device may well take amiss. The driver goes by its own
notes, not by these.
"""

# SPDX-License-Identifier: MIT

from collections import namedtuple

import uctypes
from micropython import const
from uctypes import ARRAY, UINT16, UINT32, UINT64, struct

from ..errors import InvalidParam

# From layout.py, by `make layout`.

# The private array of a queue, in words. First what is one of a queue …
_DESC = const(0)  # address of the descriptor table, or of the packed ring
_AVAIL = const(1)  # address of the available ring; packed: of the driver's event suppression
_USED = const(2)  # address of the used ring; packed: of the device's event suppression
_TABLE_LEN = const(10)  # entries in each; 0 when chains are never indirect
_EVENT_IDX = const(13)  # 1 when event indices were negotiated
_SILENT = const(14)  # 1 when the driver wants no interrupts

# End of layout.py.

Rings = namedtuple("Rings", ("desc", "avail", "used"))
PackedRings = namedtuple("PackedRings", ("desc", "driver", "device"))

_EVENT = {"off_wrap": 0 | UINT16, "flags": 2 | UINT16}  # section 2.8.14


def split_rings(queue):
    """Descriptor table, available and used ring (sections 2.7.5, 2.7.6, 2.7.8)."""
    desc, avail, used = _addresses(queue)
    size = queue.size
    entry = {"addr": 0 | UINT64, "len": 8 | UINT32, "flags": 12 | UINT16, "next": 14 | UINT16}
    available = {
        "flags": 0 | UINT16,
        "idx": 2 | UINT16,
        "ring": (4 | ARRAY, size | UINT16),
        "used_event": 4 + 2 * size | UINT16,
    }
    finished = {
        "flags": 0 | UINT16,
        "idx": 2 | UINT16,
        "ring": (4 | ARRAY, size, {"id": 0 | UINT32, "len": 4 | UINT32}),
        "avail_event": 4 + 8 * size | UINT16,
    }
    return Rings(_entries(desc, size, entry), _struct(avail, available), _struct(used, finished))


def packed_rings(queue):
    """Descriptor ring and event suppression structures (sections 2.8.13, 2.8.14)."""
    desc, driver, device = _addresses(queue)
    entry = {"addr": 0 | UINT64, "len": 8 | UINT32, "id": 12 | UINT16, "flags": 14 | UINT16}
    return PackedRings(
        _entries(desc, queue.size, entry), _struct(driver, _EVENT), _struct(device, _EVENT)
    )


def flags(queue):
    """What kind of queue it is, and how it is, in words."""
    state = queue._state
    if hasattr(queue, "_order"):
        yield "in_order"
    if queue.packed:
        yield "packed"
    if state[_TABLE_LEN]:
        yield "indirect"
    if state[_EVENT_IDX]:
        yield "event_idx"
    if state[_SILENT]:
        yield "silent"
    if not queue.alive:
        yield "dead"


def _addresses(queue):
    if not queue._shared:
        raise InvalidParam("queue %d was given back" % queue.idx)
    state = queue._state
    return state[_DESC], state[_AVAIL], state[_USED]


def _struct(address, layout):
    return struct(address, layout, uctypes.LITTLE_ENDIAN)


def _entries(address, size, layout):
    return _struct(address, {"entries": (0 | ARRAY, size, layout)}).entries
