# SPDX-License-Identifier: MIT
"""Break each rule of the tables in turn, and see the test that it names fail.

Run by `make mutants`, which is long: RULES=text does those only whose line has it. The library comes
from the files, so the firmware is built once.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import overlay
from collector import Station, constants
from emulator import IMAGES, BoardError, built
from rules import rules

SECONDS = 90


class Lab:
    """Boards on which a test is run with a changed library."""

    def __init__(self, folder):
        self.image = Path(folder, "library.img")
        # As it is now, whatever is built meanwhile.
        firmware = shutil.copy(built("firmware.elf"), folder)
        IMAGES["elf"] = lambda: ["-kernel", firmware]
        self.green = {}  # by test: whether it passes with the library as it is

    def run(self, test, changes):
        """What a test says of the library with these changes: None if it passes, or its last line."""
        path, _, function = test.partition("::")
        path = rules.TESTS / path
        says = constants(rules.ast.parse(path.read_bytes()))
        found = None
        for interface in says.get("CONFIGS", ("legacy", "modern")):
            said = self.run_on(interface, says, path, function, changes)
            found = found or said
            if said and not said.startswith("at the start"):
                return said
        return found

    def run_on(self, interface, says, path, function, changes):
        try:
            overlay.image(changes, self.image)
        except subprocess.CalledProcessError as error:
            return "does not compile: " + error.stderr.strip().rpartition("\n")[2]
        configuration = (interface, says.get("QEMU_ARGS", ""), says.get("IMAGE", "elf"))
        station = Station(configuration)
        station.machine.rom = self.image
        try:
            station.load(path)
            if station.loaded.error:
                return f"at the start: {station.loaded.error}"
        except BoardError as error:
            return f"at the start: {last_line(error)}"
        try:
            station.run(path, function, SECONDS)
        except BoardError as error:
            return last_line(error)
        finally:
            station.close()
        return None

    def judge(self, rule):
        """'seen', 'not seen', or what else is wrong with a mutant."""
        if rule.test not in self.green:
            self.green[rule.test] = self.run(rule.test, {})
        if self.green[rule.test]:
            return f"fails anyhow: {self.green[rule.test]}"
        try:
            changes = rules.mutants(rule)
        except LookupError as error:
            return f"no mutant: {error}"
        said = self.run(rule.test, changes)
        if said is None:
            return "not seen"
        if said.startswith("does not compile"):
            return said
        return "seen: " + said


def last_line(error):
    return str(error).strip().rpartition("\n")[2]


def main():
    wanted = os.environ.get("RULES", "")
    chosen = [rule for rule in rules.load() if rule.test and wanted in str(rule) + rule.test]
    seen = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        lab = Lab(folder)
        for rule in chosen:
            verdict = lab.judge(rule)
            seen += verdict.startswith("seen")
            print(
                f"{'' if verdict.startswith('seen') else '! '}{rule}\n      {verdict}", flush=True
            )
    print(f"{seen} of {len(chosen)} broken rules were seen by the test they name")
    return seen < len(chosen)


if __name__ == "__main__":
    sys.exit(main())
