# SPDX-License-Identifier: MIT
"""A board under its user: files, timers and tasks at random, under Ctrl-C and soft resets.

The host keeps a model of what was synced. Nothing of that may ever be lost, and the board answers
in the end. Each life of the board ends by its power switch, and the host looks at the disks.
"""

import random
import re
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

import fat
import littlefs
from emulator import Board, BoardError, Disk, Ended, Hung, Machine
from soak.powercut import CHATTER, PERMITTED, Lost, fsck

PROGRAM = Path(__file__).with_name("user_on_board.py")
SIZE = 8 << 20
SECTORS = 4100  # of the disk whose sector n is n, 128 times over
RAW = "raw REPL; CTRL-B to exit\r\n>"
PATIENCE = 60  # seconds, beyond the time that a round was given
ROUNDS = 12  # in a life of the board
POINTS = {"/": "FAT", "/vdb": "littlefs", "/vdc": "FAT", "/vdd": "littlefs"}


def content(path, version):
    """As in user_on_board.py."""
    word = sum(path.encode()) * 7919 + version
    return struct.pack("<II", version, word) * (word * 104729 % 1500)


class Console:
    """A board's raw REPL, so that keys can be pressed while it runs something."""

    def __init__(self, machine):
        self.board = Board(machine)
        self.board.wait_for_prompt(60)
        self.raw()

    def raw(self):
        self.board.type("\x01")
        self.board.wait_for(RAW)

    def run(self, code, seconds, presses=(), ended=False):
        """Run code, press Ctrl-C at those times from its start on; returns what it printed.

        With *ended*, it may be Ctrl-C that ends it when its time is over.
        """
        self.board.type(code + "\x04")
        self.board.wait_for("OK")
        start = time.monotonic()
        # In the end Ctrl-C again and again, to see where it hangs.
        presses = [*presses, *[seconds + n for n in range(10)]]
        with self.board.deadline(seconds + 20, "code"):
            while self.board.unread.count(b"\x04") < 2:
                if presses and time.monotonic() - start > presses[0]:
                    self.board.type("\x03")
                    presses.pop(0)
                self.board.unread += self.board.read(0.01)
        output = self.board.wait_for("\x04")[:-1].replace("\r\n", "\n")
        error = self.board.wait_for("\x04")[:-1].replace("\r\n", "\n")
        self.board.wait_for(">")
        if time.monotonic() - start > seconds and not ended:
            raise Lost(f"no end within {seconds:.0f} s: {output[-1000:]}{error}")
        return output, error

    def soft_reset(self):
        self.board.type("\x04")
        self.board.wait_for("soft reboot")
        self.board.wait_for(RAW, 60)


@dataclass
class Counts:
    rounds: int = 0
    interrupts: int = 0
    resets: int = 0
    lives: int = 0
    checked: int = 0  # times that a synced file was there and whole
    actions: dict = field(default_factory=dict)

    def __str__(self):
        return (
            f"{self.lives} lives, {self.rounds} rounds, {self.interrupts} Ctrl-C,"
            f" {self.resets} soft resets, {sum(self.actions.values())} actions,"
            f" {self.checked} times a synced file was there and whole"
        )


