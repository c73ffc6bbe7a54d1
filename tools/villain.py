# SPDX-License-Identifier: MIT
"""Break the specification's rules for drivers against QEMU, and report what it makes of each.

Run by `make villain`. The board has devices for nothing else; where QEMU ends, it is started again.
"""

import ast
import sys
import tempfile
from pathlib import Path

from emulator import ROOT, Board, BoardError, Disk, Ended, Hung, Machine

VILLAIN = ROOT / "examples/villain.py"


class Victim:
    """A board whose devices are there to be wronged."""

    def __init__(self, modern, folder):
        disk = Path(folder, "victim.img")
        disk.write_bytes(bytes(1 << 20))
        packed = ["-device", "virtio-rng-device,packed=on"] if modern else []
        self.machine = Machine(modern=modern, disks=[Disk(disk)], more=packed)
        self.board = None

    def run(self, code, seconds=30):
        if self.board is None:
            self.board = Board(self.machine)
            self.board.wait_for_prompt()

            self.board.exec(
                VILLAIN.read_bytes() + b"\nfor driver in virtio.opened(): driver.deinit()\n"
            )
        return self.board.exec(code, seconds)

    def complaint(self, before):
        """What QEMU has said since, in a line."""
        said = self.board.errors.read_text(errors="replace")[before:]
        return " / ".join(
            dict.fromkeys(line.partition(": ")[2] or line for line in said.split("\n") if line)
        )

    def close(self):
        if self.board:
            self.board.close()
            self.board = None


def misdeeds(victim):
    """All that this victim has a device for: (name, section, rule)."""
    code = "print([m[:3] for m in MISDEEDS if suitable(m[4], m[3])])"
    return ast.literal_eval(victim.run(code))


def commit(victim, name):
    """-> (what the device did, what QEMU said, whether QEMU still runs)"""
    victim.run("pass")
    before = victim.board.errors.stat().st_size
    code = (
        f"name, _, _, device, kind, _ = [m for m in MISDEEDS if m[0] == {name!r}][0]\n"
        "print(commit(name, suitable(kind, device)))"
    )
    try:
        seen, alive = victim.run(code).strip().replace("\n", " "), True
    except (Ended, Hung) as error:
        seen, alive = "QEMU " + ("ends" if isinstance(error, Ended) else "hangs"), False
    except BoardError as error:
        seen, alive = "the board: " + str(error).strip().rpartition("\n")[2], True
        complaint = victim.complaint(before)
        victim.close()
        return seen, complaint, alive
    complaint = victim.complaint(before)
    if not alive:
        victim.close()
    return seen, complaint, alive


def report(modern):
    """A line for each misdeed: (section, rule, seen, complaint, alive)."""
    with tempfile.TemporaryDirectory(prefix="villain-") as folder:
        victim = Victim(modern, folder)
        try:
            for name, section, rule in misdeeds(victim):
                yield name, section, rule, *commit(victim, name)
        finally:
            victim.close()


def main():
    for modern in (True, False):
        print("The modern interface" if modern else "\nThe legacy interface")
        for _, section, rule, seen, complaint, _ in report(modern):
            print(f"\n{section:<10} a driver that {rule}\n           {seen}", flush=True)
            if complaint:
                print(f"           QEMU: {complaint}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except BoardError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
