"""What `lib/virtio` needs of `time`, which this port lacks, by the machine's counter of 10 MHz."""

# SPDX-License-Identifier: MIT

from micropython import const

_COUNTER = const(0x0200BFF8)  # two words, of the CLINT
_PERIOD = const(0x40000000)


@micropython.viper
def ticks_ms() -> int:
    """Milliseconds modulo 2^30. Allocates nothing."""
    counter = ptr32(_COUNTER)
    high = counter[1]
    low = counter[0]
    while counter[1] != high:
        high = counter[1]
        low = counter[0]
    # Halved, for viper divides signed numbers; 2^32 is 429496 times 10000, and 7296.
    half = int(uint(low) >> 1)
    rest = high * 7296 + 2 * (half % 5000)
    return (high * 429496 + half // 5000 + rest // 10000) & (_PERIOD - 1)


def ticks_add(ticks, delta):
    return (ticks + delta) & (_PERIOD - 1)


def ticks_diff(ticks, before):
    return ((ticks - before + _PERIOD // 2) & (_PERIOD - 1)) - _PERIOD // 2


def sleep_ms(ms):
    start = ticks_ms()
    while ticks_diff(ticks_ms(), start) < ms:
        pass
