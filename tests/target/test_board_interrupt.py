"""board.Interrupt: a line by handler and by waiting, without a device and with one."""

import board
import io
import machine
import micropython
import os
import select
import sys
import time
import virtio
from board import Interrupt
from check import allocates_nothing, raises
from machine import Timer, mem32

# A line that nothing is attached to, and the registers of the GIC's distributor about it.
FREE = 200
SET_PENDING = 0x08000200 + FREE // 32 * 4
CLEAR_PENDING = 0x08000280 + FREE // 32 * 4
BIT = 1 << FREE % 32

line = Interrupt(FREE)


class Calls:
    """A handler that counts its calls."""

    def __init__(self, then=None):
        self.count = 0
        self.then = then

    def __call__(self, line):
        self.count += 1
        if self.then:
            self.then(line)


def wait_until(condition):
    start = time.ticks_ms()
    while not condition():
        assert time.ticks_diff(time.ticks_ms(), start) < 10_000, "it does not come about"
        machine.idle()


def scheduler_works():
    ran = Calls()
    micropython.schedule(ran, None)
    wait_until(lambda: ran.count)


def at_the_end_of_the_stack(done):
    """Fire the line where there is no more room for a call, until *done* has a count."""
    turns = 0

    def deeper():
        nonlocal turns
        try:
            deeper()
        except RuntimeError:
            if done.count == 0:
                mem32[SET_PENDING] = BIT
                n = 0
                while n < 100:  # where a soft handler comes in
                    n += 1
                turns += 1

    deeper()
    return turns


def at_the_end_of_the_python_stack(done):
    """The same, for the stack that Python's frames are on: one with many names fills it."""
    names = ", ".join("n%d" % n for n in range(120))
    space = {"done": done, "mem32": mem32, "SET_PENDING": SET_PENDING, "BIT": BIT}
    code = (
        """
def deeper():
    %s = [0] * 120
    try:
        deeper()
    except RuntimeError:
        if done.count == 0:
            mem32[SET_PENDING] = BIT
            while n0 < 100:
                n0 += 1
"""
        % names
    )
    exec(code, space)
    space["deeper"]()


def fire():
    mem32[SET_PENDING] = BIT


def quiet():
    line.irq(None)
    mem32[CLEAR_PENDING] = BIT
    line.wait(0)
    line.disable()


def settle():
    """Let the scheduler run what it has."""
    for _ in range(10):
        machine.idle()


def test_a_number_has_one_object():
    assert Interrupt(FREE) is line
    assert Interrupt(FREE + 1) is not line
    assert repr(line) == "Interrupt(200)"


def test_numbers_that_are_not_to_be_had_are_a_ValueError():
    for intid in (-1, 0, 15, 288, 1000, 27, 33):  # 27 is the timer, 33 the console
        raises(ValueError, Interrupt, intid)
    raises(TypeError, Interrupt, "33")


def test_a_soft_handler_is_called_with_its_line():
    seen = []
    assert line.irq(seen.append) is line
    for n in range(3):
        fire()
        settle()
        assert seen == [line] * (n + 1)
    line.irq(None)
    fire()
    settle()
    assert len(seen) == 3
    quiet()


def test_a_soft_handler_may_allocate_and_a_hard_one_may_not():
    blocks = []
    refused = False

    def allocate(line):
        nonlocal refused
        try:
            blocks.append(bytearray(100))
        except MemoryError:
            refused = True

    line.irq(allocate)
    fire()
    settle()
    assert len(blocks) == 1 and not refused
    line.irq(allocate, hard=True)
    fire()
    assert len(blocks) == 1 and refused
    quiet()


def test_a_hard_handler_runs_at_once_though_the_scheduler_is_locked():
    calls = Calls()
    line.irq(handler=calls, trigger=Interrupt.RISING, hard=True)
    counts = []

    def scheduled(_):
        fire()
        counts.append(calls.count)

    micropython.schedule(scheduled, None)
    settle()
    assert counts == [1]
    quiet()


