"""Feature bits that belong to the queue and the transport, by their numbers in section 6.

Bits 0 to 23 mean something else for each device type; they stand in its driver. The layers beneath
the drivers have these as constants of their own, and do without this module.
"""

# SPDX-License-Identifier: MIT

from micropython import const

# From layout.py, by `make layout`.

# Feature bits of the queue and the transport (6), which features.py tells by their names.
_F_ANY_LAYOUT = const(1 << 27)  # of the legacy interface only (6.3)
_F_INDIRECT_DESC = const(1 << 28)
_F_EVENT_IDX = const(1 << 29)
_F_VERSION_1 = const(1 << 32)
_F_ACCESS_PLATFORM = const(1 << 33)
_F_RING_PACKED = const(1 << 34)
_F_IN_ORDER = const(1 << 35)
_F_ORDER_PLATFORM = const(1 << 36)
_F_RING_RESET = const(1 << 40)

# End of layout.py.

ANY_LAYOUT = _F_ANY_LAYOUT
INDIRECT_DESC = _F_INDIRECT_DESC
EVENT_IDX = _F_EVENT_IDX
VERSION_1 = _F_VERSION_1
ACCESS_PLATFORM = _F_ACCESS_PLATFORM
RING_PACKED = _F_RING_PACKED
IN_ORDER = _F_IN_ORDER
ORDER_PLATFORM = _F_ORDER_PLATFORM
RING_RESET = _F_RING_RESET
