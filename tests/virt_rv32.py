# SPDX-License-Identifier: MIT
"""MicroPython's own port for QEMU's RISC-V machine, as it is, with lib/virtio and tests of tests/target.

The library, what boards/VIRT_RV32 has and the tests lie in the machine's memory, where QEMU loads them:
as .mpy files in a filesystem, for that port freezes machine code at odd addresses.
"""

import subprocess

import overlay
from emulator import ROOT, Machine, drive
from micropython_virt.board import Board
from station import AGENT, Station, support

ELF = ROOT / "build/VIRT_RV32/firmware.elf"
BOARD = ROOT / "boards/VIRT_RV32"
LIBRARY_AT = 0x86000000
USE = """
import sys, uctypes, vfs
vfs.mount(vfs.VfsRom(uctypes.bytearray_at({}, {})), "/rom")
sys.path.insert(0, "/rom")
__import__("_micropython_virt")"""


def library(beside=()):
    """The library in a ROM, and other files beside it."""
    texts = {name: path.read_text() for name, path in overlay.files("processor").items()}
    return overlay.rom(texts, "rv32imc", sorted(beside))


def code_bytes(elf):
    words = subprocess.check_output(["riscv64-unknown-elf-size", elf], text=True).split()
    return int(words[words.index("filename") + 1])


class VirtRv32(Machine):
    def find_qemu(self):
        return "qemu-system-riscv32"

    def arguments(self):
        words = ["-M", "virt", "-bios", "none", "-display", "none", "-nic", "none", "-kernel", ELF]
        words += ["-device", f"loader,file={self.rom},addr={LIBRARY_AT},force-raw=on"]
        if self.modern:
            words += ["-global", "virtio-mmio.force-legacy=false"]
        for number, disk in enumerate(self.disks):
            words += ["-drive", drive(number, disk)]
            words += ["-device", f"virtio-blk-device,drive=disk{number}"]
        return [str(word) for word in [*words, "-device", "virtio-rng-device", *self.more]]


class Rv32Station(Station):
    """A board for these test files, each run on a new one: a soft reset leaves its devices running."""

    def __init__(self, configuration, tests):
        # The board's modules, the plugin's, and the tests with what they import.
        self.content = library([*BOARD.glob("*.py"), *AGENT, *tests, *support(tests[0])])
        super().__init__(configuration, rom=None)

    def make_machine(self, **fields):
        path = self.disks[0].with_name("rom")
        path.write_bytes(self.content)
        return VirtRv32(**fields | {"rom": path})

    def bring_up(self):
        if self.board:
            self.board.close()
        self.board = Board(self.machine)

    def begin(self, path, folder):
        start = USE.format(LIBRARY_AT, len(self.content))
        self.board.ask("execute", "", what=f"finding {path.name}", agent=start)
