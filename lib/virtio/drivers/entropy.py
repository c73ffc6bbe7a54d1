"""Random bytes from whichever entropy device there is, by a small pool.

The pool is for those who ask for a few bytes at a time: one request fills it, many are served
from it. Where the device is open anyway, it fills the next pool while this one is used. Bytes
are overwritten as they are given out. All of it lives and dies with the interpreter: after a
soft reset there is a new, empty pool, and the device has forgotten what it was to fill.

Ctrl-C, and scheduled functions, which may call `urandom` too, come in only where the code
jumps. What they must not part stands without a jump.
"""

# SPDX-License-Identifier: MIT

from micropython import const

from ..device import opened
from .rng import Rng

_POOL = const(256)  # bytes; who asks for more than half of that is served by the device itself

_pool = bytearray(_POOL)
_left = 0  # the bytes that are not given out yet are the first ones
_ahead = None  # the next pool, which is the device's: [queue, token, buffer]


def urandom(n, timeout_ms=30_000):
    """*n* random bytes. The entropy device is left open where it was, and closed where not.

    Raises `NoDevice` where there is none, and what `Rng.read` does.
    """
    if n > _POOL // 2:
        return _ask(n, timeout_ms, Rng.read)
    data = _take(n)
    if len(data) < n:
        data += _ask(n - len(data), timeout_ms, _draw)
    return data


def _take(n):
    """*n* bytes of the pool, or as many as it has, which are not in it any more: no jump."""
    global _left
    n = min(n, _left)
    part = memoryview(_pool)[_left - n : _left]
    data = bytes(part)
    part[:] = bytes(n)
    _left -= n
    return data


def _draw(rng, n):
    """*n* bytes by way of the pool, which is empty."""
    global _pool, _left
    data = b""
    while len(data) < n:
        _pool, _left = _filled(rng)
        data += _take(n - len(data))
    return data


def _filled(rng):
    """A buffer that the device has filled, asked ahead or now, and how many bytes it gave."""
    global _ahead
    queue = rng.queues[0]
    chain, _ahead = _ahead, None  # who comes between finds nothing ahead, and asks by itself
    try:
        if chain is None or chain[0] is not queue:  # or the device was reset, or closed, since
            chain = _submit(queue)
        if not queue.finished(chain[1]):
            queue.kick()
            queue.wait(chain[1], rng.timeout_ms)
        count = queue.take(chain[1])
    except:
        _abandon(chain)
        raise
    return chain[2], rng._given(count)


def _ask_ahead(rng):
    global _ahead
    queue = rng.queues[0]
    # Another request must find room beside this one.
    if _ahead is None and queue.available_desc() > 1:
        before, _ahead = _ahead, _submit(queue)
        _abandon(before)
        queue.kick()


def _submit(queue):
    # After Ctrl-C or a timeout the buffer stays the device's: it is never one that was a pool.
    buf = bytearray(_POOL)
    # Before it is submitted: without memory for the list nobody would have it.
    chain = [queue, None, buf]
    chain[1] = queue.submit((), (buf,))
    return chain


def _abandon(chain):
    if chain and chain[0].alive:
        chain[0].abandon(chain[1])


def _ask(n, timeout_ms, function):
    """Call the function with an open entropy device and *n*."""
    for rng in opened():
        if isinstance(rng, Rng):
            data = function(rng, n)
            _ask_ahead(rng)
            return data
    rng = Rng(0)
    try:
        rng.timeout_ms = timeout_ms
        return function(rng, n)
    finally:
        rng.deinit()
