# SPDX-License-Identifier: MIT
"""make bench: this library beside bare C, U-Boot and Linux, on one configuration of QEMU.

All contestants take their turn at each measurement, in rounds, so that whatever else the machine
does falls on all of them alike. A figure is the median over the rounds; beside it stands how far
the middle half of them spread. The table goes to the terminal, everything to build/bench.json.
"""

import ast
import dataclasses
import itertools
import json
import os
import platform
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import fat
from bench import instructions, linux, report, uboot
from bench.guest import Unavailable
from emulator import IMAGES, ROOT, Board, BoardError, Disk, Machine

ROUNDS = int(os.environ.get("ROUNDS") or 5)
RESULT = ROOT / "build/bench.json"
FOLDER = ROOT / "build/bench"
ON_BOARD = Path(__file__).with_name("bench_on_board.py")
KIB, MIB = 1 << 10, 1 << 20
SIZES = [512, 4 * KIB, 64 * KIB, MIB]
DEPTHS = [1, 4, 32, 128]
NULL_SIZE, RAW_SIZE, FAT_SIZE, LITTLEFS_SIZE = 1024 * MIB, 512 * MIB, 96 * MIB, 80 * MIB
RAW_FILLED = 160 * MIB  # what is read and written; the rest is a hole
BACKENDS = {"null-co": (3, NULL_SIZE), "raw file": (0, RAW_SIZE)}  # the disk's number on the board
ENTROPY = [16, 64, 4 * KIB, 64 * KIB]
FILE_SIZE = 32 * MIB
CALLS = [512, 4 * KIB, 64 * KIB, FILE_SIZE]  # bytes each; U-Boot reads whole files only
PAGE = 4096  # busybox's dd reads smaller blocks through the page cache, O_DIRECT or not
DD_AT_LEAST = 0.3e6  # µs; its start, which is taken off, wanders by one or two thousand
IDLE_SECONDS = 3

IMAGES["bench"] = lambda: ["-kernel", FOLDER / "firmware.elf"]
IMAGES["guest"] = lambda: []  # its module says which
NULL = ["-blockdev", f"driver=null-co,node-name=null,size={NULL_SIZE}"]
NULL += ["-device", "virtio-blk-device,drive=null"]


