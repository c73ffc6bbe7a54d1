"""Random bytes from whichever entropy device there is, by a small pool.

The pool is for those who ask for a few bytes at a time: one request fills it, many are served
from it. Bytes are overwritten as they are given out. It lives and dies with the interpreter:
after a soft reset there is a new, empty one.
"""

# SPDX-License-Identifier: MIT

from micropython import const

from .device import opened
from .rng import Rng

_POOL = const(256)  # bytes; who asks for more than half of that is served by the device itself

_pool = bytearray(_POOL)
_left = 0  # the bytes that are not given out yet are the first ones


def urandom(n, timeout_ms=30_000):
    """*n* random bytes. The entropy device is left open where it was, and closed where not.

    Raises `NoDevice` where there is none, and what `Rng.read` does.
    """
    if n > _POOL // 2:
        return _ask(n, timeout_ms, Rng.read)
    if n > _left:
        _ask(n, timeout_ms, _refill)
    return _take(n)


def _take(n):
    global _left
    end = _left
    _left -= n  # first, for a scheduled function that asks meanwhile must get other bytes
    data = bytes(memoryview(_pool)[end - n : end])
    for i in range(end - n, end):
        _pool[i] = 0
    return data


def _refill(rng, n):
    """Have the pool hold *n* bytes, and as many more as the device gives along with them."""
    global _pool, _left
    fresh = bytearray(_POOL)  # another one, for after a timeout it stays the device's
    view = memoryview(fresh)
    filled = 0
    while filled < n:
        filled += rng.readsome(view[filled:])
    for i in range(_left):
        _pool[i] = 0
    _pool = fresh
    _left = filled


def _ask(n, timeout_ms, function):
    """Call the function with an open entropy device and *n*."""
    for rng in opened():
        if isinstance(rng, Rng):
            return function(rng, n)
    rng = Rng(0)
    try:
        rng.timeout_ms = timeout_ms
        return function(rng, n)
    finally:
        rng.deinit()
