# SPDX-License-Identifier: MIT
"""What bench.waiting runs on the board: requests, one at a time, after other lengths of spinning."""

import gc
from array import array
from time import ticks_diff, ticks_us

import uctypes
import virtio
from virtio.platform.processor import spin

_ROUNDS = 1_000_000

_budget = array("I", [0])
_slept = array("I", [0])


@micropython.viper
def _watch(words: int, _: int) -> int:
    """In place of the queue's own: `_budget` rounds, and nothing is left of them."""
    rounds = ptr32(_budget)[0]
    if rounds:
        spin(words, rounds)
    return 0


def rounds_a_us():
    """How often the queue's spin looks in a microsecond, on a ring that does not move."""
    ring, state = bytearray(16), array("I", bytes(128))
    for place in range(2, 7):
        state[place] = uctypes.addressof(ring)
    times = []
    for _ in range(5):
        start = ticks_us()
        spin(uctypes.addressof(state) >> 2, _ROUNDS)
        times.append(ticks_diff(ticks_us(), start))
    return _ROUNDS / min(times)


def prepare(kind, n, size):
    """Open what is measured next, with the other drivers closed."""
    global _queue, _call
    for driver in virtio.opened():
        driver.deinit()
    buf = bytearray(size)
    if kind == "entropy":
        driver = virtio.Rng(n, "split")
        call = lambda: driver.readinto(buf)
    else:
        driver = virtio.Block(n, "split")
        blocks = min(driver.block_count, 1 << 20) - size // driver.block_size
        block = 0

        def call():
            nonlocal block
            block = (block + 4736) % blocks
            driver.readblocks(block, buf)

    wait = driver.transport.wait

    def count(timeout_ms):
        _slept[0] += 1
        wait(timeout_ms)

    driver.transport.wait = count
    _queue, _call = driver.queues[0], call


def measure(rounds, ms):
    """(requests, microseconds, sleeps) of some ms; None for rounds is the library as it is."""
    queue, call = _queue, _call
    kept = queue._watch
    if rounds is not None:
        queue._watch = _watch
        _budget[0] = rounds
    gc.collect()
    call()
    _slept[0] = times = 0
    start = ticks_us()
    try:
        while True:
            for _ in range(20):
                call()
            times += 20
            took = ticks_diff(ticks_us(), start)
            if took >= 1000 * ms:
                return times, took, _slept[0]
    finally:
        queue._watch = kept
