# SPDX-License-Identifier: MIT
"""Runs an operation with something let in at a chosen point, and looks at what is left.

Runs on the board, on the firmware with the module inject. A world has operations by name, each
(prepare, run, verify): `prepare()` before it, or None; `run()`, which is interrupted;
`verify(done, result)` after it, where *done* says whether `run` returned. It also has

    before(kind)    called before `prepare`
    visit()         what the function that is injected does
    check()         raises unless the world is whole
    bears(error)    whether `run` may raise this instead of what was injected
"""

import gc
import io
import sys
import time

import inject
import micropython

INJECTED = {
    inject.CTRL_C: KeyboardInterrupt,
    inject.NO_MEMORY: MemoryError,
    inject.NO_MORE_MEMORY: MemoryError,
    inject.RECURSION: RuntimeError,
    inject.RAISED: RuntimeError,
}


class Broken(Exception):
    """Something is not as it must be; str() says what."""


def expect(true, *what):
    if not true:
        raise Broken(" ".join([str(word) for word in what]))


def bound(world, table):
    """The operations of a world, of a table whose functions are called with it."""
    return {
        name: (
            prepare and (lambda prepare=prepare: prepare(world)),
            lambda run=run: run(world),
            lambda done, result, verify=verify: verify(world, done, result),
        )
        for name, (prepare, run, verify) in table.items()
    }


def text(error):
    """An exception with the place where it was raised, as one line."""
    out = io.StringIO()
    sys.print_exception(error, out)
    lines = [line.strip() for line in out.getvalue().strip().split("\n")]
    return " < ".join([lines[-1]] + [line[5:] for line in lines[-2:0:-1]])


def count(world, name, kind):
    """How many points of that kind the operation has."""
    attempt(world, name, getattr(inject, kind), 0)
    return inject_points


def sweep(world, name, kind, points):
    """Try the points; returns None, or the one that failed and what was found."""
    for n in points:
        print(n, end=" ")
        try:
            attempt(world, name, getattr(inject, kind), n)
        except Exception as error:
            return n, str(error) if isinstance(error, Broken) else text(error)
    return None


def attempt(world, name, kind, n):
    global inject_points
    prepare, run, verify = world.operations[name]
    gc.collect()
    world.before(kind)
    if prepare:
        prepare()
    visited, result, error = [], None, None

    def visit(_):
        try:
            world.visit()
            visited.append(None)
        except BaseException as visit_error:
            visited.append(visit_error)

    try:
        result = inject.call(run, kind, n, visit)
    except BaseException as run_error:
        error = run_error
    fired, late, inject_points = inject.fired(), inject.late(), inject.points()
    settle()
    judge(world, kind, fired, late, error)
    if kind == inject.SCHEDULE and fired:
        expect(visited, "the scheduled function has not run")
        expect(visited[0] is None, "in the scheduled function:", visited[0] and text(visited[0]))
    interpreter()
    verify(error is None, result)
    world.check()


def settle():
    for _ in range(10):
        pass


def judge(world, kind, fired, late, error):
    """Whether the operation ended as it may."""
    if error is None:
        expect(kind != inject.CTRL_C or not fired or late, "Ctrl-C was swallowed")
    elif not fired:
        raise error
    elif not isinstance(error, INJECTED.get(kind, ())) and not (
        kind in INJECTED and world.bears(error)
    ):
        raise Broken("it raised " + text(error))


def interpreter():
    """Ctrl-C, the scheduler and the heap are as they were."""
    ran = []
    try:
        inject.call(settle, inject.CTRL_C, 1)
        raise Broken("Ctrl-C is held back")
    except KeyboardInterrupt:
        pass
    micropython.schedule(ran.append, None)
    settle()
    expect(ran, "the scheduler is locked")
    bytearray(100)


def eventually(true, what, ms=3000):
    """Wait until true() is."""
    start = time.ticks_ms()
    while not true():
        expect(time.ticks_diff(time.ticks_ms(), start) < ms, what())
        time.sleep_ms(1)


def deep(levels, function, *args):
    """Call the function where the stack is not looked at afterwards."""
    return deep(levels - 1, function, *args) if levels else function(*args)
