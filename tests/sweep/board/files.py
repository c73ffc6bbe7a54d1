# SPDX-License-Identifier: MIT
"""What a program does with a filesystem, against a model of what is on it. For engine.py."""

import gc
import os
import sys

import inject
import vfs
import virtio
from devices import FAULTY, TIMEOUT_MS
from engine import bound, deep, eventually, expect, settle
from virtio.platform import dma
from virtio.transport import mmio

KEEP = b"Nothing that was synced is lost. " * 91
OLD = bytes([n * 7 & 0xFF for n in range(2500)])
NEW = bytes([n * 5 + 1 & 0xFF for n in range(3100)])
DROPPED = b"dropped" * 300
MODULE = b"value = [n for n in range(30)]\n" + b"# filled\n" * 100
_ENOENT = 2


def put(path, content):
    with open(path, "wb") as file:
        file.write(content)


def content(path):
    """What a file holds; None where there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        if error.errno != _ENOENT:
            raise
        return None


def names(path):
    return sorted([entry[0] for entry in os.ilistdir(path)])


class Files:
    """Disk 1 with a filesystem, "FAT" or "littlefs", by virtio.mount or by hand."""

    others = ("e", "n")  # what may be in the root besides the model

    def __init__(self, ring, kind, cached, operations=None):
        self.kind = kind
        self.cached = cached
        self.disk = self.open(ring)
        self.free = dma.available()
        self.visits = 0
        self.unsettled = False
        self.make()
        sys.path.append("/m")
        self.operations = bound(self, operations or OPERATIONS)

    def open(self, ring):
        disk = virtio.Block(1, ring=ring)
        disk.timeout_ms = TIMEOUT_MS
        return disk

    # A filesystem and what is on it

    def make(self):
        self.format()
        self.mount()
        os.mkdir("/m/d")
        self.possible = {}
        self.left_open = False
        self.model = {
            "/m/keep": KEEP,
            "/m/d/inner": KEEP[:700],
            "/m/swept_module.py": MODULE,
        }
        for path, data in self.model.items():
            put(path, data)

    def format(self):
        if self.cached:
            virtio.format(self.disk, self.kind, confirm="erase")
        elif self.kind == "FAT":
            vfs.VfsFat.mkfs(self.disk)
        else:
            vfs.VfsLfs2.mkfs(self.disk, readsize=512, progsize=512)

    def mount(self):
        if self.cached:
            virtio.mount(self.disk, "/m")
        elif self.kind == "FAT":
            vfs.mount(vfs.VfsFat(self.disk), "/m")
        else:
            vfs.mount(vfs.VfsLfs2(self.disk, readsize=512, progsize=512), "/m")

    def flush(self):
        self.disk.flush()

    def mounted(self):
        return "m" in os.listdir("/")

    def umount(self):
        if self.mounted():
            vfs.umount("/m")

    # What the engine asks for

    def before(self, kind):
        os.chdir("/")
        self.unsettled = False
        if not self.mounted():
            self.mount()
        for path in ("/m/s", "/m/w", "/m/w2", "/m/dropped"):
            self.model.pop(path, None)
            if content(path) is not None:
                os.remove(path)
        if "e" in names("/m"):
            os.rmdir("/m/e")
        if kind == inject.COLLECT:
            deep(20, self.drop)
            deep(40, settle)

    def drop(self):
        file = open("/m/dropped", "wb")
        file.write(DROPPED)

    def bears(self, error):
        # An import of what cannot be read does not find it.
        return isinstance(error, (OSError, ImportError))

    def visit(self):
        """What a timer does that logs to the same filesystem."""
        try:
            expect(content("/m/keep") == KEEP, "the scheduled function reads something else")
            self.visits += 1
            data = b"visit %d" % self.visits * 100
            put("/m/s", data)
        except OSError:
            if not self.unsettled:
                raise
            data = content("/m/s") if self.mounted() else None
        self.model["/m/s"] = data

    def check(self):
        """The filesystem is what the model says, also after it was mounted anew."""
        deep(20, gc.collect)
        if not self.mounted():
            self.mount()
        data = content("/m/dropped")
        expect(
            data in (None, b"", DROPPED), "the dropped file is", data and (len(data), data[:16])
        )
        self.model["/m/dropped"] = data
        # The collector has not seen it: what FAT has given it is nobody's after the mount.
        self.left_open = self.left_open or data == b""
        self.compare("at once")
        put("/m/n", OLD)
        self.umount()
        self.flush()
        self.mount()
        self.compare("after a new mount")
        self.possible = {}
        expect(content("/m/n") == OLD, "what was written since is", content("/m/n"))
        os.remove("/m/n")
        opened = virtio.opened()
        expect(opened == [self.disk], "opened:", opened)
        expect(self.disk.transport.status & FAULTY == mmio.DRIVER_OK, "not running")
        expect(dma.available() == self.free, dma.available(), "of", self.free, "bytes of DMA")
        self.queues_are_whole()

    def queues_are_whole(self):
        for queue in self.disk.queues:
            eventually(
                lambda: not queue.can_pop() and queue.available_desc() == queue.size,
                lambda: "%d descriptors of %r" % (queue.available_desc(), queue),
            )

    def compare(self, when):
        for path, wanted in self.model.items():
            data = content(path)
            expect(
                data == wanted or path in self.possible and self.possible[path](data),
                when,
                path,
                "is",
                data and (len(data), data[:16]),
                "and not",
                wanted and (len(wanted), wanted[:16]),
            )
            self.model[path] = data
        top = [path[3:] for path in self.model if "/" not in path[3:]]
        top = sorted([name for name in top if self.model["/m/" + name] is not None] + ["d"])
        found = [name for name in names("/m") if name not in self.others]
        expect(found == top, when, "in the root:", found)
        expect(names("/m/d") == ["inner"], when, "in the folder:", names("/m/d"))

    def settled(self, path, possible):
        """A file that was written to is one of these, and that is what it is from a new mount on."""
        deep(20, gc.collect)  # closes what was left open, if nothing on the stack looks like it
        data = content(path)
        expect(possible(data), path, "is", data and (len(data), data[:16], data[-16:]))
        self.model[path] = data
        self.possible[path] = possible


# Each operation is (prepare, run, verify), of the world.


def same(expected):
    def verify(world, done, result):
        expect(not done or result == expected, "it returned", result)

    return verify


def old_file(world):
    put("/m/w", OLD)
    world.model["/m/w"] = OLD


def read(world):
    with open("/m/keep", "rb") as file:
        return file.read()


def readinto(world):
    buf = bytearray(600)
    with open("/m/keep", "rb") as file:
        file.seek(1000)
        file.readinto(buf)
    return buf


def write(world):
    put("/m/w", NEW)


def written(world, done, _):
    world.settled(
        "/m/w",
        lambda data: (
            data == NEW or (not done and (data == OLD or data == NEW[: len(data or b"")]))
        ),
    )


def write_new(world, done, _):
    world.settled(
        "/m/w",
        lambda data: data == NEW or (not done and (data is None or data == NEW[: len(data)])),
    )


def append(world):
    with open("/m/w", "ab") as file:
        file.write(NEW)


def appended(world, done, _):
    whole = OLD + NEW
    world.settled(
        "/m/w",
        lambda data: (
            data == whole
            or (not done and data and len(data) >= len(OLD) and data == whole[: len(data)])
        ),
    )


def update(world):
    with open("/m/w", "r+b") as file:
        file.seek(512)
        file.write(NEW[:600])


def updated(world, done, _):
    """As far as it came, and the rest is the old."""
    ways = [OLD[:512] + NEW[:n] + OLD[512 + n :] for n in range(0 if not done else 600, 601)]
    world.settled("/m/w", lambda data: data in ways)


def not_flushed(world):
    old_file(world)
    world.flushed = False


def flush(world):
    with open("/m/w", "wb") as file:
        file.write(NEW[:1500])
        file.flush()
        world.flushed = True
        file.write(NEW[1500:])


def flushed(world, done, _):
    least = 1500 if world.flushed else 0
    world.settled(
        "/m/w",
        lambda data: (
            data == NEW
            or (
                not done and (data or b"") == NEW[: len(data or b"")] and len(data or b"") >= least
            )
            or (not done and not world.flushed and data == OLD)
        ),
    )


def listdir(world):
    return sorted(os.listdir("/m/d")) + sorted([entry[0] for entry in os.ilistdir("/m/d")])


def stat(world):
    return os.stat("/m/keep")[6], os.statvfs("/m")[0] > 0


def mkdir(world):
    os.mkdir("/m/e")


def folder(world):
    os.mkdir("/m/e")


def rmdir(world):
    os.rmdir("/m/e")


def any_folder(world, done, _):
    """There or not, and if there an empty one."""
    if "e" in names("/m"):
        expect(names("/m/e") == [], "in the new folder:", names("/m/e"))


def remove(world):
    os.remove("/m/w")


def removed(world, done, _):
    world.settled("/m/w", lambda data: data is None or (not done and data == OLD))


def rename(world):
    os.rename("/m/w", "/m/w2")


def renamed(world, done, _):
    pair = content("/m/w"), content("/m/w2")
    expect(pair == (None, OLD) or (not done and pair == (OLD, None)), "renamed:", pair)
    world.model["/m/w"], world.model["/m/w2"] = pair


def sync(world):
    os.sync()


def any_end(world, done, _):
    pass


def mount(world):
    world.mount()


def unmounted(world):
    world.umount()
    world.unsettled = True


def umount(world):
    vfs.umount("/m")


def will_be_unmounted(world):
    world.unsettled = True


def format(world):
    world.format()


def made_anew(world, done, _):
    world.umount()
    world.make()


def module(world):
    return __import__("swept_module").value


def forgotten(world):
    sys.modules.pop("swept_module", None)


def chdir(world):
    os.chdir("/m/d")
    here = os.getcwd(), os.listdir()
    os.chdir("/")
    return here


OPERATIONS = {
    "read": (None, read, same(KEEP)),
    "readinto": (None, readinto, same(KEEP[1000:1600])),
    "write": (old_file, write, written),
    "write-new": (None, write, write_new),
    "append": (old_file, append, appended),
    "update": (old_file, update, updated),
    "flush": (not_flushed, flush, flushed),
    "listdir": (None, listdir, same(["inner", "inner"])),
    "stat": (None, stat, same((len(KEEP), True))),
    "mkdir": (None, mkdir, any_folder),
    "rmdir": (folder, rmdir, any_folder),
    "remove": (old_file, remove, removed),
    "rename": (old_file, rename, renamed),
    "sync": (old_file, sync, any_end),
    "chdir": (None, chdir, same(("/m/d", ["inner"]))),
    "import": (forgotten, module, same(list(range(30)))),
    "mount": (unmounted, mount, any_end),
    "umount": (will_be_unmounted, umount, any_end),
    "format": (unmounted, format, made_anew),
}
