# SPDX-License-Identifier: MIT
"""The board's own part under stress: handlers, timers, recursion and compile bombs at random.

Each step is a program of its own, under the host's Ctrl-C; after each the board must answer.
"""

import random
import time
from dataclasses import dataclass, field

from emulator import BoardError, Ended, Hung, Machine
from soak.powercut import Lost
from soak.users import Console

PATIENCE = (
    240  # seconds, that a step may take beyond its own time: bombs are compiled in n squared
)
STEPS = 60  # in a life of the board

HEAD = """
import board, gc, hashlib, json, machine, micropython, os, random, re, sys, time
random.seed({seed})
line = board.Interrupt(200)
def fire():
    machine.mem32[0x08000218] = 1 << 8
def until(ms):
    start = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), start) < ms:
        yield None
def deep(n):
    return deep(n + 1)
def deepest(n):
    if n % 5 == 0:
        fire()
    return deepest(n + 1)
timers = []
"""
TAIL = """
for timer in timers:
    timer.deinit()
line.irq(None)
"""

HANDLERS = (
    "pass",
    "raise ValueError('a handler')",
    "made = [n for n in range(100)]",
    "deep(0)",
    "print('handled')",
    "time.sleep_ms(3)",
    "machine.idle()",
    "os.urandom(8)",
    "micropython.schedule(print, 'scheduled')",
    "fire()",
    "gc.collect()",
    "raise KeyboardInterrupt",
    "hash(nested)",
    "exec('x=' + '(' * 300 + ')' * 300)",
)

# Text that is nested n deep, for exec or eval.
BOMBS = (
    "'(' * n + '1' + ')' * n",
    "'[' * n + ']' * n",
    "'{1:' * n + '1' + '}' * n",
    "'f(' * n + '1' + ')' * n",
    "'a[' * n + '1' + ']' * n",
    "'not ' * n + '1'",
    "'-' * n + '1'",
    "'lambda:' * n + '1'",
    "'a' + '.a' * n",
    "'a' + '()' * n",
    "'1' + '**1' * n",
    "'1 if 1 else ' * n + '1'",
    "'1' + '+1' * n",
    "'(' * n",
    "'[x for x in ' * n + '[]' + ']' * n",
    "'a=' * n + '1'",
    "'if 1:' * n + 'pass'",
    "''.join([' ' * i + 'if 1:\\n' for i in range(min(n, 1000))]) + ' ' * min(n, 1000) + 'pass'",
)
DEPTHS = (100, 300, 1000, 3000, 5000, 10000, 20000, 60000)

# What a program does while interrupts and Ctrl-C come; {ms} is its time.
WORK = (
    "for _ in until({ms}):\n    fire()",
    "for _ in until({ms}):\n    fire()\n    time.sleep_ms(1)",
    "for _ in until({ms}):\n    try:\n        deep(0)\n    except RuntimeError:\n        fire()",
    "for _ in until({ms}):\n    try:\n        deepest(0)\n    except RuntimeError:\n        pass",
    "for _ in until({ms}):\n    try:\n        hash(nested)\n    except RuntimeError:\n        fire()",
    "for _ in until({ms}):\n    try:\n        repr(nested)\n    except RuntimeError:\n        fire()",
    "for _ in until({ms}):\n    try:\n        json.loads('[' * 5000)\n    except (ValueError, RuntimeError):\n        fire()",
    "for _ in until({ms}):\n    fire()\n    [bytearray(5000) for _ in range(100)]",
    "for _ in until({ms}):\n    fire()\n    os.urandom(100)",
    "for _ in until({ms}):\n    line.irq(None)\n    line.irq(handler, hard=hard)\n    fire()",
    "for _ in until({ms}):\n    fire()\n    print('at work')",
)
LOOPS = (
    "@micropython.native\ndef loop():\n    while True:\n        pass\nloop()",
    "@micropython.viper\ndef loop():\n    while True:\n        pass\nloop()",
    "sum(range(10 ** 9))",
    "while True:\n    pass",
    "re.match('(x+x+)+y', 'x' * 26)",
)


@dataclass
class Counts:
    lives: int = 0
    steps: dict = field(default_factory=dict)
    presses: int = 0
    resets: int = 0

    def __str__(self):
        steps = ", ".join(f"{count} {name}" for name, count in sorted(self.steps.items()))
        return f"{self.lives} lives, {steps}, {self.presses} Ctrl-C, {self.resets} soft resets"


