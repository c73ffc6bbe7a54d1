# SPDX-License-Identifier: MIT
"""What make bench-instructions runs on a board with a network: guest instructions a frame.

As in instructions_on_board.py. What answers is QEMU's user network, so when an acknowledgement comes
is not the same each time, and it may fall into a write that is not its own: in half of them on some
days. A quarter of them is without, and that is within one in a hundred.
"""

import gc
import socket
from time import sleep_ms, ticks_cpu, ticks_diff

import network
from micropython import const

_TICK = const(16)  # instructions
_FRAMES = const(16)  # in a write: less than the window, so that it does not wait
_SEGMENT = const(1460)
_ROUNDS = const(48)
_TURNS = const(30000)  # of a loop in which the acknowledgements come


def loop():
    start = ticks_cpu()
    for _ in range(_TURNS):
        pass
    return ticks_diff(ticks_cpu(), start)


def quartile(numbers):
    return sorted(numbers)[len(numbers) // 4]


def counts(port):
    """As in instructions_on_board.py."""
    lan = network.LAN()
    while not lan.isconnected():
        sleep_ms(10)
    s = socket.socket()
    s.connect(("10.0.2.2", port))
    piece = bytes(_FRAMES * _SEGMENT)
    for _ in range(50):  # the peer's window opens
        s.write(piece)
    gc.collect()
    gc.disable()
    sent, whole = [], []
    for _ in range(_ROUNDS):
        sleep_ms(100)
        alone = loop()
        start = ticks_cpu()
        s.write(piece)
        sent.append(ticks_diff(ticks_cpu(), start))
        loop()
        whole.append(ticks_diff(ticks_cpu(), start) - alone)
    s.close()
    return [
        ("a frame of a TCP write", "instructions", quartile(sent) * _TICK // _FRAMES),
        (
            "a frame of a TCP write, with its share of acknowledgements",
            "instructions",
            quartile(whole) * _TICK // _FRAMES,
        ),
    ]
