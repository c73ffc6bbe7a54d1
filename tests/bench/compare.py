# SPDX-License-Identifier: MIT
"""make bench: this library beside a bare C driver and a Linux guest, on one configuration of QEMU.

All contestants take their turn at each measurement, in rounds, so that whatever else the machine
does falls on all of them alike. A figure is the median over the rounds; beside it stands how far
the middle half of them spread. The table goes to the terminal, everything to build/bench.json.
"""

import ast
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import fat
from bench import instructions, linux
from emulator import IMAGES, ROOT, Board, BoardError, Disk, Machine

ROUNDS = int(os.environ.get("ROUNDS") or 5)
RESULT = ROOT / "build/bench.json"
FOLDER = ROOT / "build/bench"
ON_BOARD = Path(__file__).with_name("bench_on_board.py")
KIB, MIB = 1 << 10, 1 << 20
SIZES = [512, 4 * KIB, 64 * KIB, MIB]
DEPTHS = [1, 4, 32, 128]
BACKENDS = {"null-co": 3, "raw file": 0}  # the disk's number on the board
ENTROPY = [16, 64, 4 * KIB, 64 * KIB]
# Bytes a call, and how large a file that makes a measurement of a second or so.
FAT_FILES = {512: 4 * MIB, 4 * KIB: 32 * MIB, 64 * KIB: 32 * MIB}
LITTLEFS_FILES = {512: 128 * KIB, 4 * KIB: MIB, 64 * KIB: MIB}
PAGE = 4096  # busybox's dd reads smaller blocks through the page cache, O_DIRECT or not
LINUX_AT_LEAST = 0.2e6  # µs; the guest's clock counts in 10,000

IMAGES["bench"] = lambda: ["-kernel", FOLDER / "firmware.elf"]
IMAGES["linux"] = lambda: []  # linux.py says which
NULL = ["-blockdev", "driver=null-co,node-name=null,size=1073741824"]
NULL += ["-device", "virtio-blk-device,drive=null"]


def machine(who, image):
    """The one configuration; each guest has disks of its own with the same contents."""
    raw, files = FOLDER / f"raw-{who}.img", FOLDER / f"fat-{who}.img"
    with open(raw, "wb") as file:
        for _ in range(160):
            file.write(b"\x55" * MIB)
    fat.make(files, 96, {})
    disks = [Disk(raw), Disk(files)]
    if who == "board":
        littlefs = FOLDER / "littlefs.img"
        littlefs.write_bytes(bytes(64 * MIB))
        disks.append(Disk(littlefs))
    return Machine(image=image, disks=disks, memory="256M", more=NULL)


def amount(size):
    return (
        f"{size // MIB} MiB"
        if size >= MIB
        else f"{size // KIB} KiB"
        if size >= KIB
        else f"{size} B"
    )


class Progress:
    def __init__(self, total):
        self.total = total
        self.done = 0
        self.shown = 0

    def step(self, text):
        self.done += 1
        if sys.stdout.isatty():
            print(f"\r\x1b[K{self.done * 100 // self.total:3d} % {text}", end="", flush=True)
        elif self.done * 10 // self.total > self.shown:
            self.shown = self.done * 10 // self.total
            print(f"{self.shown * 10} %", flush=True)

    def end(self):
        if sys.stdout.isatty():
            print("\r\x1b[K", end="")


class OnBoard:
    """The library, the virtqueue and the C driver, which are in the same firmware."""

    def __init__(self, board):
        self.board = board

    def ask(self, call):
        return ast.literal_eval(self.board.exec(f"print({call})", 120, call))

    def disk(self, function, backend, write, size, depth):
        return self.ask(f"{function}({BACKENDS[backend]}, {write}, {size}, {depth})")


