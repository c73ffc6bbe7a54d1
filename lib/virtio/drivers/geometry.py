"""What a disk says of its shape (virtio 1.2, section 5.2.4), by names."""

# SPDX-License-Identifier: MIT

from collections import namedtuple

geometry = namedtuple("Geometry", ("cylinders", "heads", "sectors"))

_topology = namedtuple(
    "Topology", ("physical_block_size", "alignment_offset", "min_io_size", "opt_io_size")
)


def topology(size, exponent, offset, least, best):
    """From what the configuration counts in blocks, *size* bytes each, to bytes."""
    return _topology(size << exponent, size * offset, size * least, size * best)
