"""Time, timers and sleep on the board."""

import asyncio
import gc
import io
import micropython
import os
import random
import time

import machine
import pytest
import virtio
from board import Interrupt
from check import raises
from machine import RTC, Timer, mem32

pytestmark = pytest.mark.board(interface=("modern",))
COUNTER_HZ = 62_500_000


class Count:
    def __init__(self):
        self.calls = 0

    def __call__(self, timer):
        self.calls += 1


def wait_until(condition, ms=5000):
    start = time.ticks_ms()
    while not condition():
        assert time.ticks_diff(time.ticks_ms(), start) < ms, "it does not come about"
        machine.idle()


# time


def test_ticks_cpu_is_the_counter():
    begin_us, begin = time.ticks_us(), time.ticks_cpu()
    time.sleep_ms(20)
    end, end_us = time.ticks_cpu(), time.ticks_us()
    counted = time.ticks_diff(end, begin) * 1_000_000 // COUNTER_HZ
    assert 20_000 <= counted <= time.ticks_diff(end_us, begin_us)


def test_sleep_is_never_short():
    for ms in (0, 1, 5, 20):
        start = time.ticks_us()
        time.sleep_ms(ms)
        assert time.ticks_diff(time.ticks_us(), start) >= 1000 * ms
    for us in (0, 1, 100, 2000):
        start = time.ticks_us()
        time.sleep_us(us)
        assert time.ticks_diff(time.ticks_us(), start) >= us


def test_time_does_not_go_back():
    last = time.time_ns()
    for _ in range(5000):
        now = time.time_ns()
        assert now >= last
        last = now


def test_localtime_is_time_in_fields():
    while True:
        now = time.time()
        fields = time.localtime()
        if time.time() == now:
            break
    assert time.mktime(fields) == now
    assert time.gmtime(now) == time.localtime(now) == fields


# RTC


def test_rtc_shows_the_time():
    year, month, day, weekday, hour, minute, second, us = RTC().datetime()
    assert abs(time.mktime((year, month, day, hour, minute, second, 0, 0)) - time.time()) <= 1
    assert weekday == time.localtime()[6] and 0 <= us < 1_000_000


def test_rtc_is_set_and_time_follows():
    rtc = RTC()
    now = time.localtime()
    try:
        rtc.datetime((2030, 2, 28, 0, 23, 59, 59, 0))
        assert rtc.datetime()[:3] == (2030, 2, 28) and rtc.datetime()[3] == 3
        wait_until(lambda: rtc.datetime()[:7] == (2030, 3, 1, 4, 0, 0, 0))
        assert time.localtime()[:4] == (2030, 3, 1, 0)
        assert 1_898_553_600 <= time.time() <= 1_898_553_602
    finally:
        rtc.datetime(now[:3] + (0,) + now[3:6] + (0,))
    raises(ValueError, rtc.datetime, (2030, 1, 1))


# Timer


def test_one_shot_comes_once():
    count = Count()
    timer = Timer(mode=Timer.ONE_SHOT, period=5, callback=count)
    time.sleep_ms(30)
    assert count.calls == 1
    timer.deinit()


def test_periodic_comes_until_deinit():
    count = Count()
    timer = Timer(period=2, callback=count)
    wait_until(lambda: count.calls >= 10)
    timer.deinit()
    calls = count.calls
    time.sleep_ms(20)
    assert count.calls - calls <= 1  # what was scheduled already


def test_many_timers_at_once():
    counts = [Count() for _ in range(100)]
    timers = [
        Timer(mode=Timer.ONE_SHOT, period=1 + n % 20, callback=count)
        for n, count in enumerate(counts)
    ]
    wait_until(lambda: all(count.calls == 1 for count in counts))
    del timers


def test_a_timer_that_nobody_holds_still_comes():
    count = Count()
    Timer(mode=Timer.ONE_SHOT, period=10, callback=count)
    gc.collect()
    [bytearray(16) for _ in range(2000)]
    wait_until(lambda: count.calls == 1)


