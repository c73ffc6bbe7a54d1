# SPDX-License-Identifier: MIT
"""Cut the power again and again while the board writes, and look at what is left.

QEMU is killed (SIGKILL) at a random moment. After each cut the host reads the disk: the
filesystem must mount, all that the board had said was synced must be there and whole, and FAT
may show no more than lost clusters and the like. Then the board starts from the same disk.

The disk is a raw image, where what was written is what the host has, or a qcow2 image, whose
tables QEMU keeps in memory until a flush: there a sync that does not reach the device loses data.
"""

import random
import re
import struct
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import fat
import littlefs
from emulator import Board, Disk, Machine, escape

WRITER = Path(__file__).with_name("writer.py")
SIZE = 16 << 20
BLOCK = 8192  # of the littlefs, as format() has it on a disk of that size
MAGIC = b"writing "

# What FAT permits after a cut, in the words of fsck.fat 4.2.
PERMITTED = (
    r"Free cluster summary",
    r"Reclaimed \d+ unused cluster",
    r"Dirty bit is set",
    r"FATs differ but appear to be intact",
    r"Orphaned long file name part",
    r"File size is \d+ bytes, cluster chain length is > \d+ bytes",
)
CHATTER = (
    r"fsck\.fat ",
    r"Leaving filesystem unchanged",
    r"Automatically removing dirty bit",
    r"Using first FAT|Perform(ing)? changes|Auto-correcting|Truncating file|Auto-deleting",
    r"^/|^  |^\s*$",
    r": \d+ files, \d+/\d+ clusters",
)


def content(n):
    return struct.pack("<I", n) * (n * 7919 % 12000)


@dataclass
class Result:
    cuts: int = 0
    synced: int = 0  # files that had been synced at a cut, over all cuts
    unsynced: int = 0  # files found that had not been synced …
    incomplete: int = 0  # … and of them those that were not whole
    findings: dict = field(default_factory=dict)  # what fsck.fat said, and how often
    flushes: int = 0  # flush requests that the device saw


class Lost(Exception):
    """Something that was synced is not there; str() says what, and after which cut."""


class Expected:
    """What must be on the disk, by what the board has said."""

    def __init__(self):
        self.files = set()
        self.removing = set()
        self.leftover = set()  # files that were not synced, counted already
        self.lines = 0
        self.version = 0

    def hear(self, text):
        for letter, number in re.findall(r"^([SDLV]) (\d+)\r?$", text, re.M):
            n = int(number)
            if letter == "S":
                self.files.add(n)
            elif letter == "D":
                self.files.discard(n)
                self.removing.add(n)
            elif letter == "L":
                self.lines = n
            else:
                self.version = n

    def check(self, kind, files, result):
        found = {int(name[1:]) for name in files if re.fullmatch(r"f\d+", name)}
        missing = self.files - found
        if missing:
            raise Lost(f"files {sorted(missing)} are missing; there are {sorted(files)}")
        for n in self.files:
            if files[f"f{n}"] != content(n):
                raise Lost(f"file {n} is not what was synced")
        new = found - self.files - self.removing - self.leftover
        self.leftover |= new
        for n in new:
            result.unsynced += 1
            result.incomplete += files[f"f{n}"] != content(n)
        result.synced += len(self.files)
        lines = files.get("log", b"").decode().splitlines()
        if f"line {self.lines}" not in lines and self.lines:
            raise Lost(f"the log lacks line {self.lines}; it ends in {lines[-3:]}")
        # A rename of littlefs is atomic: one version or another is there at any time.
        if kind == "littlefs" and self.version:
            # The number after a cut may leave one out, whose file was begun.
            possible = range(self.version, max(found | self.files) + 1)
            if files.get("fixed") not in [content(n) for n in possible]:
                raise Lost(f"version {self.version} of the file 'fixed' is lost")


