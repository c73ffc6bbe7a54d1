# SPDX-License-Identifier: MIT
# Runs on the board: what a user's programs do with files, timers and tasks, at random, under the
# host's Ctrl-C. What a file holds follows from its name and its version; the host keeps a model.
#
#   B path n   is about to become version n (0: to be removed), and may be anything until
#   S path n   it is that, and synced
#   X what     is not as it must be

import asyncio
import gc
import os
import random
import struct
import time

import machine
import vfs
import virtio

PATTERN = 4  # the disk whose sector n is n, 128 times over
FOLDERS = ("/u", "/vdb/u", "/vdc/u", "/vdd/u")
BY_HAND = ("/vdc", "/vdd")  # mounted without the cache
NAMES = 6
LONGEST = 12000


def content(path, version):
    word = sum(path.encode()) * 7919 + version
    return struct.pack("<II", version, word) * (word * 104729 % (LONGEST // 8))


def deep(levels, function, *args):
    """Call the function where the stack shows nothing of what was dropped."""
    return deep(levels - 1, function, *args) if levels else function(*args)


class Lost(Exception):
    pass


def why_not_mounted(number):
    """What keeps a disk from being mounted, as far as it does so again."""
    try:
        disk = virtio.Block(number)
        return "%r, %s" % (virtio.partitions(disk), virtio.mount(disk, "/again"))
    except Exception as error:
        return repr(error)


class User:
    def __init__(self, seed, version, known):
        random.seed(seed)
        self.version = version
        self.known = known  # of files that are synced, their versions
        self.counts = {}
        self.interrupts = 0
        self.moving = None  # what is being mounted anew
        self.deep = False
        self.suspect = None  # an error in a timer, unless Ctrl-C comes behind it
        self.timer = machine.Timer(-1)  # one, so that Ctrl-C cannot leave another behind
        self.ticking = False
        self.mounted = {}
        self.disk = None

    def begin(self):
        """Mount by hand what the start has mounted otherwise, unless that was done."""
        disks = {device.transport.slot: device for device in virtio.opened()}
        transports = [t for t in virtio.scan() if t.device_type == 2]
        for number, point in enumerate(("/", "/vdb", "/vdc", "/vdd")):
            slot = transports[number].slot
            if slot not in disks:
                raise Lost("%s was not mounted: %s" % (point, why_not_mounted(number)))
            self.mounted[point] = disks[slot]
        there = os.listdir("/")
        for point in self.mounted:  # Ctrl-C may have come before one was mounted again
            if point in BY_HAND or point != "/" and point[1:] not in there:
                self.remount(point)
        for folder in FOLDERS:
            if "u" not in os.listdir(folder[:-2] or "/"):
                os.mkdir(folder)
        self.disk = disks.get(transports[PATTERN].slot) or virtio.Block(PATTERN)

    def run(self, ms):
        """Do this and that for so long; Ctrl-C ends a step, and not this."""
        start = time.ticks_ms()
        while True:
            try:
                if not self.disk:
                    self.begin()
                while time.ticks_diff(time.ticks_ms(), start) < ms:
                    self.step()
                return
            except KeyboardInterrupt:
                self.suspect = None
                self.interrupts += 1
            except OSError as error:
                self.behind(error)

    def behind(self, error):
        """Where the device was slow Ctrl-C has ended the wait, and comes behind its error."""
        try:
            for _ in range(10):
                pass
        except KeyboardInterrupt:
            self.interrupts += 1
            return
        raise error

    def end(self):
        self.timer.deinit()
        asyncio.new_event_loop()
        if self.moving:
            self.remount(self.moving)
        for path in sorted(self.known):
            self.check(path)

    def step(self):
        if self.moving:  # Ctrl-C came before it was there again
            self.remount(self.moving)
        if self.suspect:
            raise Lost("in a timer: %r" % self.suspect)
        name, action = random.choice(ACTIONS)
        self.counts[name] = self.counts.get(name, 0) + 1
        action(self)

    # Files

    def any(self):
        return "%s/f%d" % (random.choice(FOLDERS), random.randrange(NAMES))

    def begins(self, path, version):
        print("B", path, version)
        self.known.pop(path, None)

    def synced(self, path, version):
        self.known[path] = version
        print("S", path, version)

    def next(self):
        self.version += 1
        return self.version

    def write(self):
        path, version = self.any(), self.next()
        self.begins(path, version)
        data = content(path, version)
        size = random.choice((100, 512, 1000, 4096))
        with open(path, "wb") as file:
            for at in range(0, len(data), size):
                file.write(data[at : at + size])
        self.synced(path, version)

    def write_and_flush(self):
        path, version = self.any(), self.next()
        self.begins(path, version)
        file = open(path, "wb")
        file.write(content(path, version))
        file.flush()
        self.synced(path, version)

    def drop(self):
        # Names of their own: what the collector closes later is what was written last.
        file = open("%s/g%d" % (random.choice(FOLDERS), random.randrange(4)), "wb")
        file.write(bytes(random.randrange(LONGEST)))
        file = None

    def remove(self):
        path = self.any()
        if path in self.known and self.known[path]:
            self.begins(path, 0)
            os.remove(path)
            os.sync()
            self.synced(path, 0)

    def rename(self):
        path = self.any()
        version = self.known.get(path)
        if version:
            self.begins(path, version)
            folder = path[: path.rindex("/")]
            os.rename(path, folder + "/moved")
            os.rename(folder + "/moved", path)
            os.sync()
            self.synced(path, version)

    def read(self):
        if self.known:
            self.check(random.choice(list(self.known)))

    def check(self, path):
        version = self.known[path]
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            if error.errno != 2:
                raise
            data = None
        if self.known.get(path) != version:
            return
        if data != (content(path, version) if version else None):
            raise Lost("%s version %d is %s" % (path, version, data and (len(data), data[:16])))

    def list(self):
        folder = random.choice(FOLDERS)
        names = os.listdir(folder)
        for path, version in self.known.items():
            if version and path.startswith(folder + "/") and path.rsplit("/", 1)[1] not in names:
                raise Lost("%s is not in %s" % (path, names))

    def folders(self):
        path = random.choice(FOLDERS) + "/d"
        try:
            os.mkdir(path)
        except OSError:
            pass
        os.rmdir(path)

    def sync(self):
        os.sync()

    def mount(self):
        self.remount(random.choice(("/vdb", "/vdc", "/vdd")))

    def remount(self, point):
        disk = self.mounted[point]
        self.moving = point
        if point[1:] in os.listdir("/"):
            deep(40, vfs.umount, point)
        disk.flush()
        self.mount_one(disk, point)
        self.moving = None

    def mount_one(self, disk, point):
        if point == "/vdc":
            vfs.mount(vfs.VfsFat(disk), point)
        elif point == "/vdd":
            vfs.mount(vfs.VfsLfs2(disk, readsize=512, progsize=512), point)
        else:
            virtio.mount(disk, point)

    # What comes in between

    def timers(self):
        self.ticking = not self.ticking
        if self.ticking:
            self.timer.init(period=random.choice((10, 40, 100, 300)), callback=self.tick)
        else:
            self.timer.deinit()

    def tick(self, timer):
        if self is not current:  # Ctrl-C has left the timer behind
            timer.deinit()
            return
        try:
            try:
                os.urandom(10)
            except virtio.AlreadyUsed:  # the program is opening the device for its own
                pass
            self.raw()
            if not self.moving:
                self.read()
                with open(random.choice(FOLDERS) + "/tick", "wb") as file:
                    file.write(b"tick" * 200)
        except Lost as error:
            print("X in a timer:", error)
        except RuntimeError:
            if not self.deep:
                raise
        except OSError as error:
            if not self.deep:
                self.suspect = error

    def raw(self):
        if self.disk:
            buf = bytearray(512 * random.randrange(1, 9))
            n = random.randrange(4000)
            self.disk.readblocks(n, buf)
            if buf[:4] != struct.pack("<I", n) or buf[-512:-508] != struct.pack(
                "<I", n + len(buf) // 512 - 1
            ):
                raise Lost("sector %d is %s" % (n, buf[:8]))

    def many(self):
        bufs = [(random.randrange(4000), bytearray(512)) for _ in range(20)]
        self.disk.readmany(bufs)
        for n, buf in bufs:
            if buf[:4] != struct.pack("<I", n):
                raise Lost("sector %d of many is %s" % (n, buf[:8]))

    def urandom(self):
        os.urandom(random.randrange(1, 400))

    def collect(self):
        gc.collect()

    def recurse(self):
        def walk(k):
            if k % 20 == 0:
                self.read()
            walk(k + 1)

        self.deep = True
        try:
            walk(0)
        except (RuntimeError, OSError):  # below a filesystem it is an error of the disk
            pass
        finally:
            self.deep = False

    def sleep(self):
        time.sleep_ms(random.randrange(20))

    # Tasks

    async def reads(self, rounds):
        buf = bytearray(512)
        while rounds:
            n = random.randrange(4000)
            await self.disk.aread(n, buf)
            if buf[:4] != struct.pack("<I", n):
                raise Lost("sector %d, awaited, is %s" % (n, buf[:8]))
            rounds -= 1

    async def gather(self):
        await asyncio.gather(*[self.reads(5) for _ in range(8)])

    async def cancel(self):
        tasks = [asyncio.create_task(self.reads(1000)) for _ in range(8)]
        await asyncio.sleep_ms(random.randrange(10))
        for task in tasks:
            task.cancel()

    def tasks(self):
        asyncio.run(asyncio.wait_for(self.gather(), 20))

    def cancelled(self):
        asyncio.run(self.cancel())

    def dropped_loop(self):
        async def leave():
            for _ in range(8):
                asyncio.create_task(self.reads(1000))
            await asyncio.sleep_ms(random.randrange(5))

        asyncio.new_event_loop()
        asyncio.run(leave())
        asyncio.new_event_loop()


WEIGHTS = (
    (User.write, 8),
    (User.write_and_flush, 2),
    (User.drop, 3),
    (User.remove, 3),
    (User.rename, 2),
    (User.read, 8),
    (User.list, 3),
    (User.folders, 2),
    (User.sync, 2),
    (User.mount, 1),
    (User.timers, 1),
    (User.raw, 2),
    (User.many, 2),
    (User.urandom, 2),
    (User.collect, 1),
    (User.recurse, 1),
    (User.sleep, 1),
    (User.tasks, 1),
    (User.cancelled, 1),
    (User.dropped_loop, 1),
)
ACTIONS = []
for name in dir(User):
    for action, weight in WEIGHTS:
        if getattr(User, name) is action:
            ACTIONS += [(name, action)] * weight


current = None


def main(seed, ms, version, known):
    global current
    user = current = User(seed, version, known)
    try:
        user.run(ms)
        user.end()
    except Lost as error:
        print("X", error)
    finally:
        print("counts", user.counts, user.interrupts)