class Stress:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.counts = Counts()
        self.code = ""  # of the step under way

    def live(self, until):
        console = Console(Machine(modern=self.random.random() < 0.5))
        try:
            for _ in range(STEPS):
                if time.monotonic() < until:
                    self.step(console)
        except (Hung, Ended, Lost) as error:
            raise Lost(f"{self.counts}: {error}\nin:\n{self.code}") from error
        finally:
            console.board.close()
        self.counts.lives += 1

    def step(self, console):
        chance = self.random
        name = chance.choice(("handlers", "handlers", "handlers", "bombs", "bombs", "loops"))
        ms = chance.randrange(50, 1500)
        self.code, presses = getattr(self, name)(ms)
        # A handler may print a long traceback at each step of the program, which then has no end.
        output, error = console.run(self.code, ms / 1000 + PATIENCE, presses, ended=True)
        self.counts.steps[name] = self.counts.steps.get(name, 0) + 1
        self.counts.presses += len(presses)
        last = error.strip().rpartition("\n")[2]
        if error and not last.startswith("KeyboardInterrupt") or "FATAL" in output:
            raise Lost(f"{output[-1000:]}{error}")
        try:
            self.answers(console)
        except Lost:
            # A timer that Ctrl-C has left behind may fill the scheduler's queue: it ends here.
            console.soft_reset()
            self.answers(console)
        if chance.random() < 0.2:
            console.soft_reset()
            self.counts.resets += 1

    def answers(self, console):
        """Code, the scheduler, a timer."""
        code = """
import machine, time
for timer in globals().get("timers", ()):  # Ctrl-C may have come before
    timer.deinit()
ran = []
timer = machine.Timer(period=1, mode=machine.Timer.ONE_SHOT, callback=ran.append)
start = time.ticks_ms()
while not ran and time.ticks_diff(time.ticks_ms(), start) < 5000:
    time.sleep_ms(1)
print(len(ran))
"""
        output, error = console.run(code, 30)
        if error.startswith("Traceback") and "KeyboardInterrupt" in error:
            output, error = console.run(code, 30)  # one that was pressed late
        # What was still scheduled may print as well.
        if "1" not in output.split("\n") or error:
            raise Lost(f"it answers {output!r} {error!r}")

    def handlers(self, ms):
        chance = self.random
        lines = [HEAD.format(seed=chance.randrange(1 << 30)), "nested = ()"]
        lines += [f"for _ in range({chance.choice((10, 1000, 20000))}):\n    nested = (nested,)"]
        hard = chance.random() < 0.5
        # A hard one that fires its own line leaves the program no instruction.
        body = chance.choice([body for body in HANDLERS if not hard or body != "fire()"])
        lines += [
            f"def handler(line):\n    {body}",
            f"hard = {hard}\nline.irq(handler, hard=hard)",
        ]
        for _ in range(chance.randrange(3)):
            lines += [f"def tick(timer):\n    {chance.choice(HANDLERS)}"]
            period = chance.choice((1, 2, 5, 20))
            lines += [f"timers.append(machine.Timer(period={period}, callback=tick))"]
        work = [chance.choice(WORK).format(ms=ms // 2) for _ in range(2)]
        body = "\n".join(work).replace("\n", "\n    ")
        lines += [f"try:\n    {body}\nfinally:" + TAIL.replace("\n", "\n    ")]
        return "\n".join(lines), self.presses(ms, chance.randrange(6))

    def bombs(self, ms):
        chance = self.random
        lines = [HEAD.format(seed=chance.randrange(1 << 30)), "def f(x):\n    return x"]
        lines += ["def handler(line):\n    pass", "line.irq(handler)"]
        for _ in range(3):
            text, n = chance.choice(BOMBS), chance.choice(DEPTHS)
            lines += [f"n = {n}", f"text = {text}", "try:"]
            lines += ["    " + chance.choice(("exec(text)", "eval(text)", "exec('x = ' + text)"))]
            lines += ["except (RuntimeError, MemoryError, SyntaxError):", "    fire()"]
            # The values that there are otherwise.
            lines += ["except (NameError, AttributeError, TypeError, OverflowError):", "    pass"]
        lines += ["text = None", "line.irq(None)"]
        return "\n".join(lines), self.presses(ms, chance.randrange(3))

    def loops(self, ms):
        """What only a third Ctrl-C within two seconds may end."""
        code = HEAD.format(seed=0) + self.random.choice(LOOPS)
        presses = [0.3 + 0.2 * n for n in range(3)]
        return code, presses + [at + 3 for at in presses]

    def presses(self, ms, count):
        return sorted(self.random.uniform(0, ms / 1000) for _ in range(count))


def soak(folder, minutes, seed):
    stress = Stress(seed)
    until = time.monotonic() + 60 * minutes
    try:
        while time.monotonic() < until:
            stress.live(until)
    except (BoardError, OSError) as error:
        raise Lost(f"{stress.counts}: {error}") from error
    yield f"{stress.counts}, the board answers"