def machine(who, image):
    """The one configuration; each guest has disks of its own with the same contents."""
    raw, files = FOLDER / f"raw-{who}.img", FOLDER / f"fat-{who}.img"
    with open(raw, "wb") as file:
        for _ in range(RAW_FILLED // MIB):
            file.write(b"\x55" * MIB)
        file.truncate(RAW_SIZE)
    fat.make(files, FAT_SIZE // MIB, {"bench.bin": bytes(FILE_SIZE)} if who == "u-boot" else {})
    disks = [Disk(raw), Disk(files)]
    if who == "board":
        littlefs = FOLDER / "littlefs.img"
        littlefs.write_bytes(bytes(LITTLEFS_SIZE))
        disks.append(Disk(littlefs))
    return Machine(image=image, disks=disks, memory="256M", more=NULL)


def amount(size):
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


class Progress:
    def __init__(self, total):
        self.total = total
        self.done = 0
        self.shown = 0
        self.started = time.monotonic()

    def step(self, text):
        part = self.done / self.total
        self.done += 1
        if sys.stdout.isatty():
            left = (time.monotonic() - self.started) * (1 / part - 1) if part > 0.02 else 0
            note = f", {left / 60:.0f} min left" if left else ""
            print(f"\r\x1b[K{part * 100:3.0f} %{note}: {text}"[:110], end="", flush=True)
        elif part * 10 >= self.shown + 1:
            self.shown += 1
            print(f"{self.shown * 10} %", flush=True)

    def end(self):
        if sys.stdout.isatty():
            print("\r\x1b[K", end="")


# The contestants: microseconds of a request or a file


class OnBoard:
    """The library, the virtqueue and the C driver, which are in the same firmware."""

    def __init__(self, board):
        self.board = board
        self.process = board.process

    def ask(self, function, *arguments):
        call = f"{function}({', '.join(map(repr, arguments))})"
        return ast.literal_eval(self.board.exec(f"print({call})", 300, call))

    def disk(self, function, backend, write, size, depth=1):
        return self.ask(function, BACKENDS[backend][0], write, size, depth)


class OnLinux:
    def __init__(self, guest):
        self.guest = guest
        self.process = guest.process
        sizes = guest.run("for d in /sys/block/vd*; do echo ${d##*/} $(cat $d/size); done")
        rows = [line.split() for line in sizes.splitlines()]
        names = {int(sectors) * 512: f"/dev/{name}" for name, sectors in rows}
        self.devices = {backend: names[size] for backend, (_, size) in BACKENDS.items()}
        self.files = names[FAT_SIZE]
        self.counts = {}

    def disk(self, backend, write, size, depth=1):
        action = "write" if write else "read"
        return self.guest.io(self.devices[backend], action, size, depth)

    def entropy(self, size):
        return self.guest.io("/dev/hwrng", "fill", size, 1)

    def dd(self, arguments, size, most=1 << 30):
        """Microseconds a request of dd, without what it takes to start it.

        In several runs where `most` requests, all that the disk has, are too few.
        """
        key = arguments, size
        count = self.counts.get(key, 2)
        took = made = 0
        while took < DD_AT_LEAST:
            if made and count < most:
                growth = max(2, min(20, 1.2 * DD_AT_LEAST / max(took, 1e4)))
                count = min(most, int(count * growth))
                took = made = 0
            took += self.run_dd(arguments, size, count) - self.run_dd(arguments, size, 1)
            made += count - 1
        self.counts[key] = count
        return took / made

    def run_dd(self, arguments, size, count):
        return self.guest.io("/bin/dd", "exec", arguments, f"bs={size}", f"count={count}")

    def dd_disk(self, backend, write, size):
        device = self.devices[backend]
        arguments = f"if={device} of=/dev/null iflag=direct"
        if write:
            arguments = f"if=/dev/zero of={device} oflag=direct conv=notrunc"
        return self.dd(
            arguments, size, (RAW_FILLED if backend == "raw file" else NULL_SIZE) // size
        )

    def dd_entropy(self, size):
        return self.dd("if=/dev/hwrng of=/dev/null", size)

    def write_file(self, total, piece):
        self.guest.run(f"mount -t vfat {self.files} /mnt; rm -f /mnt/bench.bin; sync")
        return self.file("put", total // piece, piece)

    def read_file(self, total, piece):
        self.guest.run(f"echo 3 >/proc/sys/vm/drop_caches; mount -t vfat {self.files} /mnt")
        return self.file("get", total // piece, piece)

    def file(self, action, count, piece):
        took = self.guest.io("/mnt/bench.bin", action, piece, count) * count
        self.guest.run("umount /mnt")
        return took


class OnUBoot:
    def __init__(self, guest):
        self.guest = guest
        self.process = guest.process

    def disk(self, backend, size):
        return self.guest.read(BACKENDS[backend][1] // 512, size)

    def read_file(self):
        return self.guest.read_file(FAT_SIZE // 512, "bench.bin")


# What is measured: (group, what, contestant, function) in the order of a round. Of the guests
# the one or the other may be None.


def disk_cells(board, linux_guest, u_boot):
    for backend in BACKENDS:
        for write in (0, 1):
            group = f"{'writes' if write else 'reads'}, {backend}, µs a request"
            for size in SIZES:
                for depth in DEPTHS:
                    what = f"{amount(size)}, depth {depth}"
                    request = (backend, write, size, depth)
                    yield group, what, "library", partial(board.disk, "library", *request)
                    if depth <= 32:
                        yield group, what, "queue", partial(board.disk, "queue", *request)
                    yield group, what, "C floor", partial(board.disk, "bare", *request)
                    if u_boot and depth == 1 and not write:
                        yield group, what, "U-Boot", partial(u_boot.disk, backend, size)
                    if linux_guest:
                        yield group, what, "Linux", partial(linux_guest.disk, *request)
                    if linux_guest and depth == 1 and size >= PAGE:
                        dd = partial(linux_guest.dd_disk, backend, write, size)
                        yield group, what, "Linux dd", dd


def entropy_cells(board, linux_guest):
    group = "entropy, µs a request"
    for size in ENTROPY:
        what = amount(size)
        yield group, what, "library", partial(board.ask, "library_entropy", size)
        yield group, what, "C floor", partial(board.ask, "bare_entropy", size)
        if linux_guest:
            yield group, what, "Linux", partial(linux_guest.entropy, size)
            yield group, what, "Linux dd", partial(linux_guest.dd_entropy, size)


def file_cells(board, linux_guest, u_boot):
    group = "files of 32 MiB, raw file, ms a MiB"

    def each(function, *arguments):
        return function(*arguments) / 1000 / (FILE_SIZE / MIB)

    for kind, point, calls in (("FAT", "/", CALLS), ("littlefs", "/lfs", CALLS[:-1])):
        for piece in calls:
            for action in ("write", "read"):
                what = f"{kind}: {action}, {amount(piece)} a call"
                on_board = partial(board.ask, f"{action}_file", point, FILE_SIZE, piece)
                yield group, what, "library", partial(each, on_board)
                if kind != "FAT":
                    continue
                if u_boot and action == "read" and piece == FILE_SIZE:
                    yield group, what, "U-Boot", partial(each, u_boot.read_file)
                if linux_guest:
                    function = getattr(linux_guest, f"{action}_file")
                    yield group, what, "Linux", partial(each, function, FILE_SIZE, piece)


def placed_cells(board, linux_guest):
    """A few again, with QEMU's threads where they are told to be.

    The kernel has them on one core at one time and on two at another, and a request of depth 1
    takes five times as long where one core has to wake the other.
    """
    for place, put in (("one core", on_one_core), ("two cores", on_two_cores)):
        group = f"QEMU's threads on {place}, µs a request"
        for what, request in (
            ("4 KiB read, null-co", ("null-co", 0, 4 * KIB)),
            ("1 MiB read, null-co", ("null-co", 0, MIB)),
            ("4 KiB read, raw file", ("raw file", 0, 4 * KIB)),
        ):
            yield group, what, "library", placed(put, board, board.disk, "library", *request)
            yield group, what, "C floor", placed(put, board, board.disk, "bare", *request)
            if linux_guest:
                linux_disk = placed(put, linux_guest, linux_guest.disk, *request)
                yield group, what, "Linux", linux_disk
        what = "64 B of entropy"
        yield group, what, "library", placed(put, board, board.ask, "library_entropy", 64)
        yield group, what, "C floor", placed(put, board, board.ask, "bare_entropy", 64)
        if linux_guest:
            yield group, what, "Linux", placed(put, linux_guest, linux_guest.entropy, 64)


def boot_cells(linux_guest, u_boot):
    """From QEMU's start to the prompt, each with the same disks, which are no other guest's."""
    group, what = "boot to the prompt, ms", "two disks and null-co, entropy"
    alike = machine("boot", "guest")
    own = dataclasses.replace(alike, image="bench")
    yield group, what, "library", partial(board_booted, own)
    if u_boot:
        yield group, what, "U-Boot", partial(guest_booted, uboot.Guest, alike)
    if linux_guest:
        yield group, what, "Linux", partial(guest_booted, linux.Guest, alike)


def board_booted(machine):
    with Board(machine) as board:
        board.wait_for_prompt()
        return (time.monotonic() - board.started) * 1000


def guest_booted(kind, machine):
    with kind(machine.arguments()) as guest:
        return guest.booted * 1000


def threads(process):
    if process.poll() is not None:
        raise Unavailable("its QEMU has ended")
    return [int(path.name) for path in Path(f"/proc/{process.pid}/task").iterdir()]


def pin(process, cores):
    for thread in threads(process):
        try:
            os.sched_setaffinity(thread, cores)
        except ProcessLookupError:
            pass  # a worker that has ended meanwhile


def runtime(process, thread):
    """Nanoseconds of the host's CPU that a thread has had."""
    try:
        return int(Path(f"/proc/{process.pid}/task/{thread}/schedstat").read_text().split()[0])
    except FileNotFoundError:
        return 0


def spent(process):
    """The same of all its threads, also of those that have ended."""
    return time.clock_gettime_ns(~process.pid << 3 | 2)  # as clock_getcpuclockid(3) makes it


def on_one_core(process):
    pin(process, {max(os.sched_getaffinity(0))})


def on_two_cores(process):
    """The guest's CPU on one, whatever serves its devices on the other."""
    others = [thread for thread in threads(process) if thread != process.pid]
    cpu = max(others, key=partial(runtime, process))
    cores = sorted(os.sched_getaffinity(0))
    pin(process, {cores[-1]})
    os.sched_setaffinity(cpu, {cores[0]})


def placed(put, contestant, function, *arguments):
    def run():
        put(contestant.process)
        try:
            return function(*arguments)
        finally:
            pin(contestant.process, os.sched_getaffinity(0))

    return run


def cells(board, linux_guest, u_boot):
    yield from disk_cells(board, linux_guest, u_boot)
    yield from entropy_cells(board, linux_guest)
    yield from file_cells(board, linux_guest, u_boot)
    yield from placed_cells(board, linux_guest)
    yield from boot_cells(linux_guest, u_boot)


def rotated(todo, turn):
    """The same cells; in each row another contestant begins each turn.

    Who comes behind another guest finds QEMU's threads where that one has left the cores.
    """
    for _, row in itertools.groupby(todo, key=lambda cell: cell[:2]):
        row = list(row)
        begin = turn % len(row)
        yield from row[begin:] + row[:begin]


def measure(todo):
    """-> {group: {what: {contestant: [a figure a round]}}}, {guest: why it is asked no further}"""
    found, gone = {}, {}
    progress = Progress(ROUNDS * len(todo))
    for turn in range(ROUNDS):
        for group, what, name, function in rotated(todo, turn):
            progress.step(f"round {turn + 1} of {ROUNDS}: {group}: {what}: {name}")
            guest = name.removesuffix(" dd")
            if guest in gone:
                continue
            try:
                figure = function()
            except Unavailable as why:
                gone[guest] = f"not from round {turn + 1} on, {what}: {' '.join(str(why).split())}"
                continue
            row = found.setdefault(group, {}).setdefault(what, {})
            row.setdefault(name, []).append(figure)
    progress.end()
    return found, gone


# Beside the rounds


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
        "load": f"{os.getloadavg()[0]:.2f}",
        "memory": read("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "QEMU": first("qemu-system-arm", "--version"),
        "compiler": first("arm-none-eabi-gcc", "--version"),
        "rounds": ROUNDS,
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "commit": commit(),
    }


def commit():
    command = ["git", "-C", ROOT, "describe", "--always", "--dirty"]
    try:
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"


def idle(contestants):
    """Percent of a host's core that each takes while it waits for input."""

    before = {name: spent(contestant.process) for name, contestant in contestants.items()}
    time.sleep(IDLE_SECONDS)
    return {
        name: (spent(contestant.process) - before[name]) / IDLE_SECONDS / 1e7
        for name, contestant in contestants.items()
    }


def start(kind, name):
    """-> the guest and None, or None and why there is none."""
    try:
        return kind(machine(name, "guest").arguments()), None
    except Unavailable as why:
        return None, str(why)


def main():
    started = time.monotonic()
    about = facts()
    linux_guest, no_linux = start(linux.Guest, "linux")
    u_boot, no_u_boot = start(uboot.Guest, "u-boot")
    about["Linux"] = no_linux or linux_guest.run("uname -r").split()[0]
    about["U-Boot"] = no_u_boot or u_boot.version
    for what, value in about.items():
        print(f"{what:<10} {value}", flush=True)
    try:
        with Board(machine("board", "bench")) as board:
            board.wait_for_prompt()
            board.exec(ON_BOARD.read_bytes())
            board.exec(
                "lfs = virtio.Block(2)\nvirtio.format(lfs, 'littlefs', confirm='erase')\n"
                "virtio.mount(lfs, '/lfs')"
            )
            contestants = {"library": OnBoard(board)}
            if linux_guest:
                contestants["Linux"] = OnLinux(linux_guest)
            if u_boot:
                contestants["U-Boot"] = OnUBoot(u_boot)
            found, gone = measure(
                list(cells(*(contestants.get(name) for name in ("library", "Linux", "U-Boot"))))
            )
            for name in ("U-Boot", *gone):  # U-Boot polls, and is stopped while it is not asked
                contestants.pop(name, None)
            idles = idle(contestants)
    finally:
        for guest in filter(None, (linux_guest, u_boot)):
            guest.close()
    counts = instructions.measure()
    figures = report.figures(found, counts)
    report.table(found)
    report.empty_cells(no_linux or gone.get("Linux"), no_u_boot or gone.get("U-Boot"))
    report.beside(idles)
    print()
    instructions.table(counts, {})
    report.reached(figures)
    everything = {
        "machine": about,
        "load at the end": os.getloadavg()[0],
        "times": report.summary(found),
        "dropped": gone,
        "idle": idles,
        "counts": counts,
        "figures": figures,
    }
    RESULT.write_text(json.dumps(everything, indent=1) + "\n")
    print(
        f"\n{ROUNDS} rounds took {(time.monotonic() - started) / 60:.1f} min, the load at their "
        f"end was {os.getloadavg()[0]:.2f}. All figures are in {RESULT.relative_to(ROOT)}."
    )


if __name__ == "__main__":
    try:
        main()
    except (BoardError, Unavailable) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
