# SPDX-License-Identifier: MIT
"""The module inject, by which other tests choose the point where something comes in."""

import gc

import inject
import pytest

pytestmark = pytest.mark.board(interface=("modern",), firmware="build/sweep/firmware.elf")

RAISED = (
    (inject.CTRL_C, KeyboardInterrupt),
    (inject.NO_MEMORY, MemoryError),
    (inject.NO_MORE_MEMORY, MemoryError),
    (inject.RECURSION, RuntimeError),
)


def operation():
    """It jumps, allocates and calls."""
    made = []
    for n in range(5):
        made.append(call(n))


def call(n):
    return [n]


def count(kind):
    inject.call(operation, kind, 0, print)
    assert not inject.fired()
    return inject.points()


def test_each_point_is_reached_once():
    for kind, error in RAISED:
        points = count(kind)
        assert points >= 5
        for n in range(1, points + 1):
            try:
                inject.call(operation, kind, n)
            except error:
                assert inject.points() == n
            else:
                assert inject.late(), (error, n, points)
            assert inject.fired()
        inject.call(operation, kind, points + 1)
        assert not inject.fired()


def test_a_function_is_scheduled_at_each_jump():
    ran = []
    points = count(inject.SCHEDULE)
    for n in range(1, points + 1):
        inject.call(operation, inject.SCHEDULE, n, ran.append)
    assert len(ran) == points >= 5


def test_a_collection_comes_at_each_allocation_and_jump():
    def drop():
        for _ in range(10):  # the stack may still name one or two
            bytearray(10000)

    for n in range(1, count(inject.COLLECT) + 1):
        drop()
        before = gc.mem_alloc()
        inject.call(operation, inject.COLLECT, n)
        assert gc.mem_alloc() < before - 50000, n


def test_what_is_not_one_call_can_be_armed():
    inject.arm(inject.RECURSION, 2)
    try:
        call(0)
        call(1)
    except RuntimeError:
        pass
    assert inject.fired()
    inject.arm(inject.RECURSION, 1)
    inject.disarm()
    call(0)
    assert not inject.fired()


def test_no_memory_is_once_and_no_more_memory_stays():
    for kind, succeed in ((inject.NO_MEMORY, 1), (inject.NO_MORE_MEMORY, 0)):
        made = []
        inject.arm(kind, 1)
        for _ in range(2):
            try:
                made.append(bytearray(100))
            except MemoryError:
                pass
        inject.disarm()
        assert len(made) == succeed