class Users:
    def __init__(self, folder, seed):
        self.random = random.Random(seed)
        self.known = {}
        self.version = 0
        self.counts = Counts()
        self.disks = [folder / f"{number}.img" for number in range(len(POINTS))]
        for path, kind in zip(self.disks, POINTS.values()):
            if kind == "FAT":
                fat.make(path, SIZE >> 20, {})
            else:
                host = littlefs.LittleFS(block_size=512, block_count=SIZE // 512)
                path.write_bytes(host.context.buffer)
        self.pattern = folder / "pattern.img"
        self.pattern.write_bytes(b"".join(struct.pack("<I", n) * 128 for n in range(SECTORS)))

    def live(self, until):
        """From the power switch to the power switch."""
        machine = Machine(
            modern=self.random.random() < 0.5,
            disks=[Disk(path) for path in self.disks] + [Disk(self.pattern, readonly=True)],
        )
        console = Console(machine)
        try:
            console.run(PROGRAM.read_text(), 30)
            for _ in range(ROUNDS):
                if time.monotonic() < until:
                    self.round(console)
            self.answers(console)
            console.run("vfs.umount('/vdb'); os.sync()", 30)
        except (Hung, Ended, Lost) as error:
            said = console.board.log.read_text(errors="replace")[-3000:]
            raise Lost(f"{self.counts}: {error}\nthe console's end:\n{said}") from error
        finally:
            console.board.close()
        self.counts.lives += 1
        self.look()

    def round(self, console):
        ms = self.random.randrange(200, 4000)
        some = self.random.randrange(12)
        presses = sorted(self.random.uniform(0, ms / 1000) for _ in range(some))
        seed = self.random.randrange(1 << 30)
        call = f"main({seed}, {ms}, {self.version}, {self.known!r})"
        output, error = console.run(call, ms / 1000 + PATIENCE, presses)
        self.counts.rounds += 1
        self.hear(output)
        last = error.strip().rpartition("\n")[2]
        if error and not last.startswith("KeyboardInterrupt"):
            raise Lost(f"seed {seed}: {error}")
        if re.search(r"^X ", output, re.M):
            raise Lost(f"seed {seed}: " + "; ".join(re.findall(r"^X (.*)$", output, re.M)))
        if "Traceback" in output or "FATAL" in output:
            raise Lost(f"seed {seed}: {output[-2000:]}")
        if self.random.random() < 0.4:
            console.soft_reset()
            self.counts.resets += 1
            console.run(PROGRAM.read_text(), 30)

    def hear(self, output):
        for letter, path, number in re.findall(r"^([BS]) (\S+) (\d+)$", output, re.M):
            self.version = max(self.version, int(number))
            self.known.pop(path, None)
            if letter == "S":
                self.known[path] = int(number)
        found = re.search(r"^counts ({.*}) (\d+)$", output, re.M)
        if found:
            self.counts.checked += len(self.known)
            self.counts.interrupts += int(found[2])
            for name, count in eval(found[1]).items():
                self.counts.actions[name] = self.counts.actions.get(name, 0) + count

    def answers(self, console):
        output, error = console.run("print(1 + 1)", 20)
        if (output, error) != ("2\n", ""):
            raise Lost(f"the board answers {output!r} {error!r}")

    def look(self):
        """All that was synced, by the host's eyes."""
        for path, (point, kind) in zip(self.disks, POINTS.items()):
            files = read_fat(path) if kind == "FAT" else read_littlefs(path)
            prefix = point.rstrip("/") + "/u/"
            for name, version in self.known.items():
                if name.startswith(prefix):
                    found = files.get(name[len(prefix) :])
                    if found != (content(name, version) if version else None):
                        raise Lost(f"the host finds {name} not to be version {version}")
                    self.counts.checked += 1


def read_fat(path):
    for line in fsck("-n", path):
        if not any(re.search(words, line) for words in PERMITTED + CHATTER):
            raise Lost(f"fsck.fat: {line}")
    names = re.findall(r"^::/u/(.+)$", fat.tool("mdir", "-b", "-i", path, "::/u").decode(), re.M)
    files = {name: fat.read(path, f"u/{name}") for name in names if not name.endswith("/")}
    fsck("-a", path)  # as the owner of the disk would
    return files


def read_littlefs(path):
    context = littlefs.UserContext(buffer=bytearray(path.read_bytes()))
    host = littlefs.LittleFS(context, block_size=512, block_count=SIZE // 512)
    files = {}
    for name in host.listdir("/u"):
        if host.stat(f"/u/{name}").type == 1:
            with host.open(f"/u/{name}", "rb") as file:
                files[name] = file.read()
    return files


def soak(folder, minutes, seed):
    users = Users(folder, seed)
    until = time.monotonic() + 60 * minutes
    try:
        while time.monotonic() < until:
            users.live(until)
    except (BoardError, OSError, littlefs.LittleFSError) as error:
        raise Lost(f"{users.counts}: {error}") from error
    yield f"{users.counts}, the board answers"
