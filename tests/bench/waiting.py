# SPDX-License-Identifier: MIT
"""How long to spin before sleeping: bench.waiting measures requests with other lengths of it.

A request that is waited for awake costs the host a busy core; one that is slept for costs two
wake-ups between the host's threads, and time. Each cell is microseconds a request, microseconds
of the host's CPU that all of QEMU took for it, and how many requests slept; medians over rounds.
"""

import ast
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.compare import FOLDER, KIB, MIB, Progress, pin, spent
from emulator import Board, BoardError, Disk, Machine, escape

ROUNDS = int(os.environ.get("ROUNDS") or 5)
ON_BOARD = Path(__file__).with_name("waiting_on_board.py")
MS = 100  # that a measurement lasts
SPINS = [0, 20, 50, 100, 150, 200, 400, 1_000_000]  # µs; None is the library's own
# QEMU's main loop rounds the timers of such a disk up to whole ms; shorter ones cannot be had.
SLOW = "driver=null-co,size=1073741824,latency-ns=1000000,node-name=slow"
NULL = "driver=null-co,size=1073741824,node-name=null"
WORK = {
    "4 KiB, null-co": ("disk", 3, 4 * KIB),
    "4 KiB, raw file": ("disk", 0, 4 * KIB),
    "64 KiB, raw file": ("disk", 0, 64 * KIB),
    "1 MiB, raw file": ("disk", 0, MIB),
    "64 B of entropy": ("entropy", 0, 64),
    "4 KiB, cache=none": ("disk", 1, 4 * KIB),
    "64 KiB, cache=none": ("disk", 1, 64 * KIB),
    "4 KiB, 1 ms disk": ("disk", 2, 4 * KIB),
}


def machine():
    FOLDER.mkdir(parents=True, exist_ok=True)
    raw, direct = FOLDER / "waiting.img", FOLDER / "waiting-direct.img"
    for path in (raw, direct):
        path.write_bytes(os.urandom(128 * MIB))
    os.sync()
    own = f"driver=file,filename={escape(direct)},cache.direct=on,node-name=direct"
    more = []
    for name, blockdev in (("direct", own), ("slow", SLOW), ("null", NULL)):
        more += ["-blockdev", blockdev, "-device", f"virtio-blk-device,drive={name}"]
    return Machine(disks=[Disk(raw)], more=more)


@contextmanager
def busy(cores):
    """A program that never sleeps on each of these cores."""
    command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-c", "while True: pass"]
    programs = [subprocess.Popen(["taskset", "-c", str(core), *command]) for core in cores]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def places():
    """(what, the cores that QEMU has, those that it shares with a busy program)."""
    cores = sorted(os.sched_getaffinity(0))
    last = cores[-1:]
    if len(cores) > 1:
        yield "two cores", cores[-2:], []
    yield "one core", last, []
    yield "one core, shared with a busy program", last, last


def measure(board):
    """-> {place: {work: {spin: [(µs, CPU µs, part that slept) a round]}}}"""
    a_us = float(board.exec("print(rounds_a_us())"))
    print(f"The queue's spin looks {a_us:.0f} times a µs. The load is {os.getloadavg()[0]:.2f}.")
    spins = [None, *SPINS]
    progress = Progress(ROUNDS * len(list(places())) * len(WORK) * len(spins))
    found = {}
    for turn in range(ROUNDS):
        for place, cores, shared in places():
            pin(board.process, cores)
            with busy(shared):
                for work, arguments in WORK.items():
                    board.exec(f"prepare{arguments}")
                    for spin in spins:
                        progress.step(f"round {turn + 1} of {ROUNDS}: {place}: {work}: {spin} µs")
                        rounds = None if spin is None else int(spin * a_us)
                        before = spent(board.process)
                        call = f"measure({rounds}, {MS})"
                        answer = board.exec(f"print({call})", 120, call)
                        count, took, slept = ast.literal_eval(answer)
                        used = (spent(board.process) - before) / 1000
                        row = found.setdefault(place, {}).setdefault(work, {})
                        row.setdefault(spin, []).append(
                            (took / count, used / count, slept / count)
                        )
    progress.end()
    return found


def name(spin):
    if spin is None:
        return "as it is"
    return "for ever" if spin >= 1_000_000 else f"{spin} µs" if spin else "not at all"


def table(found):
    for place, rows in found.items():
        print(f"\n{place:<22}" + "".join(f"{name(spin):>18}" for spin in [None, *SPINS]))
        for work, row in rows.items():
            line = f"  {work:<20}"
            for values in row.values():
                took, used, slept = (median(column) for column in zip(*values))
                line += f"{took:7.0f}{used:6.0f}{100 * min(slept, 1):4.0f}%"
            print(line)


def main():
    with Board(machine()) as board:
        board.wait_for_prompt()
        board.exec(ON_BOARD.read_bytes())
        found = measure(board)
    table(found)
    print(f"\nThe load at the end was {os.getloadavg()[0]:.2f}.")


if __name__ == "__main__":
    try:
        main()
    except BoardError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
