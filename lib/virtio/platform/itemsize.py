"""The lengths of `buffers` where a `memoryview` has no `itemsize`; of one they take a little heap."""

# SPDX-License-Identifier: MIT

from struct import pack_into

from uctypes import addressof


def byte_length(buf):
    if type(buf) in (bytearray, bytes):
        return len(buf)
    view = memoryview(buf)
    return len(view) * (addressof(view[1:]) - addressof(view))


def checked_length(buf, write):
    if write:
        pack_into("", buf, 0)
    return byte_length(buf)