class OnLinux:
    def __init__(self, guest):
        self.guest = guest
        sizes = guest.run("for d in /sys/block/vd*; do echo ${d##*/} $(cat $d/size); done")
        names = {
            int(line.split()[1]): line.split()[0]
            for line in sizes.split("\n")
            if " " in line and line.startswith("vd")
        }
        self.devices = {
            "null-co": f"/dev/{names[1 << 21]}",
            "raw file": f"/dev/{names[160 << 11]}",
        }
        self.files = f"/dev/{names[96 << 11]}"
        self.counts = {}

    def each(self, key, arguments, size, most=None):
        """Microseconds a request of dd, without what it takes to start it."""
        count = self.counts.get(key, 16)
        start = self.guest.microseconds(f"dd {arguments} bs={size} count=1")
        while True:
            took = self.guest.microseconds(f"dd {arguments} bs={size} count={count}") - start
            if took >= LINUX_AT_LEAST or count == most:
                self.counts[key] = count
                return took / (count - 1)
            count = min(
                most or 1 << 30,
                int(count * max(2, min(20, 1.2 * LINUX_AT_LEAST / max(took, 1e4)))),
            )

    def disk(self, backend, write, size):
        device = self.devices[backend]
        arguments = f"if={device} of=/dev/null iflag=direct"
        if write:
            arguments = f"if=/dev/zero of={device} oflag=direct conv=notrunc"
        most = (160 if backend == "raw file" else 1024) * MIB // size
        return self.each((backend, write, size), arguments, size, most)

    def entropy(self, size):
        return self.each(("entropy", size), "if=/dev/hwrng of=/dev/null", size)

    def write_file(self, total, piece):
        self.guest.run(f"mount -t vfat {self.files} /mnt; rm -f /mnt/bench.bin; sync")
        line = f"dd if=/dev/zero of=/mnt/bench.bin bs={piece} count={total // piece} conv=fsync"
        took = self.guest.microseconds(line)
        self.guest.run("umount /mnt")
        return took

    def read_file(self, total, piece):
        self.guest.run(f"echo 3 >/proc/sys/vm/drop_caches; mount -t vfat {self.files} /mnt")
        took = self.guest.microseconds(f"dd if=/mnt/bench.bin of=/dev/null bs={piece}")
        self.guest.run("umount /mnt")
        return took


def cells(board, guest):
    """(group, what, contestant, unit, function) of all measurements, in the order of a round."""
    for backend in BACKENDS:
        for write in (0, 1):
            for size in SIZES:
                for depth in DEPTHS:
                    group = f"{'writes' if write else 'reads'}, {backend}, µs a request"
                    what = f"{amount(size)}, depth {depth}"
                    for name, function in (
                        ("library", "library"),
                        ("queue", "queue"),
                        ("C floor", "bare"),
                    ):
                        if function == "queue" and depth not in (1, 32):
                            continue
                        yield (
                            group,
                            what,
                            name,
                            lambda f=function, b=backend, w=write, s=size, d=depth: board.disk(
                                f, b, w, s, d
                            ),
                        )
                    if depth == 1 and guest and size >= PAGE:
                        yield (
                            group,
                            what,
                            "Linux",
                            lambda b=backend, w=write, s=size: guest.disk(b, w, s),
                        )
    group = "entropy, µs a request"
    for size in ENTROPY:
        yield group, amount(size), "library", lambda s=size: board.ask(f"library_entropy({s})")
        yield group, amount(size), "C floor", lambda s=size: board.ask(f"bare_entropy({s})")
        if guest:
            yield group, amount(size), "Linux", lambda s=size: guest.entropy(s)
    for kind, folder, files in (("FAT", "", FAT_FILES), ("littlefs", "/lfs", LITTLEFS_FILES)):
        for piece, total in files.items():
            for action in ("write", "read"):
                group = "files, raw file, ms a MiB"
                what = f"{kind}: {action} {amount(total)}, {amount(piece)} a call"
                call = f"{action}_file('{folder}', {total}, {piece})"
                scale = total / MIB * 1000
                yield group, what, "library", lambda c=call, s=scale: board.ask(c) / s
                if guest and kind == "FAT":
                    function = getattr(guest, action + "_file")
                    yield (
                        group,
                        what,
                        "Linux",
                        lambda f=function, t=total, p=piece, s=scale: f(t, p) / s,
                    )


