"""Awaiting completions: tasks on one side, a device's interrupt on the other.

The interrupt sets one flag for the device. One task waits for it, looks which chains are
finished, and wakes those that wait for them; it lives while there are any. Nothing polls.
"""

# SPDX-License-Identifier: MIT

import asyncio
from asyncio import core

from .errors import DeviceFault


class Waiters:
    """The tasks that wait for chains of one device."""

    def __init__(self):
        self._waiting = []  # of (queue, token or None, free descriptors, asyncio.Event)
        self._flag = asyncio.ThreadSafeFlag()
        self._task = None
        self._loop = None

    def interrupted(self):
        """Have all waiting tasks look again. For a scheduled interrupt handler."""
        self._flag.set()

    async def finished(self, queue, token):
        """Return when the device has used the submitted chain. Raises `DeviceFault`.

        Other tasks run at least once meanwhile, however quick the device is. Whoever cancels
        this still has the chain, and must `abandon` it.
        """
        if queue.finished(token):
            await asyncio.sleep_ms(0)
        while not queue.finished(token):
            await self._wake(queue, token, 0)

    async def room(self, queue, count):
        """Return when the queue has that many free descriptors. Raises `DeviceFault`."""
        while queue.available_desc() < count:
            await self._wake(queue, None, count)

    def freed(self, queue):
        """Have those look again that wait for room: a chain was ended."""
        for other, token, _, event in self._waiting:
            if other is queue and token is None:
                event.set()

    async def _wake(self, queue, token, count):
        """Let others run until the chain is finished or, with no token, until there may be room."""
        waiter = (queue, token, count, asyncio.Event())
        self._waiting.append(waiter)
        try:
            self._dispatch()
            queue.set_dev_notify(True)
            # Looked at again after enabling: what was used before brings no interrupt.
            if _ready(queue, token, count):
                await asyncio.sleep_ms(0)
            else:
                await waiter[3].wait()
        finally:
            self._waiting.remove(waiter)
            if not any(other[0] is queue for other in self._waiting):
                queue.set_dev_notify(False)

    def _dispatch(self):
        # A task of an event loop that was thrown away never ends, and never runs again.
        if self._task is None or self._task.done() or self._loop is not core._task_queue:
            self._loop = core._task_queue
            self._task = asyncio.create_task(self._run())

    async def _run(self):
        while self._waiting:
            await self._flag.wait()
            for queue, token, count, event in self._waiting:
                try:
                    ready = _ready(queue, token, count)
                except DeviceFault:
                    ready = True  # the task that waits for it will see, and raise, the same
                if ready:
                    event.set()


def _ready(queue, token, count):
    """Whether the chain is finished or, with no token, whether so many descriptors are free."""
    if token is not None:
        return queue.finished(token)
    queue.can_pop()  # takes back what was abandoned, and used since
    return queue.available_desc() >= count
