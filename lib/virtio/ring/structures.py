"""What the device sees of a queue, as `uctypes` structures over the same memory.

Every field can be read, and written, which a device may well take amiss. The driver goes by its own
notes, not by these.
"""

# SPDX-License-Identifier: MIT

from collections import namedtuple

import uctypes
from uctypes import ARRAY, UINT16, UINT32, UINT64, struct

Rings = namedtuple("Rings", ("desc", "avail", "used"))
PackedRings = namedtuple("PackedRings", ("desc", "driver", "device"))

_EVENT = {"off_wrap": 0 | UINT16, "flags": 2 | UINT16}  # section 2.8.14


def split_rings(desc, avail, used, size):
    """Descriptor table, available and used ring (sections 2.7.5, 2.7.6, 2.7.8), by their addresses."""
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


def packed_rings(desc, driver, device, size):
    """Descriptor ring and event suppression structures (sections 2.8.13, 2.8.14), by their addresses."""
    entry = {"addr": 0 | UINT64, "len": 8 | UINT32, "id": 12 | UINT16, "flags": 14 | UINT16}
    return PackedRings(
        _entries(desc, size, entry), _struct(driver, _EVENT), _struct(device, _EVENT)
    )


def _struct(address, layout):
    return struct(address, layout, uctypes.LITTLE_ENDIAN)


def _entries(address, size, layout):
    return _struct(address, {"entries": (0 | ARRAY, size, layout)}).entries
