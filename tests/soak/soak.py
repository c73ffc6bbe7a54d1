# SPDX-License-Identifier: MIT
"""The long tests, one after the other; each says what it found, and the last line which failed.

From the environment: CUTS, how often the power is cut for each filesystem; LARGE, the MiB of the
large files; POINTS, of each of the sweeps' series at most so many, all without it; SEED; and what
queue.py, disks.py and streams.py take.
"""

import hashlib
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import battery
import fat
from emulator import ROOT, Board, BoardError, Disk, Machine
from soak import disks, frames, queue, streams, stress, users
from soak.powercut import Lost, PowerCuts
from sweep import sweep

MIB = 1 << 20
MINUTES = float(os.environ.get("SOAK_MINUTES") or 5)
LARGE = int(os.environ.get("LARGE") or 1024)
ENTROPY = 16  # MiB of random bytes
CHI_SQUARE = (176, 353)  # of 256 values: once in 10,000 times chance alone is outside

# Each mebibyte of the file is another one.
LARGE_FILE = """
import hashlib, os, virtio
piece = bytearray(bytes(range(256)) * 4096)

def fill(number):
    piece[0:4] = number.to_bytes(4, 'little')
    piece[524288:524292] = number.to_bytes(4, 'big')

with open('{path}', 'wb') as file:
    for number in range({count}):
        fill(number)
        file.write(piece)
    file.flush()
os.sync()
digest = hashlib.sha256()
with open('{path}', 'rb') as file:
    while file.readinto(piece):
        digest.update(piece)
print(digest.digest().hex())
"""


def cut_power(folder, kind, qcow2, cuts, seed):
    """The same disk on both interfaces, by turns."""
    test = PowerCuts(folder, kind, qcow2, seed=seed)
    for number in range(cuts):
        test.modern = number % 2 == 1
        test.cut()
    result = test.result
    legacy, modern = (cuts + 1) // 2, cuts // 2
    text = f"{legacy} legacy and {modern} modern cuts, "
    text += f"{result.synced} times a synced file was there and whole, "
    text += f"{result.unsynced} files not synced, {result.incomplete} of them incomplete, "
    text += f"{result.flushes} flushes"
    for finding, count in result.findings.items():
        text += f", fsck.fat {count} times: {finding}"
    yield text


def large_file(folder, kind, interface):
    path = folder / "large.img"
    if kind == "FAT":
        fat.make(path, LARGE + 64, {})
    else:
        path.touch()
        os.truncate(path, (LARGE + 64) * MIB)
    with Board(Machine(modern=interface == "modern", disks=[Disk(path)])) as board:
        board.wait_for_prompt()
        if kind == "littlefs":
            board.exec("""
import virtio
disk = virtio.Block(0)
virtio.format(disk, 'littlefs', confirm='erase', block_size=65536)
virtio.mount(disk, '/')
""")
        found = board.exec(LARGE_FILE.format(path="/large", count=LARGE), 1800).strip()
        board.power_off()
    if found != large_digest():
        raise Lost(f"the file's hash is {found}")
    if kind == "FAT":
        fat.check(path)
        if hashlib.sha256(fat.read(path, "large")).hexdigest() != found:
            raise Lost("the host reads another file than the board")
    path.unlink()
    yield f"{LARGE} MiB written, synced, read back, sha256 {found[:16]}…"


def large_digest():
    digest = hashlib.sha256()
    piece = bytearray(bytes(range(256)) * 4096)
    for number in range(LARGE):
        piece[0:4] = number.to_bytes(4, "little")
        piece[524288:524292] = number.to_bytes(4, "big")
        digest.update(piece)
    return digest.hexdigest()


def entropy(folder):
    path = folder / "entropy.img"
    path.write_bytes(bytes(ENTROPY * MIB))
    half = ENTROPY // 2
    draw(path, "legacy", 0, half)
    draw(path, "modern", half, ENTROPY)
    yield f"{half} MiB legacy, {ENTROPY - half} modern: {rngtest(path)}, {ent(path)}"


def draw(path, interface, start, stop):
    """Fill the disk from one mebibyte to another with random bytes."""
    with Board(Machine(modern=interface == "modern", disks=[Disk(path)])) as board:
        board.wait_for_prompt()
        board.exec(
            f"""
import virtio
disk, rng = virtio.Block(0), virtio.Rng(0)
data = bytearray({MIB})
for n in range({start}, {stop}):
    rng.readinto(data)
    disk.writeblocks(n * 2048, data)
disk.flush()
""",
            600,
        )
        board.power_off()


