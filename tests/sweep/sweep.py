# SPDX-License-Identifier: MIT
"""Sweeps: at each point of each operation, let in what the interpreter may let in there.

What is tried, and what must hold after it, is in board/; this starts the boards, chooses the
points, and looks at the disks from the host. A failure's recipe is what `make sweep` tries again:
configuration, operation, kind, point; without a point it tries them all.
"""

import os
import random
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import fat
import littlefs
from emulator import Board, BoardError, Disk, Ended, Folder, Hung, Machine, escape
from soak.powercut import CHATTER, PERMITTED, Lost, fsck
from station import HARNESS

MODULES = sorted(Path(__file__).with_name("board").glob("*.py"))
KINDS = ("CTRL_C", "SCHEDULE", "COLLECT", "NO_MEMORY", "NO_MORE_MEMORY", "RECURSION", "RAISED")
NOT_RAISED = ("folders", "ports", "sockets")
SIZE = 4 << 20  # of disk 0, in which sector n is n, 128 times over
FILES_SIZE = 1 << 20  # of disk 1
CARDS = [f"virtio-{kind}-device" for kind in ("blk", "rng", "9p", "serial", "net")]
PACKED = [f"{card}.packed=on" for card in CARDS]
PORTS = (("one", "two"), ("three", "four"))  # what is written on one comes to the other
SILENCE = 20  # seconds without a sign of life in which a board has hung
BATCH = 25  # points between two looks from the host
FAILURES = 3  # of one operation and kind, after which the rest of its points is left out

# What a board and a world are made of, by name.
CONFIGS = {
    f"{world}-{ring}": (world, ring)
    for world in ("devices", "tasks", "folders", "ports", "sockets")
    for ring in ("legacy", "split", "packed")
    if (world, ring) != ("sockets", "legacy")
} | {
    f"{kind}-{way}-{ring}": (kind, way, ring)
    for kind in ("FAT", "littlefs")
    for way in ("cached", "by-hand")
    for ring in ("legacy", "packed")
}


@dataclass
class Result:
    seconds: float = 0
    series: int = 0  # an operation with a kind of injection
    points: int = 0  # tried
    left_out: int = 0  # after so many failures
    failures: list = field(default_factory=list)  # of (recipe, what was found)

    def __str__(self):
        out = f", {self.left_out} left out" if self.left_out else ""
        return (
            f"{self.series} series of {len(KINDS)} kinds of injection, "
            f"{self.points} points{out}, {len(self.failures)} failures"
        )