def test_a_handler_that_raises_keeps_its_line():
    for hard in (False, True):
        calls = Calls(lambda line: 1 // 0)
        line.irq(calls, hard=hard)
        for n in range(4):
            fire()
            wait_until(lambda: calls.count == n + 1)
        assert calls.count == 4
        scheduler_works()
        quiet()


def test_a_device_whose_handler_raises_stops_nothing():
    for hard in (False, True):
        with Entropy() as entropy:
            calls = Calls(lambda line: 1 // 0)
            entropy.line.irq(calls, hard=hard)
            entropy.queue.pop_used(wait_used(entropy, entropy.request()))
            time.sleep_ms(300)
            # Each time after twice the pause: 1, 2, 4… ms.
            assert 4 <= calls.count <= 12, calls.count
            calls.then = lambda line: entropy.transport.ack_interrupt()
            count = calls.count
            wait_until(lambda: calls.count > count)


def test_a_handler_that_ran_out_of_memory_is_called_again_some_times():
    for hard in (False, True):
        calls = Calls()

        def allocate(line):
            if calls.count < 4:
                raise MemoryError

        calls.then = allocate
        line.irq(calls, trigger=Interrupt.RISING, hard=hard)
        fire()
        wait_until(lambda: calls.count == 4)
        time.sleep_ms(50)
        assert calls.count == 4
        quiet()


def test_a_handler_has_room_at_the_end_of_the_stack():
    for at_the_end in (at_the_end_of_the_stack, at_the_end_of_the_python_stack):
        for hard in (False, True):
            done = Calls()

            def handler(line):
                helper(3)

            def helper(n):
                if n:
                    helper(n - 1)
                else:
                    done(line)

            line.irq(handler, hard=hard)
            at_the_end(done)
            assert done.count >= 1
            scheduler_works()
            quiet()


def test_what_a_handler_raises_at_the_end_of_the_stack_stays_in_it():
    for hard in (False, True):
        done = Calls()

        def handler(line):
            done(line)
            handler(line)

        line.irq(handler, hard=hard)
        at_the_end_of_the_stack(done)
        assert done.count
        line.irq(None)
        scheduler_works()
        quiet()


class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no text")


class Broken(io.IOBase):
    def write(self, data):
        raise OSError(5)

    def readinto(self, buf):
        return None

    def ioctl(self, request, arg):
        return 0


def test_an_error_that_cannot_be_printed_stays_in_the_handler():
    def handler(line):
        raise Unprintable

    for hard in (False, True):
        calls = Calls(handler)
        line.irq(calls, hard=hard)
        fire()
        wait_until(lambda: calls.count)
        scheduler_works()
        quiet()


def test_a_terminal_that_raises_stays_out_of_it():
    calls = Calls(lambda line: 1 // 0)
    line.irq(calls)
    os.dupterm(Broken())
    try:
        fire()
        wait_until(lambda: calls.count)
    finally:
        os.dupterm(None)
    scheduler_works()
    quiet()


def test_a_terminal_outlives_the_error_of_a_hard_handler():
    class Terminal(Broken):
        def write(self, data):
            return len(bytes(data))

    terminal = Terminal()
    line.irq(lambda line: 1 // 0, hard=True)
    os.dupterm(terminal)
    fire()
    assert os.dupterm(None) is terminal
    quiet()


def test_what_the_scheduler_runs_has_room_and_keeps_its_errors():
    for raises_too in (False, True):
        done = Calls()

        def scheduled(_):
            done(None)
            if raises_too:
                raise Unprintable

        def deeper():
            try:
                deeper()
            except RuntimeError:
                if done.count == 0:
                    try:
                        schedule(scheduled, None)
                    except RuntimeError:
                        return
                    n = 0
                    while n < 100:
                        n += 1

        schedule = micropython.schedule
        deeper()
        wait_until(lambda: done.count)
        scheduler_works()
        Timer(mode=Timer.ONE_SHOT, period=1, callback=scheduled)
        done.count = 0
        wait_until(lambda: done.count)
        scheduler_works()


def test_a_hard_handler_does_not_hang_in_a_wait():
    poller = select.poll()
    poller.register(Broken(), select.POLLIN)
    other = Interrupt(FREE + 1)
    waits = {
        "sleep_us": lambda: time.sleep_us(10),
        "sleep_ms": lambda: time.sleep_ms(2),
        "idle": machine.idle,
        "lightsleep for a time": lambda: machine.lightsleep(2),
        "wait for a time": lambda: other.wait(2),
    }
    endless = {
        "lightsleep": machine.lightsleep,
        "wait": other.wait,
        "poll": poller.poll,
        "input": input,
        "stdin": lambda: sys.stdin.read(1),
    }
    for cases, outcome in ((waits, "returned"), (endless, "raised")):
        for name, wait in cases.items():
            result = None

            def handler(line):
                nonlocal result
                try:
                    wait()
                    result = "returned"
                except Exception:  # a MemoryError of those that allocate before they wait
                    result = "raised"

            line.irq(handler, hard=True)
            fire()
            assert result == outcome, name
            scheduler_works()
            quiet()
    other.disable()


def test_disable_irq_holds_a_hard_handler_back():
    calls = Calls()
    line.irq(calls, hard=True)
    state = machine.disable_irq()
    fire()
    before = calls.count
    machine.enable_irq(state)
    assert (before, calls.count) == (0, 1)
    quiet()


def test_disable_holds_a_line_back_and_enable_lets_it_through():
    calls = Calls()
    line.irq(calls)
    line.disable()
    fire()
    settle()
    assert calls.count == 0
    line.enable()
    settle()
    assert calls.count == 1
    quiet()


def test_a_full_scheduler_loses_nothing():
    calls = Calls()
    filler = Calls()
    line.irq(calls)
    full = False

    def fill(_):
        nonlocal full
        try:
            while True:
                micropython.schedule(filler, None)
        except RuntimeError:
            full = True
        fire()

    micropython.schedule(fill, None)
    settle()
    fire()
    settle()
    assert full
    wait_until(lambda: calls.count == 2)  # of a full queue some has run before
    for _ in range(10):
        settle()
    assert filler.count >= 31
    quiet()


def test_wait_returns_when_the_line_has_fired():
    assert line.wait(0) is False
    fire()
    assert line.wait() is True
    assert line.wait(timeout_ms=1) is False
    quiet()


def test_a_wait_inside_a_wait_leaves_the_outer_one_its_interrupt():
    line.wait(0)
    inner = []

    def scheduled(_):
        fire()
        inner.append(line.wait(1000))

    micropython.schedule(scheduled, None)
    assert line.wait(5000) is True
    assert inner == [True]
    assert line.wait(0) is False
    quiet()


def test_in_a_scheduled_function_a_line_with_a_handler_fires_for_each_wait():
    calls, found = Calls(), []
    line.irq(calls)

    def scheduled(_):
        for _ in range(3):
            fire()
            found.append(line.wait(1000))

    micropython.schedule(scheduled, None)
    settle()
    assert found == [True] * 3
    assert calls.count == 1  # once it can run again
    quiet()


def test_without_a_handler_a_line_stays_masked_from_firing_to_the_next_wait():
    line.wait(0)
    fire()
    fire()  # pending at the GIC, for the line is masked
    assert line.wait(0) is True
    assert line.wait(10) is True
    assert line.wait(0) is False
    quiet()


def test_with_a_handler_wait_returns_too_and_the_handler_has_run():
    for hard in (False, True):
        calls = Calls()
        line.irq(calls, hard=hard)
        for n in range(3):
            fire()
            assert line.wait() is True
            assert calls.count == n + 1
            assert line.wait(0) is False
        quiet()


def test_a_handler_that_fires_its_own_line_lets_the_program_go_on():
    calls = Calls(lambda line: fire())
    line.irq(calls)
    fire()
    total = 0
    for n in range(1000):
        total += n
    assert total == 499500 and calls.count > 2
    quiet()


def test_so_it_does_where_the_scheduler_is_full():
    def fill_and_fire(line):
        try:
            while True:
                micropython.schedule(bool, None)
        except RuntimeError:
            mem32[SET_PENDING] = BIT

    handler = Calls(fill_and_fire)
    line.irq(handler)
    mem32[SET_PENDING] = BIT
    for _ in range(100):
        machine.idle()
    quiet()
    assert handler.count > 1


def test_wait_allocates_nothing():
    line.wait(0)

    def cycle():
        mem32[0x08000218] = 0x100
        assert line.wait(100)
        assert not line.wait(1)

    assert SET_PENDING == 0x08000218 and BIT == 0x100
    allocates_nothing(cycle)
    quiet()


def test_arguments_that_mean_nothing_are_refused():
    raises(ValueError, line.irq, 5)
    raises(ValueError, line.irq, None, 7)
    raises(TypeError, line.wait, "soon")


class Entropy:
    """The entropy device with a request that nobody waits for, and its interrupt."""

    def __enter__(self):
        self.rng = virtio.Rng(0)
        self.transport = self.rng.transport
        self.queue = self.rng.queues[0]
        self.queue.set_dev_notify(True)
        self.line = Interrupt(self.transport.intid)
        self.line.wait(0)  # what fired before, and nobody waited for, is not to count
        return self

    def __exit__(self, *_):
        self.line.irq(None)
        self.rng.deinit()

    def request(self):
        token = self.queue.add((), (bytearray(16),))
        self.transport.notify(0)
        return token


def test_a_device_is_waited_for():
    with Entropy() as entropy:
        for _ in range(50):
            token = entropy.request()
            while not entropy.queue.can_pop():
                assert entropy.line.wait(5000)
                entropy.transport.ack_interrupt()
            assert entropy.queue.pop_used(token) == 16


def test_a_level_that_is_acknowledged_late_fires_once():
    for hard in (False, True):
        with Entropy() as entropy:
            calls = Calls(lambda line: entropy.transport.ack_interrupt())
            entropy.line.irq(calls, hard=hard)
            for n in range(50):
                token = entropy.request()
                assert entropy.line.wait(5000)
                assert calls.count == n + 1
                entropy.queue.pop_used(token)


def test_a_device_that_is_never_acknowledged_stops_nothing():
    with Entropy() as entropy:
        calls = Calls()
        entropy.line.irq(calls)
        entropy.queue.pop_used(wait_used(entropy, entropy.request()))
        settle()
        assert calls.count > 2  # it is called again and again, and still the test goes on


def wait_used(entropy, token):
    while not entropy.queue.can_pop():
        machine.idle()
    return token


def test_every_virtio_slot_has_a_line():
    for _, _, intid in board.devices("virtio,mmio"):
        Interrupt(intid)