def spread(values):
    """Half the width of the middle half, in percent of the median."""
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return 50 * (high - low) / middle if middle else 0.0


def facts():
    def read(name, start):
        lines = Path(name).read_text().splitlines()
        return next(
            (line.partition(":")[2].strip() for line in lines if line.startswith(start)), "?"
        )

    def first(*command):
        return subprocess.check_output(command, text=True).splitlines()[0]

    return {
        "processor": read("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "memory": read("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "QEMU": first("qemu-system-arm", "--version"),
        "compiler": first("arm-none-eabi-gcc", "--version"),
        "rounds": ROUNDS,
    }


def boot_times():
    """Seconds from QEMU's start of the CPU to the prompt, with one empty disk."""
    times = []
    for _ in range(ROUNDS):
        with Board(Machine(image="bench", more=NULL)) as board:
            board.wait_for_prompt()
            times.append(time.monotonic() - board.started)
    return times


def measure(board, guest):
    """-> {group: {what: {contestant: [a figure a round]}}}"""
    found = {}
    todo = list(cells(board, guest))
    progress = Progress(ROUNDS * len(todo))
    for turn in range(ROUNDS):
        for group, what, name, function in todo:
            progress.step(f"round {turn + 1} of {ROUNDS}: {group}: {what}: {name}")
            row = found.setdefault(group, {}).setdefault(what, {})
            row.setdefault(name, []).append(function())
    progress.end()
    return found


def table(found):
    for group, rows in found.items():
        names = list(dict.fromkeys(name for row in rows.values() for name in row))
        print(
            f"\n{group:<34}"
            + "".join(f"{name:>18}" for name in names)
            + "   library/floor  /Linux"
        )
        for what, row in rows.items():
            line = f"  {what:<32}"
            for name in names:
                values = row.get(name)
                text = (
                    f"{statistics.median(values):,.1f} ±{spread(values):2.0f} %" if values else "-"
                )
                line += f"{text:>18}"
            ratios = (ratio(row, "C floor"), ratio(row, "Linux"))
            print(line + f"{ratios[0]:>13}{ratios[1]:>10}".rstrip())


def ratio(row, other):
    if "library" not in row or other not in row:
        return ""
    return f"{statistics.median(row['library']) / statistics.median(row[other]):.2f}"


def start_linux():
    """-> the guest and None, or None and why there is none."""
    try:
        return linux.Guest(machine("linux", "linux").arguments()), None
    except linux.Unavailable as why:
        return None, str(why)


def main():
    about = facts()
    for what, value in about.items():
        print(f"{what:<10} {value}")
    guest, missing = start_linux()
    print(
        "Linux      "
        + (
            missing
            or f"{guest.run('uname -r').split()[0]}, boot to its shell in {guest.booted:.1f} s"
        )
    )
    try:
        with Board(machine("board", "bench")) as board:
            board.wait_for_prompt()
            board.exec(ON_BOARD.read_bytes())
            board.exec(
                "import vfs\nlfs = virtio.Block(2)\nvfs.VfsLfs2.mkfs(lfs)\n"
                "vfs.mount(vfs.VfsLfs2(lfs, readsize=512, progsize=512), '/lfs')"
            )
            found = measure(OnBoard(board), guest and OnLinux(guest))
    finally:
        if guest:
            guest.close()
    boots = boot_times()
    table(found)
    print(f"\nboot to the prompt {statistics.median(boots):.2f} s ±{spread(boots):.0f} %")
    counts = instructions.measure()
    print()
    instructions.table(counts, None)
    everything = {
        "machine": about,
        "Linux": missing or "here",
        "times": found,
        "boot": boots,
        "counts": counts,
    }
    RESULT.write_text(json.dumps(everything, indent=1) + "\n")
    print(f"\nAll figures are in {RESULT.relative_to(ROOT)}.")


if __name__ == "__main__":
    try:
        main()
    except BoardError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
