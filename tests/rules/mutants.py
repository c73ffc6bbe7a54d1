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
from contextlib import closing
from pathlib import Path

import overlay
import station
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
        found = None
        for configuration in [case[0] for case in station.cases(path) if case[1] == function]:
            said = self.run_on(configuration, path, function, changes)
            found = found or said
            if said and not said.startswith("at the start"):
                return said
        return found

    def run_on(self, configuration, path, function, changes):
        try:
            overlay.image(changes, self.image)
        except subprocess.CalledProcessError as error:
            return "does not compile: " + error.stderr.strip().rpartition("\n")[2]
        when = "at the start: "
        try:
            with closing(station.Station(configuration, rom=self.image)) as board:
                board.load(path)
                when = ""
                board.run(path, function, SECONDS)
        except BoardError as error:
            return when + last_line(error)
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
