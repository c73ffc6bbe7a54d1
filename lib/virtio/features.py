"""Feature bits that belong to the queue and the transport, by their numbers in section 6.

Bits 0 to 23 mean something else for each device type; they stand in its driver.
"""

# SPDX-License-Identifier: MIT

ANY_LAYOUT = 1 << 27  # of the legacy interface only, section 6.3
INDIRECT_DESC = 1 << 28
EVENT_IDX = 1 << 29
VERSION_1 = 1 << 32
ACCESS_PLATFORM = 1 << 33
RING_PACKED = 1 << 34
IN_ORDER = 1 << 35
ORDER_PLATFORM = 1 << 36
RING_RESET = 1 << 40
