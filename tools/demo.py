# SPDX-License-Identifier: MIT
"""The main job without a keyboard: files both ways and entropy, checked by the board and the host.

For each virtio interface a board boots from flash with a disk that the host made. Exits 0 only
if everything held.
"""

import array
import ast
import hashlib
import random
import sys
import time
from pathlib import Path

import fat
from emulator import ROOT, Board, BoardError, Disk, Machine

MIB = 1 << 20
PIECE = 65536
GREETING = b"Hello from the host.\n"
FROM_HOST = "host.bin"
FROM_BOARD = "board.bin"
WRITTEN = 4 * MIB
DRAWN = MIB
# A byte value comes 4096 times in a uniform MiB, give or take 64: this is nine times that.
EXPECTED, SPREAD = DRAWN // 256, 576
ON_BOARD = Path(__file__).with_name("demo_on_board.py")


class Failed(Exception):
    pass


def hold(condition, otherwise):
    if not condition:
        raise Failed(otherwise)


def board_content(size):
    """What fill() in demo_on_board.py writes."""
    words = array.array("I")
    x = 0
    for _ in range(size // 4):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
        words.append(x)
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes()


class Demo:
    """The steps on one interface, and the rows of the table that they leave."""

    def __init__(self, interface, image):
        self.interface = interface
        self.image = image
        self.rows = []

    def say(self, text):
        print(f"{self.interface}: {text}", flush=True)

    def measured(self, what, size, microseconds):
        self.rows.append((self.interface, what, size, microseconds / 1e6))

    def ask(self, board, call):
        """Call a function of demo_on_board.py and return its result."""
        return ast.literal_eval(board.exec(f"print({call})", 120, call))

    def run(self):
        content = random.Random(self.interface).randbytes(2 * MIB + 12345)
        fat.make(self.image, 32, {"hello.txt": GREETING, FROM_HOST: content})
        self.say("made a 32 MiB FAT disk with hello.txt and host.bin")
        disks = [Disk(self.image)]
        with Board(
            Machine(image="flash", modern=self.interface == "modern", disks=disks)
        ) as board:
            board.wait_for_prompt()
            self.measured("QEMU to the prompt", 0, (time.monotonic() - board.started) * 1e6)
            self.say("booted from flash to the prompt")
            board.exec(ON_BOARD.read_bytes())
            self.read_from_host(board, content)
            self.write_on_board(board)
            self.draw_entropy(board)
            self.power_off(board)
        self.check_disk(content)

    def read_from_host(self, board, content):
        greeting = board.exec("print(open('/hello.txt', 'rb').read())")
        hold(ast.literal_eval(greeting) == GREETING, f"the board read hello.txt as {greeting}")
        digest, size, took = self.ask(board, f"digest_of('/{FROM_HOST}')")
        hold(size == len(content), f"host.bin has {len(content)} bytes, the board read {size}")
        hold(digest == hashlib.sha256(content).digest(), "the board's SHA-256 of host.bin differs")
        self.measured("read the host's file", size, took)
        self.say("the board read the host's files; the SHA-256 is right")

    def write_on_board(self, board):
        size, took = self.ask(board, f"write_file('/{FROM_BOARD}', {WRITTEN // PIECE})")
        self.measured("wrote a file", size, took)
        self.say(f"the board wrote board.bin, {size // MIB} MiB")

    def draw_entropy(self, board):
        least, most, took = self.ask(board, f"draw({DRAWN})")
        hold(
            EXPECTED - SPREAD < least and most < EXPECTED + SPREAD,
            f"the entropy is not uniform: its bytes came between {least} and {most} times",
        )
        self.measured("drew entropy", DRAWN, took)
        self.say(f"the board drew {DRAWN // MIB} MiB of entropy; its bytes are evenly spread")

    def power_off(self, board):
        board.power_off()
        self.say("the board powered itself off")

    def check_disk(self, content):
        fat.check(self.image)
        self.say("fsck finds the filesystem clean")
        hold(fat.read(self.image, FROM_HOST) == content, "host.bin is not what the host wrote")
        hold(
            fat.read(self.image, FROM_BOARD) == board_content(WRITTEN),
            "board.bin is not what the board should have written",
        )
        self.say("host.bin and board.bin are right bit for bit")


def table(rows):
    print(f"\n{'interface':<10} {'what':<22} {'bytes':>9} {'seconds':>8} {'MiB/s':>8}")
    for interface, what, size, seconds in rows:
        rate = f"{size / MIB / seconds:8.1f}" if size else ""
        print(f"{interface:<10} {what:<22} {size or '':>9} {seconds:8.3f} {rate}".rstrip())
    print()


def main():
    rows = []
    for interface in ("legacy", "modern"):
        demo = Demo(interface, ROOT / f"build/demo-{interface}.img")
        try:
            demo.run()
        except (Failed, BoardError, OSError) as error:
            sys.exit(f"{interface}: FAILED: {error}")
        rows += demo.rows
    table(rows)
    print("Everything held on both interfaces.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
