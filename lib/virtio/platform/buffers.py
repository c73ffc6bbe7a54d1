"""Buffers: how long one is, whether a device may write to it, and copying between two."""

# SPDX-License-Identifier: MIT

from builtins import bytearray, bytes, len, memoryview, type  # as in ring/split.py
from struct import pack_into


@micropython.native
def byte_length(buf):
    """The length of a buffer in bytes, whatever its items are. `TypeError` for what is no buffer.

    Allocates nothing for `bytes`, `bytearray` and `memoryview`.
    """
    kind = type(buf)
    if kind is bytearray or kind is bytes:
        return len(buf)
    if kind is not memoryview:
        buf = memoryview(buf)
    return len(buf) * buf.itemsize


@micropython.viper
def checked_length(buf, write: int) -> int:
    """`byte_length`; with *write*, of what the device is to write: `TypeError` where it is read-only."""
    kind = type(buf)
    if write:
        pack_into("", buf, 0)  # writes nothing, and raises what writing would
    if kind is bytes:
        return int(len(buf))
    if kind is memoryview:
        return int(len(buf)) * int(buf.itemsize)
    return int(byte_length(buf))


@micropython.native
def without_allocation(bufs):
    """The buffers, in a form of which `checked_length` allocates nothing."""
    for buf in bufs:
        kind = type(buf)
        if kind is not bytearray and kind is not bytes and kind is not memoryview:
            return [memoryview(each) for each in bufs]
    return bufs


@micropython.viper
def copy(to, to_at: int, source, at: int, count: int):
    """Copy bytes between buffers."""
    d = ptr8(int(ptr8(to)) + to_at)
    s = ptr8(int(ptr8(source)) + at)
    i = 0
    if (int(d) | int(s) | count) & 3 == 0:
        w = ptr32(int(d))
        v = ptr32(int(s))
        words = count >> 2
        while i < words:
            w[i] = v[i]
            i = i + 1
        return
    while i < count:
        d[i] = s[i]
        i = i + 1


if not hasattr(memoryview(b""), "itemsize"):
    from .itemsize import byte_length, checked_length  # noqa: F811