def test_a_timer_wakes_who_sleeps():
    calls = []
    Timer(mode=Timer.ONE_SHOT, period=5, callback=lambda timer: calls.append(time.ticks_ms()))
    start = time.ticks_ms()
    time.sleep_ms(200)
    assert len(calls) == 1 and time.ticks_diff(calls[0], start) < 200


def test_a_callback_that_raises_harms_nobody():
    count = Count()
    Timer(mode=Timer.ONE_SHOT, period=1, callback=lambda timer: 1 // 0)
    Timer(mode=Timer.ONE_SHOT, period=2, callback=count)
    wait_until(lambda: count.calls == 1)


# Sleep


def test_lightsleep_is_never_short_and_ends_with_an_interrupt():
    start = time.ticks_ms()
    machine.lightsleep(20)
    assert time.ticks_diff(time.ticks_ms(), start) >= 20
    count = Count()
    timer = Timer(period=10, callback=count)
    machine.lightsleep()
    timer.deinit()


def test_idle_returns():
    for _ in range(10):
        machine.idle()


# asyncio


def test_asyncio_sleeps_side_by_side():
    order = []

    async def sleeper(ms):
        await asyncio.sleep_ms(ms)
        order.append(ms)

    async def main():
        await asyncio.gather(*(sleeper(ms) for ms in (60, 20, 40)))

    asyncio.run(main())
    assert order == [20, 40, 60]


def test_a_flag_is_set_from_soft_and_hard_handlers():
    line = Interrupt(201)

    async def main(hard):
        flag = asyncio.ThreadSafeFlag()

        def handler(line):
            flag.set()

        line.irq(handler, hard=hard)
        for _ in range(10):
            mem32[0x08000218] = 1 << 9
            await asyncio.wait_for(flag.wait(), 5)

    for hard in (False, True):
        asyncio.run(main(hard))
    line.irq(None)


# machine and os


def test_what_a_board_without_pins_has():
    assert len(machine.unique_id()) == 16
    assert machine.freq() == COUNTER_HZ
    raises(NotImplementedError, machine.freq, 1_000_000)
    assert os.uname().machine.startswith("QEMU_VIRT_ARM")
    assert machine.reset_cause() in (
        machine.PWRON_RESET,
        machine.HARD_RESET,
        machine.FAULT_RESET,
        machine.DEEPSLEEP_RESET,
    )


def test_urandom_comes_from_the_entropy_device():
    assert os.urandom(0) == b""
    data = os.urandom(4096)
    assert len(data) == 4096 and len(set(data)) == 256
    assert os.urandom(16) != os.urandom(16)
    assert virtio.opened() == [d for d in virtio.opened() if not isinstance(d, virtio.Rng)]
    rng = virtio.Rng(0)
    assert len(os.urandom(32)) == 32  # the driver that is open is asked
    rng.deinit()


def test_random_seeds_itself_anew():
    draws = []
    for _ in range(3):
        random.seed()
        draws.append(random.getrandbits(32))
    assert len(set(draws)) == 3


class Terminal(io.IOBase):
    """Where the console's output goes too, and where input comes from."""

    def __init__(self, typed=b""):
        self.shown = b""
        self.typed = typed

    def write(self, data):
        self.shown += bytes(data)
        return len(data)

    def readinto(self, buf):
        if not self.typed:
            return None
        buf[0] = self.typed[0]
        self.typed = self.typed[1:]
        return 1

    def ioctl(self, request, arg):
        return 1 if request == 3 and self.typed else 0


def test_dupterm_shows_and_types():
    import sys

    terminal = Terminal(b"typed\n")
    os.dupterm(terminal)
    try:
        print("shown")
        line = sys.stdin.readline()
    finally:
        os.dupterm(None)
    print("not shown")
    assert terminal.shown.replace(b"\r\n", b"\n") == b"shown\n"
    assert line == "typed\n"
