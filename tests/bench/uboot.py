# SPDX-License-Identifier: MIT
"""U-Boot, from Debian's u-boot-qemu: a boot loader's driver, in C, which polls.

Its build has no command that tells the time, so commands are timed from the host, many at once.
What a command costs without its request is known from one whose block is in U-Boot's own cache;
it prints as many characters, as that is most of its time. The difference is the request. Only a
file's read is timed by U-Boot itself.

It polls its console too, so that QEMU is stopped while it is not asked anything: it would keep a
core of the host busy.
"""

import re
import signal
import time
from contextlib import contextmanager

from bench import guest
from bench.guest import Unavailable
from emulator import ROOT

FOLDER = ROOT / "build/u-boot"
IMAGE = FOLDER / "root/usr/lib/u-boot/qemu_arm/u-boot.bin"
BUFFER = "42000000"
SECTOR = 512
TURNS = 4


def image():
    """-> the firmware. Raises Unavailable."""
    if not (FOLDER / "root").exists():
        guest.fetch("U-Boot", FOLDER, lambda apt: ["u-boot-qemu"])
    return IMAGE


class Guest(guest.Guest):
    """U-Boot at its prompt, its disks found."""

    def __init__(self, arguments):
        super().__init__([*arguments, "-bios", image()])
        self.run("virtio scan")
        self.disks = {}  # by the number of sectors
        number = None
        for line in self.run("virtio info").splitlines():
            if device := re.match(r"Device (\d+):", line):
                number = int(device[1])
            elif capacity := re.search(r"\((\d+) x 512\)", line):
                self.disks[int(capacity[1])] = number
        self.version = self.run("version").splitlines()[0]
        self.process.send_signal(signal.SIGSTOP)

    def boot(self):
        self.read_to("Hit any key", 30)
        self.type(" \n")
        self.read_to("^=> ", 30)

    @contextmanager
    def awake(self):
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGSTOP)

    def read(self, sectors, size):
        """Microseconds of a read of `size` bytes from the disk with so many sectors."""
        with self.awake():
            self.run(f"virtio dev {self.disks[sectors]}")
            return self.request(size // SECTOR)

    def request(self, count):
        took = known = 0.0
        for _ in range(TURNS):
            # The cache keeps small reads only; 0 switches it off.
            self.run("blkcache configure 8 32")
            block = 10 ** (2 * len(str(count)) - 2)  # so that the lines are equally long
            self.run(f"virtio read {BUFFER} {block:x} 1")
            known += self.timed(f"virtio read {BUFFER} {block:x} 1")
            self.run("blkcache configure 0 0")
            took += self.timed(f"virtio read {BUFFER} 0 {count:x}")
        return (took - known) / TURNS

    def timed(self, command, times=512):
        """Microseconds of a command, of which 512 or so are made."""
        eight = "0 1 2 3 4 5 6 7"
        for name in "abc":
            command = f"for {name} in {eight}; do {command}; done"
        start = time.monotonic()
        output = self.run(command)
        took = time.monotonic() - start
        if output.count("OK") != times:
            raise Unavailable(f"{command}: {output[-300:]}")
        return took * 1e6 / times

    def read_file(self, sectors, name):
        """Microseconds of reading a whole file, which U-Boot tells in whole milliseconds."""
        with self.awake():
            output = self.run(f"fatload virtio {self.disks[sectors]} {BUFFER} {name}")
        took = re.search(r"bytes read in (\d+) ms", output)
        if took is None:
            raise Unavailable(f"fatload: {output}")
        return int(took[1]) * 1000