class PowerCuts:
    def __init__(self, folder, kind, qcow2=False, modern=True, seed=0):
        self.kind = kind
        self.qcow2 = qcow2
        self.modern = modern
        self.random = random.Random(seed)
        self.program = folder / "program.img"
        fat.make(self.program, 2, {"main.py": WRITER.read_bytes()})
        self.raw = folder / "disk.raw"
        self.image = folder / "disk.qcow2" if qcow2 else self.raw
        self.make()
        self.expected = Expected()
        self.result = Result()

    def make(self):
        if self.kind == "FAT":
            fat.make(self.raw, SIZE >> 20, {})
        else:
            host = littlefs.LittleFS(block_size=BLOCK, block_count=SIZE // BLOCK)
            # Zeros where nothing is, so that a qcow2 image has no room for it yet.
            self.raw.write_bytes(bytes(host.context.buffer).replace(b"\xff" * BLOCK, bytes(BLOCK)))
        if self.qcow2:
            self.convert(self.raw, "qcow2", self.image)

    def convert(self, source, kind, target):
        subprocess.run(["qemu-img", "convert", "-O", kind, source, target], check=True)

    def cut(self):
        """One life of the board, ended at a random moment, and the look at what it left."""
        form = "qcow2" if self.qcow2 else "raw"
        more = ["-drive", f"if=none,id=victim,format={form},cache=writeback"]
        more[1] += f",file={escape(self.image)}"
        more += ["-device", "virtio-blk-device,drive=victim"]
        machine = Machine(modern=self.modern, disks=[Disk(self.program, readonly=True)], more=more)
        with Board(machine) as board:
            board.wait_for(MAGIC)
            end = time.monotonic() + self.random.uniform(0, 1.5)
            while time.monotonic() < end:
                board.read(0.01)
            self.result.flushes += flushes(board)
            time.sleep(self.random.uniform(0, 0.02))  # the answer came between two requests
            board.process.kill()
            board.process.wait()
            said = board.log.read_text(errors="replace")
        if f"{self.kind} at /vdb" not in said:
            raise Lost(f"the board does not mount it:\n{said}")
        self.result.cuts += 1
        self.expected.hear(said)
        try:
            self.look()
        except (Lost, OSError, littlefs.LittleFSError) as error:
            raise Lost(f"after {self.result.cuts} cuts: {error}\n{said[-2000:]}") from error

    def look(self):
        if self.qcow2:
            self.convert(self.image, "raw", self.raw)
        if self.kind == "FAT":
            files = self.look_at_fat()
        else:
            context = littlefs.UserContext(buffer=bytearray(self.raw.read_bytes()))
            host = littlefs.LittleFS(context, block_size=BLOCK, block_count=SIZE // BLOCK)
            files = {name: read(host, name) for name in host.listdir("/")}
        self.expected.check(self.kind, files, self.result)

    def look_at_fat(self):
        for line in fsck("-n", self.raw):
            finding = next((words for words in PERMITTED if re.search(words, line)), None)
            if finding:
                self.result.findings[finding] = self.result.findings.get(finding, 0) + 1
            elif not any(re.search(words, line) for words in CHATTER):
                raise Lost(f"fsck.fat: {line}")
        names = re.findall(r"^::/(.+)$", fat.tool("mdir", "-b", "-i", self.raw).decode(), re.M)
        files = {name.lower(): fat.read(self.raw, name) for name in names}
        if not self.qcow2:
            fsck("-a", self.raw)  # as the owner of the disk would
        return files


def read(host, name):
    """The file's content; None if littlefs cannot say, which is for a check to judge."""
    try:
        with host.open(name, "rb") as file:
            return file.read()
    except littlefs.LittleFSError:
        return None


def fsck(option, image):
    """What fsck.fat says; it tells by its exit code that it found something."""
    command = ["fsck.fat", option, image]
    result = subprocess.run(command, capture_output=True, text=True, env=fat.ENVIRONMENT)
    if result.returncode > 1:
        raise Lost(f"fsck.fat: {result.stdout}{result.stderr}")
    return result.stdout.splitlines()


def flushes(board):
    stats = board.monitor.cmd("query-blockstats")
    return sum(s["stats"]["flush_operations"] for s in stats if s["device"] == "victim")
