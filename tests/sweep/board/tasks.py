# SPDX-License-Identifier: MIT
"""What a program awaits: requests of one task and of many, cancelled, timed out, thrown away."""

import asyncio
import time

import virtio
from devices import NEW, Devices, any_end, old_or_new, pattern, same
from engine import expect


async def _kept(coroutine, kept):
    kept.append(await coroutine)


def awaited(coroutine):
    """Run it in a new loop; returns what it does.

    Where there is no memory, `asyncio.run` loses that, and `wait_for` what was raised: no exception
    can be made that has it. That it ends is seen by the host.
    """
    kept = [None]
    kept.pop()
    asyncio.new_event_loop()
    asyncio.run(_kept(coroutine, kept))
    return kept.pop()


class Tasks(Devices):
    def __init__(self, ring):
        self.turns = 0
        super().__init__(ring, OPERATIONS)

    def bears(self, error):
        # What gather makes of a task's MemoryError where there is none for its own.
        return isinstance(error, RuntimeError)

    def check(self):
        awaited(self.works_awaited())
        asyncio.new_event_loop()
        super().check()

    async def works_awaited(self):
        turns = self.turns
        bufs = [bytearray(512) for _ in range(8)]
        await asyncio.gather(*[self.disk.aread(n, buf) for n, buf in enumerate(bufs)])
        expect(b"".join(bufs) == pattern(0, 8), "an awaited read is something else")
        await self.disk.areadmany([(n, buf) for n, buf in enumerate(bufs)])
        await self.rng.areadinto(bytearray(100))
        await asyncio.sleep_ms(1)
        expect(self.turns == turns, "a task of a loop that was thrown away runs")


async def _aread(world):
    buf = bytearray(4096)
    await world.disk.aread(40, buf)
    return buf


async def _awrite(world):
    await world.disk.awrite(60, NEW)


async def _aflush(world):
    await world.disk.aflush()


async def _areadmany(world):
    bufs = [bytearray(512) for _ in range(8)]
    await world.disk.areadmany([(n, buf) for n, buf in enumerate(bufs)])
    return b"".join(bufs)


async def _awritemany(world):
    await world.disk.awritemany([(60 + n, NEW[512 * n : 512 * n + 512]) for n in range(8)])


async def _areadinto(world):
    return await world.rng.areadinto(bytearray(300))


async def _gather(world):
    bufs = [bytearray(512) for _ in range(8)]
    await asyncio.gather(*[world.disk.aread(n, buf) for n, buf in enumerate(bufs)])
    return b"".join(bufs)


async def _mixed(world):
    """Blocking and awaited ones at a time."""
    buf, other = bytearray(512), bytearray(512)
    task = asyncio.create_task(world.disk.aread(8, buf))
    await asyncio.sleep_ms(0)
    world.disk.readblocks(9, other)
    await task
    return buf + other


async def _cancelled(world):
    tasks = [asyncio.create_task(world.disk.aread(n, bytearray(8192))) for n in range(3)]
    await asyncio.sleep_ms(0)
    for task in tasks:
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass


async def _timed_out(world):
    for _ in range(2):
        try:
            await asyncio.wait_for_ms(world.disk.areadmany([(0, bytearray(1 << 20))]), 0)
        except asyncio.TimeoutError:
            pass


async def _turns(world, n):
    buf = bytearray(512)
    while True:
        await world.disk.aread(n, buf)
        world.turns += 1


async def _dropped(world):
    """Its tasks are never awaited, and the loop is thrown away."""
    for n in range(8):
        asyncio.create_task(_turns(world, n))
    for _ in range(1000):  # those that had no memory do not get there
        if world.turns >= 16:
            break
        await asyncio.sleep_ms(1)


def dropped(world):
    world.turns = 0
    awaited(_dropped(world))


def nothing_runs(world, done, _):
    asyncio.new_event_loop()


def runs(coroutine):
    return lambda world: awaited(coroutine(world))


OPERATIONS = {
    "aread": (None, runs(_aread), same(pattern(40, 8))),
    "awrite": (None, runs(_awrite), old_or_new(60, 8, NEW)),
    "aflush": (None, runs(_aflush), any_end),
    "areadmany": (None, runs(_areadmany), same(pattern(0, 8))),
    "awritemany": (None, runs(_awritemany), old_or_new(60, 8, NEW)),
    "areadinto": (None, runs(_areadinto), any_end),
    "gather": (None, runs(_gather), same(pattern(0, 8))),
    "mixed": (None, runs(_mixed), same(pattern(8, 2))),
    "cancelled": (None, runs(_cancelled), any_end),
    "timed-out": (None, runs(_timed_out), any_end),
    "dropped": (None, dropped, nothing_runs),
}
