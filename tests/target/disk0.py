"""Disk 0 of the test board, and what stands on it."""

import struct

import virtio

SECTORS = 16384


def pattern(first, count=1):
    """What so many sectors hold: sector n is n, 128 times over."""
    return b"".join([struct.pack("<I", n) * 128 for n in range(first, first + count)])


class Disk:
    """A disk, by default disk 0, open for the length of a test."""

    def __init__(self, n=0):
        self.n = n

    def __enter__(self):
        self.disk = virtio.Block(self.n)
        return self.disk

    def __exit__(self, *_):
        self.disk.deinit()
