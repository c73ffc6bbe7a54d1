# SPDX-License-Identifier: MIT
"""The long tests of storage and entropy, one after the other; each says what it found.

From the environment: CUTS, how often the power is cut for each filesystem, and SEED.
"""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fat
from emulator import Board, BoardError, Disk, Machine
from soak.powercut import Lost, PowerCuts

MIB = 1 << 20
LARGE = 1024  # MiB of the large file
ENTROPY = 16  # MiB of random bytes
ENT_CHI_SQUARE = (0.01, 99.99)  # percent; outside of it ent itself speaks of "almost certainly"

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
    test = PowerCuts(folder, kind, qcow2, modern=seed % 2 == 0, seed=seed)
    for _ in range(cuts):
        test.cut()
    result = test.result
    text = f"{result.cuts} cuts, {result.synced} times a synced file was there and whole, "
    text += f"{result.unsynced} files not synced, {result.incomplete} of them incomplete, "
    text += f"{result.flushes} flushes"
    for finding, count in result.findings.items():
        text += f", fsck.fat {count} times: {finding}"
    return text


def large_file(folder, kind):
    path = folder / "large.img"
    if kind == "FAT":
        fat.make(path, LARGE + 64, {})
    else:
        path.touch()
        os.truncate(path, (LARGE + 64) * MIB)
    with Board(Machine(disks=[Disk(path)])) as board:
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
    return f"{LARGE} MiB written, synced, read back, sha256 {found[:16]}…"


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
    with Board(Machine(disks=[Disk(path)])) as board:
        board.wait_for_prompt()
        board.exec(
            f"""
import virtio
disk, rng = virtio.Block(0), virtio.Rng(0)
data = bytearray({MIB})
for n in range({ENTROPY}):
    rng.readinto(data)
    disk.writeblocks(n * 2048, data)
disk.flush()
""",
            600,
        )
        board.power_off()
    return battery(path)


def battery(path):
    """Debian's rngtest (FIPS 140-2, of whose blocks a few fail by chance) and ent."""
    said = []
    if shutil.which("rngtest"):
        with open(path, "rb") as file:
            result = subprocess.run(["rngtest"], stdin=file, capture_output=True, text=True)
        counts = dict(
            line.split(": ")[1:3]
            for line in result.stderr.splitlines()
            if "FIPS 140-2 successes" in line or "FIPS 140-2 failures" in line
        )
        good, bad = int(counts["FIPS 140-2 successes"]), int(counts["FIPS 140-2 failures"])
        if bad * 200 > good + bad:
            raise Lost(f"rngtest fails {bad} of {good + bad} blocks")
        said.append(f"rngtest {good} blocks passed, {bad} failed")
    if shutil.which("ent"):
        words = subprocess.check_output(["ent", "-t", path], text=True).splitlines()[1].split(",")
        bits = float(words[2])
        if bits < 7.9999:
            raise Lost(f"ent finds {bits} bits of entropy a byte")
        said.append(f"ent {bits} bits a byte")
    if not said:
        raise OSError("Install rng-tools5 or ent: there is no battery to test the entropy with.")
    return f"{ENTROPY} MiB: " + ", ".join(said)


def main():
    cuts = int(os.environ.get("CUTS") or 200)
    seed = int(os.environ.get("SEED") or random.randrange(10000))
    print(f"SEED={seed}")
    steps = []
    for number, kind in enumerate(("littlefs", "FAT", "littlefs", "FAT")):
        qcow2 = number >= 2
        where = "qcow2" if qcow2 else "raw"
        count = cuts // 2 if qcow2 else cuts
        steps.append(
            (f"power cuts, {kind} on {where}", cut_power, kind, qcow2, count, seed + number)
        )
    steps.append(("a large file on littlefs", large_file, "littlefs"))
    steps.append(("a large file on FAT", large_file, "FAT"))
    steps.append(("entropy", entropy))
    failed = False
    for what, step, *arguments in steps:
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="soak-", dir="build") as folder:
            try:
                text = step(Path(folder).absolute(), *arguments)
            except (Lost, BoardError, OSError) as error:
                failed, text = True, f"FAILED: {error}"
        print(f"{what}: {text} ({time.monotonic() - start:.0f} s)", flush=True)
    return failed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