def program(name):
    found = battery.find(name, ROOT / "build/battery")
    if not found:
        raise OSError(f"there is no {name}: delete build/.battery and run this again")
    return found


def rngtest(path):
    """FIPS 140-2, of whose blocks a few fail by chance: one in 1,250 or so."""
    with open(path, "rb") as file:
        result = subprocess.run([program("rngtest")], stdin=file, capture_output=True, text=True)
    counts = dict(re.findall(r"FIPS 140-2 (successes|failures): (\d+)", result.stderr))
    good, bad = int(counts["successes"]), int(counts["failures"])
    if bad * 200 > good + bad:
        raise Lost(f"rngtest fails {bad} of {good + bad} blocks")
    return f"rngtest passes {good} blocks, fails {bad}"


def ent(path):
    words = subprocess.check_output([program("ent"), "-t", path], text=True).splitlines()[1]
    bits, chi_square = [float(word) for word in words.split(",")[2:4]]
    low, high = CHI_SQUARE
    if bits < 7.9999 or not low < chi_square < high:
        raise Lost(f"ent finds {bits} bits of entropy a byte and a chi square of {chi_square}")
    return f"ent {bits} bits a byte, chi square {chi_square}"


def sweep_all(folder, seed):
    """Every point of every operation, two boards at a time."""
    points = int(os.environ.get("POINTS") or 0)
    choose = sweep.some(points) if points else sweep.every
    failures = 0
    with ThreadPoolExecutor(2) as pool:
        running = {pool.submit(sweep.run, c, choose, seed): c for c in sweep.CONFIGS}
        for done in as_completed(running):
            result = done.result()
            failures += len(result.failures)
            yield f"{running[done]}, {result}, {result.seconds:.0f} s"
    if failures:
        raise Lost(f"{failures} failures")


def steps(cuts, seed):
    """What there is to do: a name, a function that yields a text for each part, its arguments."""
    yield "the queue, random steps", queue.at_random, seed
    for interface in ("legacy", "modern"):
        yield f"the queue, {interface} disk", queue.on_disk, interface
    lies = "test_frames_and_lies_at_random_are_frames_or_faults"
    yield "frames and lies, the driver", frames.at_random, seed, "test_net", lies
    wrong = "test_frames_of_every_wrong_form_do_no_harm"
    yield "frames of wrong form, the stack", frames.at_random, seed, "test_lan", wrong
    yield "partition tables at random", disks.tables_at_random, seed
    yield "damaged filesystems", disks.damaged_filesystems, seed
    for number, kind in enumerate(("littlefs", "FAT", "littlefs", "FAT")):
        qcow2 = number >= 2
        where = "qcow2" if qcow2 else "raw"
        count = max(1, cuts // 2) if qcow2 else cuts
        yield f"power cuts, {kind} on {where}", cut_power, kind, qcow2, count, seed + number
    for kind, interface in (("littlefs", "legacy"), ("FAT", "modern")):
        yield f"a large file on {kind}, {interface}", large_file, kind, interface
    yield "entropy", entropy
    for interface in ("legacy", "modern"):
        yield f"a large file in a folder, {interface}", streams.large_file, interface, seed
        yield f"a port's echo, {interface}", streams.echo, interface, seed
    yield "a folder's tree", streams.tree, seed
    yield "soft resets with a port", streams.resets
    yield "the board under its user", users.soak, MINUTES, seed
    yield "the board under stress", stress.soak, MINUTES, seed
    yield "sweeps", sweep_all, seed


def run(name, function, *arguments):
    """Say what a step found; returns whether it held. Whatever it raises, the others go on."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-", dir="build") as folder:
        try:
            for text in function(Path(folder).absolute(), *arguments):
                print(f"{name}: {text} ({time.monotonic() - start:.0f} s)", flush=True)
                start = time.monotonic()
        except Exception as error:
            expected = isinstance(error, (Lost, BoardError, OSError))
            text = str(error) if expected else traceback.format_exc()
            print(f"{name}: FAILED: {text} ({time.monotonic() - start:.0f} s)", flush=True)
            return False
    return True


def main():
    cuts = int(os.environ.get("CUTS") or 200)
    seed = int(os.environ.get("SEED") or random.randrange(10000))
    start = time.monotonic()
    print(f"SEED={seed}", flush=True)
    held = {name: run(name, *rest) for name, *rest in steps(cuts, seed)}
    failed = [name for name in held if not held[name]]
    minutes = (time.monotonic() - start) / 60
    if failed:
        return f"{len(failed)} of {len(held)} FAILED in {minutes:.0f} min: {'; '.join(failed)}."
    print(f"All {len(held)} held, {minutes:.0f} min.")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
