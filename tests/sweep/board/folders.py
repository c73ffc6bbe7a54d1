# SPDX-License-Identifier: MIT
"""What a program does with a folder of the host, against the model of files.py. For engine.py.

The host has put into the folder what HOST says.
"""

import asyncio
import os

import vfs
import virtio
from devices import TIMEOUT_MS
from engine import eventually, expect
from files import KEEP, NEW, OPERATIONS, Files, any_end, content, same, write_new
from tasks import awaited

# A folder with many files, each as long as its number, and one below more folders than a request names.
HOST = ("many", "deep", "link")
MANY = 40
DEEP = "/m/deep" + "/x" * 20 + "/file"


class Folders(Files):
    others = ("e", "n") + HOST

    def __init__(self, ring):
        super().__init__(ring, "9P", True, OPERATIONS_HERE)

    def open(self, ring):
        self.ring = ring
        for device in virtio.opened():
            if isinstance(device, virtio.P9):
                vfs.umount("/")  # the start has put it there
                device.deinit()
        return self.opened()

    def opened(self):
        device = virtio.P9("host", ring=self.ring)
        device.timeout_ms = TIMEOUT_MS
        return device

    def format(self):
        """The host has emptied it."""

    def flush(self):
        os.sync()

    def before(self, kind):
        if self.disk is None:
            self.disk = self.opened()
        asyncio.new_event_loop()
        super().before(kind)

    def closed(self):
        self.umount()
        for device in virtio.opened():
            device.deinit()
        self.disk = None

    def visit(self):
        try:
            super().visit()
        except OSError:
            if not self.unsettled:
                raise
            self.model["/m/s"] = None

    def check(self):
        # A task that was interrupted has its file, and its request, as long as its loop is there.
        asyncio.new_event_loop()
        if not self.mounted():
            self.mount()
        expect(awaited(_areadinto(self)) == KEEP, "an awaited read is something else")
        asyncio.new_event_loop()
        super().check()

    def queues_are_whole(self):
        disk = self.disk

        def settled():
            disk.reap()
            return disk._free == (1 << 30) - 1 and sum(disk._fids) == 1

        eventually(settled, lambda: "fids %r, slots %x" % (sum(disk._fids), disk._free))
        super().queues_are_whole()


def list_many(world):
    return sorted([(int(name), size) for name, _, _, size in os.ilistdir("/m/many")])


def read_deep(world):
    with open(DEEP) as file:
        return file.read()


def read_by_link(world):
    with open("/m/link/../d/../link/inner", "rb") as file:
        return file.read()


def lines(world):
    with open("/m/swept_module.py", "rb") as file:
        return sum([len(line) for line in file])


def exclusive(world):
    with open("/m/w", "xb") as file:
        file.write(NEW)


def missing(world):
    for name in ("/m/nothing", "/m/nothing/at/all", "/m/keep/file"):
        try:
            os.stat(name)
        except OSError:
            pass


async def _areadinto(world):
    buf = bytearray(len(KEEP))
    with open("/m/keep", "rb") as file:
        count = await world.disk.areadinto(file, buf)
    return buf[:count]


async def _awrite(world):
    with open("/m/w", "wb") as file:
        await world.disk.awrite(file, NEW)


async def _gather(world):
    await asyncio.gather(_areadinto(world), _awrite(world), _areadinto(world))


def runs(coroutine):
    return lambda world: awaited(coroutine(world))


def closed(world):
    world.closed()
    world.unsettled = True


def open_device(world):
    world.disk = world.opened()


def close_device(world):
    world.disk.deinit()


def reset_device(world):
    world.disk.reset()


def reset_again(world, done, _):
    if not done:
        world.disk.reset()
    world.model["/m/s"] = content("/m/s")


def unsettled(world):
    world.unsettled = True


def unmounted(world):
    world.umount()
    world.unsettled = True


def reopen(world, done, _):
    world.closed()
    world.disk = world.opened()
    world.mount()


OPERATIONS_HERE = {
    name: operation for name, operation in OPERATIONS.items() if name not in ("format", "made")
}
OPERATIONS_HERE.update(
    {
        "list-many": (None, list_many, same([(n, n) for n in range(MANY)])),
        "deep": (None, read_deep, same("deep")),
        "link": (None, read_by_link, same(KEEP[:700])),
        "lines": (None, lines, same(31 + 100 * 9)),
        "exclusive": (None, exclusive, write_new),
        "missing": (None, missing, any_end),
        "areadinto": (None, runs(_areadinto), same(KEEP)),
        "awrite": (None, runs(_awrite), write_new),
        "gather": (None, runs(_gather), write_new),
        "open": (closed, open_device, reopen),
        "close": (unmounted, close_device, reopen),
        "reset": (unsettled, reset_device, reset_again),
    }
)
