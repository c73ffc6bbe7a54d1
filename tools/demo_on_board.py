# SPDX-License-Identifier: MIT
"""What the demo runs on the board. Each function returns what it did and how long it took."""

import hashlib
from time import ticks_diff, ticks_us

import micropython
import virtio

_PIECE = micropython.const(65536)


def digest_of(name):
    """-> SHA-256 of a file on the disk, its size, microseconds for reading it"""
    digest = hashlib.sha256()
    piece = bytearray(_PIECE)
    view = memoryview(piece)
    size = took = 0
    with open(name, "rb") as file:
        while True:
            start = ticks_us()
            got = file.readinto(piece)
            took += ticks_diff(ticks_us(), start)
            if not got:
                return digest.digest(), size, took
            digest.update(view[:got])
            size += got


@micropython.viper
def fill(buf: ptr32, words: int, x: int) -> int:
    """The generator that tools/demo.py has in ordinary Python."""
    for i in range(words):
        x = x * 1664525 + 1013904223
        buf[i] = x
    return x


def write_file(name, pieces):
    """-> size of the new file, microseconds for writing it"""
    piece = bytearray(_PIECE)
    x = took = 0
    with open(name, "wb") as file:
        for _ in range(pieces):
            x = fill(piece, _PIECE // 4, x)
            start = ticks_us()
            file.write(piece)
            took += ticks_diff(ticks_us(), start)
    return pieces * _PIECE, took


@micropython.viper
def count_values(buf: ptr8, size: int, counts: ptr32):
    for i in range(size):
        counts[buf[i]] += 1


def draw(size):
    """-> how often the rarest and the commonest byte came, microseconds for drawing them"""
    import array

    data = bytearray(size)
    start = ticks_us()
    virtio.Rng(0).readinto(data)
    took = ticks_diff(ticks_us(), start)
    counts = array.array("I", bytes(4 * 256))
    count_values(data, size, counts)
    return min(counts), max(counts), took
