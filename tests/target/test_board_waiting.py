"""Nothing that happens is lost to one who waits: events swept over each point of a wait.

The guest's clock counts instructions here, so where an event comes is not left to chance, and a
wait that missed it is one that took all of its time.
"""

import asyncio
import io
import os
import select
import sys
import time

import machine
import micropython
import pytest
from machine import Timer, mem32

pytestmark = pytest.mark.board(interface=("modern",), qemu_args="-icount shift=0,sleep=off")

LIMIT_MS = 2000  # that a wait has; none takes a tenth of it unless it missed its event
TICKS_MS = 62_500  # of the counter


class Ring:
    """A stream of C, which runs nothing while it is looked at."""

    def __init__(self):
        self.stream = micropython.RingIO(16)

    def set(self, _=None):
        self.stream.write(b"x")

    def clear(self):
        self.stream.read()


class Signal(io.IOBase):
    """A stream that is readable once set; *look* is called by each look at it."""

    def __init__(self, look=None):
        self.ready = False
        self.look = look
        self.stream = self

    def set(self, _=None):
        self.ready = True

    def clear(self):
        self.ready = False

    def ioctl(self, request, arg):
        if request != 3:
            return 0
        ready = self.ready
        if self.look:
            self.look()
        return arg & 1 if ready else 0


def waited_ms(stream):
    """How long poll() took to see that a stream is readable."""
    poller = select.poll()
    poller.register(stream, select.POLLIN)
    start = time.ticks_ms()
    found = poller.poll(LIMIT_MS)
    took = time.ticks_diff(time.ticks_ms(), start)
    assert found and took < LIMIT_MS // 10, (found, took)
    return took


def spin_until(ticks):
    while time.ticks_diff(time.ticks_cpu(), ticks) < 0:
        pass


def sweep(signal, callback, before, after, step):
    """Begin a poll() at each point from *before* to *after* ticks around a timer's call."""
    for offset in range(-before, after, step):
        signal.clear()
        # The timer comes when a millisecond is full: begin at the start of one.
        ms = time.ticks_ms()
        while time.ticks_ms() == ms:
            pass
        start = time.ticks_cpu()
        start -= start % TICKS_MS
        timer = Timer(mode=Timer.ONE_SHOT, period=1, callback=callback)
        spin_until(start + TICKS_MS + offset)
        waited_ms(signal.stream)
        timer.deinit()


def test_a_ring_that_a_timer_fills_is_seen_at_once():
    ring = Ring()
    Timer(mode=Timer.ONE_SHOT, period=100, callback=ring.set)
    assert 95 <= waited_ms(ring.stream) <= 108


@pytest.mark.timeout(180)
def test_the_sweep_over_a_poll():
    for signal in (Ring(), Signal()):
        sweep(signal, signal.set, before=2000, after=100, step=3)


@pytest.mark.timeout(180)
def test_the_sweep_over_a_look_that_sleeps():
    # The look's own wait comes after it looked, and the event may well be what ends it.
    signal = Signal(look=lambda: time.sleep_us(20))
    sweep(signal, signal.set, before=5000, after=100, step=7)


def test_what_a_callback_does_after_it_has_slept_is_seen():
    signal = Signal()

    def callback(_):
        time.sleep_ms(5)
        signal.set()
        time.sleep_ms(5)

    sweep(signal, callback, before=2000, after=100, step=50)


def test_what_a_scheduled_function_does_is_seen_without_an_interrupt():
    signal = Signal(look=lambda: micropython.schedule(signal.set, None))
    waited_ms(signal)


def test_looks_that_poll_in_turn_lose_nothing_at_any_depth():
    inner = Signal()
    poller = select.poll()
    poller.register(inner, select.POLLIN)
    streams = [inner]
    for _ in range(12):
        poller = select.poll()
        poller.register(streams[-1], select.POLLIN)
        streams.append(Signal(look=lambda poller=poller: poller.poll(1)))
    other = Signal()
    poller = select.poll()
    for stream in (other, streams[-1]):
        poller.register(stream, select.POLLIN)
    for delay in range(3, 9):
        other.ready = False
        start = time.ticks_ms()
        Timer(mode=Timer.ONE_SHOT, period=delay, callback=other.set)
        assert poller.poll(LIMIT_MS)
        assert time.ticks_diff(time.ticks_ms(), start) < LIMIT_MS // 10


def test_an_asyncio_reader_sees_what_a_sleeping_callback_wrote():
    ring = micropython.RingIO(16)

    def callback(_):
        ring.write(b"x")
        time.sleep_ms(50)

    async def main():
        reader = asyncio.StreamReader(ring)
        for _ in range(5):
            Timer(mode=Timer.ONE_SHOT, period=10, callback=callback)
            start = time.ticks_ms()
            assert await asyncio.wait_for_ms(reader.read(1), LIMIT_MS) == b"x"
            assert time.ticks_diff(time.ticks_ms(), start) < LIMIT_MS // 10

    asyncio.run(main())


def test_input_that_a_sleeping_callback_gives_is_read():
    class Terminal(io.IOBase):
        typed = b""

        def write(self, data):
            return len(data)

        def readinto(self, buf):
            if not self.typed:
                return None
            buf[0] = self.typed[0]
            self.typed = self.typed[1:]
            return 1

        def ioctl(self, request, arg):
            return arg & 1 if request == 3 and self.typed else 0

    terminal = Terminal()

    def callback(_):
        time.sleep_ms(20)
        terminal.typed += b"x"
        time.sleep_ms(20)

    os.dupterm(terminal)
    try:
        for _ in range(5):
            # One more, much later, ends a wait that has missed it.
            late = Timer(mode=Timer.ONE_SHOT, period=LIMIT_MS, callback=lambda timer: None)
            Timer(mode=Timer.ONE_SHOT, period=10, callback=callback)
            start = time.ticks_ms()
            assert sys.stdin.read(1) == "x"
            took = time.ticks_diff(time.ticks_ms(), start)
            late.deinit()
            assert took < LIMIT_MS // 10
    finally:
        os.dupterm(None)


def test_a_wait_looks_once_for_each_event():
    looks = 0

    def look():
        nonlocal looks
        looks += 1

    poller = select.poll()
    poller.register(Signal(look), select.POLLIN)
    timer = Timer(period=10, callback=lambda timer: None)
    poller.poll(1000)
    timer.deinit()
    # A callback may have changed what was looked for, which takes a second look.
    assert 100 <= looks <= 210, looks


def test_a_wait_without_events_looks_twice():
    looks = 0

    def look():
        nonlocal looks
        looks += 1

    poller = select.poll()
    poller.register(Signal(look), select.POLLIN)
    poller.poll(1000)
    assert 2 <= looks <= 4, looks


def test_lightsleep_ends_with_the_next_interrupt_and_not_with_the_last():
    mem32[0x08000218] = 1 << 8
    timer = Timer(mode=Timer.ONE_SHOT, period=20, callback=lambda timer: None)
    start = time.ticks_ms()
    machine.lightsleep()
    assert 15 <= time.ticks_diff(time.ticks_ms(), start)
    timer.deinit()


def test_what_could_not_be_registered_is_not_polled():
    poller = select.poll()
    for wrong in (object(), 5, "text"):
        try:
            poller.register(wrong)
            assert False
        except OSError:
            pass
    assert poller.poll(0) == []
    ring = Ring()
    poller.register(ring.stream, select.POLLIN)
    ring.set()
    assert [found[0] for found in poller.poll(0)] == [ring.stream]