class Sweep:
    """A board in one configuration, and what was found on it."""

    def __init__(self, config, folder):
        self.config = config
        *self.world, ring = CONFIGS[config]
        self.ring = "packed" if ring == "packed" else "split"
        self.files = Path(folder, "files.img")
        pattern = Path(folder, "pattern.img")
        pattern.write_bytes(b"".join(n.to_bytes(4, "little") * 128 for n in range(SIZE // 512)))
        self.files.write_bytes(bytes(FILES_SIZE))
        more = [word for name in PACKED if ring == "packed" for word in ("-global", name)]
        self.shared = Path(folder, "shared")
        if self.world == ["ports"]:
            more += joined(folder)
        self.machine = Machine(
            image="inject",
            modern=ring != "legacy",
            disks=[Disk(pattern, options="serial=swept"), Disk(self.files)],
            net="user" if self.world == ["sockets"] else "",
            folders=[Folder(self.shared)] if self.world == ["folders"] else [],
            more=more,
        )
        self.board = None
        self.result = Result()

    def kinds(self):
        """What is let in: below a filesystem errors, too, but not below these, where nothing has any."""
        return [kind for kind in KINDS if kind != "RAISED" or self.world[0] not in NOT_RAISED]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.board:
            self.board.close()
            self.board = None

    # The board

    def fresh(self):
        """A board after a soft reset, at least, with its world made."""
        self.files.write_bytes(bytes(FILES_SIZE))
        fill(self.shared)
        if self.board is None:
            self.board = Board(self.machine)
            self.board.wait_for_prompt()
        else:
            try:
                self.board.soft_reset()
            except BoardError:
                self.close()
                return self.fresh()
        self.board.exec(HARNESS.read_bytes(), what="loading harness.py")
        code = "files = mount_sources()\n"
        code += "".join(f"files[{file.name!r}] = {file.read_bytes()!r}\n" for file in MODULES)
        self.board.exec(code)
        kind, *way = self.world
        if way:
            made = (
                f"import files; world = files.Files({self.ring!r}, {kind!r}, {way == ['cached']})"
            )
        else:
            made = f"import {kind}; world = {kind}.{kind.capitalize()}({self.ring!r})"
        self.board.exec(f"import engine\n{made}", seconds=60, what=f"making {self.config}")
        return None

    def ask(self, code):
        """Run code that prints, from time to time, and evaluates to what is printed last."""
        from mpremote.transport import TransportError

        with self.board.deadline(600, code):
            try:
                self.board.connect()
                output, error = self.board.transport.exec_raw(
                    f"_found = {code}\nprint(); print(repr(_found))", timeout=SILENCE
                )
            except TransportError:
                self.board.expire(f"{code}: nothing for {SILENCE} s")
                output = error = b""
        if error:
            raise BoardError(error.decode(errors="replace"))
        return eval(output.decode().strip().rpartition("\n")[2])

    def operations(self):
        self.fresh()
        return self.ask("list(world.operations)")

    # Sweeping

    def count(self, operation, kind):
        return self.ask(f"engine.count(world, {operation!r}, {kind!r})")

    def sweep(self, operation, kind, choose):
        """Try the points that choose(their number) gives; returns how many there are."""
        try:
            if self.board is None:
                self.fresh()
            count = self.count(operation, kind)
        except BoardError as error:
            self.failed(operation, kind, 0, str(error))
            self.recover()
            return 0
        points = list(choose(count))
        failures = 0
        while points and failures < FAILURES:
            batch, points = points[:BATCH], points[BATCH:]
            before = len(self.result.failures)
            tried = self.attempt(operation, kind, batch)
            if len(self.result.failures) > before:
                failures += 1
                points = batch[tried:] + points
                self.recover()
        self.result.left_out += len(points)
        return count

    def attempt(self, operation, kind, points):
        """Try the points until one fails; returns how many were tried."""
        try:
            found = self.ask(f"engine.sweep(world, {operation!r}, {kind!r}, {points})")
            if found is None:
                complaint = self.look(kind)
                if complaint is None:
                    self.result.points += len(points)
                    return len(points)
                if len(points) > 1:  # which of them was it
                    self.recover()
                    return self.one_by_one(operation, kind, points)
                found = points[0], complaint
            at, what = found
        except Hung as error:
            at, what = last_point(str(error), points), "it hangs"
        except (Ended, BoardError) as error:
            at, what = last_point(str(error), points), str(error).strip().replace("\n", " < ")
        self.failed(operation, kind, at, what)
        self.result.points += points.index(at) + 1
        return points.index(at) + 1

    def one_by_one(self, operation, kind, points):
        for n, point in enumerate(points):
            before = len(self.result.failures)
            self.attempt(operation, kind, [point])
            if len(self.result.failures) > before:
                return n + 1
        self.failed(operation, kind, points[-1], f"the disk is broken after {points}")
        return len(points)

    def recover(self):
        try:
            self.fresh()
        except BoardError:
            self.close()
            try:
                self.fresh()
            except BoardError as error:
                self.failed("setting up", "nothing", 0, str(error))
                self.close()

    def failed(self, operation, kind, point, what):
        recipe = f"{self.config} {operation} {kind} {point}"
        self.result.failures.append((recipe, what))
        print(f"failed: {recipe}: {what}", flush=True)

    # The disk, by other eyes

    def look(self, kind):
        """What the host finds wrong with the filesystem; None for nothing."""
        try:
            if self.world[0] == "FAT":
                self.ask("world.umount()")
                # The disk has failed in the middle, or a file was never closed: it has no journal.
                if kind == "RAISED" or self.ask("world.left_open"):
                    repair(self.files)
                    self.ask("setattr(world, 'left_open', False)")
                fat.check(self.files)
                self.ask("world.mount()")
            elif self.world[0] == "littlefs":
                self.ask("world.umount()")
                read_littlefs(self.files)
                self.ask("world.mount()")
        except (Lost, OSError, littlefs.LittleFSError) as error:
            return f"the host finds: {error}"
        return None


def joined(folder):
    """QEMU's arguments for serial ports that lead to each other."""
    words = ["-device", "virtio-serial-device,max_ports=5"]
    for pair in PORTS:
        path = Path(folder, pair[0])
        for name, end in zip(pair, ("server=on,wait=off", "server=off")):
            words += ["-chardev", f"socket,id={name},path={escape(path)},{end}"]
        for name in pair:
            words += ["-device", f"virtserialport,chardev={name},name={name}"]
    return words


def fill(folder):
    """Empty a folder, and put into it what board/folders.py finds there."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    deep = folder.joinpath("deep", *"x" * 20)
    deep.mkdir(parents=True)
    (deep / "file").write_text("deep")
    (folder / "link").symlink_to("d")
    (folder / "many").mkdir()
    for n in range(40):
        (folder / "many" / str(n)).write_bytes(bytes(n))


def repair(path):
    """Give back lost clusters and the like; raise OSError where there was more to do."""
    permitted = *PERMITTED, *CHATTER, "Writing changes|was changed"
    for line in fsck("-a", path):
        if not any(re.search(words, line) for words in permitted):
            raise OSError(line)
    for name in re.findall(r"FSCK\d+\.REC", fat.tool("mdir", "-b", "-i", path).decode()):
        fat.tool("mdel", "-i", path, f"::{name}")


def read_littlefs(path):
    context = littlefs.UserContext(buffer=bytearray(path.read_bytes()))
    host = littlefs.LittleFS(context, block_size=512, block_count=FILES_SIZE // 512)
    for folder, _, names in host.walk("/"):
        for name in names:
            with host.open(f"{folder}/{name}", "rb") as file:
                file.read()


def last_point(text, points):
    """The point that the board had begun when it said no more."""
    for word in reversed(text.split()):
        if word.isdigit() and int(word) in points:
            return int(word)
    return points[0]


def run(config, choose, seed, series=None):
    """Sweep a configuration; returns the Result. choose(random, count) gives the points of a series.

    With *series*, so many pairs of an operation and a kind, and not all.
    """
    chance = random.Random(f"{seed} {config}")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sweep-") as folder, Sweep(config, folder) as sweep:
        pairs = [(name, kind) for name in sorted(sweep.operations()) for kind in sweep.kinds()]
        if series:
            pairs = sorted(chance.sample(pairs, series))
        for operation, kind in pairs:
            sweep.sweep(operation, kind, lambda count: choose(chance, count))
            sweep.result.series += 1
    sweep.result.seconds = time.monotonic() - start
    return sweep.result


def every(chance, count):
    return range(1, count + 1)


def some(most):
    """A function that chooses so many points at most."""
    return lambda chance, count: sorted(chance.sample(range(1, count + 1), min(most, count)))


def main(recipe):
    config, operation, kind, *points = recipe
    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        with Sweep(config, folder) as sweep:
            sweep.fresh()
            count = sweep.sweep(
                operation, kind, lambda count: [int(n) for n in points] or every(None, count)
            )
            print(f"{sweep.result.points} of {count} points tried")
            return len(sweep.result.failures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
