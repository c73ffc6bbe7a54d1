# SPDX-License-Identifier: MIT
"""The boards that tests run on, kept from one test to the next where that shows nothing."""

import shutil
import tempfile
import warnings
from pathlib import Path

import pytest

from . import coverage, session, settings
from .machine import ANY_PORT, Disk, Folder, Machine, NoFolders, firmware, size
from .process import BoardError
from .rewrite import rewrite

TESTER = "__import__('_micropython_virt_test')"
REWRITTEN = "rewritten"  # the tag of the folder with the tests as the board runs them
STATIONS = pytest.StashKey["Stations"]()
KEPT = 4  # boards that are kept, of different kinds


def load(board, path, folder, seconds, tracing=False):
    """Import a test file, which is in this folder of the board's."""
    what = f"importing {path.name}"
    board.ask("load", [folder], path.stem, tracing, timeout=seconds, what=what, agent=TESTER)


def run(board, path, name, seconds, class_name="", arguments={}, what=None):
    """Run one test of a file that has been imported, and return what it printed."""
    words = path.stem, class_name, name, arguments
    return board.ask("test", *words, timeout=seconds, what=what or name, agent=TESTER)[0]


class Stations:
    """The boards in use and at rest."""

    def __init__(self, config):
        self.config = config
        self.resting = []
        self._folder = None
        self._share = None

    def start(self, configuration):
        if self._share is None:
            self._folder = tempfile.TemporaryDirectory(prefix="micropython-virt-")
            self._share = self._shared()
        try:
            return Station(self.config, configuration, self._share)
        except NoFolders as without:
            if not isinstance(self._share, session.Shared):
                raise
            self._share = self._copied(without)
            return Station(self.config, configuration, self._share)

    def _shared(self):
        """The project's folder, and beside it the tests with their asserts rewritten."""
        top, rewritten = self.config.rootpath, Path(self._folder.name, REWRITTEN)
        for path in settings.folders(self.config):
            for file in path.rglob("*.py"):
                target = rewritten / file.relative_to(top)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(rewrite(file.read_bytes()))
        rewritten.mkdir(exist_ok=True)
        share = session.Shared(
            top,
            readonly=not self.config.getoption("share_writable"),
            more=[Folder(rewritten, REWRITTEN, readonly=True)],
        )
        share.move += f"{TESTER}.find_rewritten({REWRITTEN!r})\n"
        return share

    def _copied(self, why):
        if self.config.getoption("share_writable"):
            raise pytest.UsageError(f"--share-writable: {why}")
        warnings.warn(pytest.PytestWarning(f"{why}: boards have a copy of the project's folder"))
        path = Path(self._folder.name, "host")
        return session.Copied(path, self.config.rootpath, readonly=True, change=self._rewrite)

    def _rewrite(self, tree):
        """Rewrite the asserts of the tests that run on the board."""

        def walk(tree):
            for name, node in tree.items():
                if isinstance(node, dict):
                    walk(node)
                elif name.endswith(".py"):
                    tree[name] = rewrite(node.read_bytes())

        for path in settings.folders(self.config):
            node = tree
            for part in path.relative_to(self.config.rootpath).parts:
                node = node.get(part) if isinstance(node, dict) else None
            if isinstance(node, dict):
                walk(node)

    def take(self, configuration):
        """A station with a board that is as fresh as after its start."""
        for station in self.resting:
            if station.configuration == configuration:
                self.resting.remove(station)
                if station.refresh():
                    return station
                break
        return self.start(configuration)

    def give_back(self, station):
        if self.config.getoption("board_fresh") or station.board.process.is_over():
            station.close()
            return
        self.resting.append(station)
        while len(self.resting) > KEPT:
            self.resting.pop(0).close()

    def close(self):
        for station in self.resting:
            station.close()
        self.resting = []
        if self._folder:
            self._folder.cleanup()
            self._folder = self._share = None


class Station:
    """A board of one configuration, its disks, and the test file that is loaded on it."""

    def __init__(self, config, configuration, share):
        self.config = config
        self.configuration = configuration
        self.share = share
        self.loaded = None
        self.folder = tempfile.TemporaryDirectory(prefix="micropython-virt-")
        try:
            self.board = session.start(self.machine(), Path(self.folder.name, "scratch"), share)
            self.board.after_reset = self.find_project
            self.find_modules()
        except BaseException:
            self.folder.cleanup()
            raise

    def find_project(self):
        self.board.exec(self.share.move)
        self.find_modules()

    def find_modules(self):
        places = settings.places(self.config)
        self.board.exec(f"import sys; sys.path[:0] = {places!r}; del sys")

    def machine(self):
        asked = self.configuration
        return Machine(
            boot=["-kernel", asked.firmware or firmware(asked.micropython, asked.tracing)],
            modern=asked.interface == "modern",
            disks=[self.disk(number, given) for number, given in enumerate(asked.disks)],
            memory=asked.memory,
            heap=asked.heap,
            net=asked.net,
            ports=dict.fromkeys(asked.ports, ANY_PORT),
            more=list(asked.qemu_args),
        )

    def disk(self, number, given):
        """An empty disk of that size, or a copy of the image of that name."""
        path = Path(self.folder.name, f"disk{number}")
        try:
            length = size(given)
        except ValueError:
            shutil.copyfile(given, path)
        else:
            with open(path, "wb") as image:
                image.truncate(length)
        return Disk(path)

    def load(self, path, seconds):
        """Import a test file."""
        self.loaded = path
        folder = settings.on_board(self.config, path.parent)
        load(self.board, path, folder, seconds, self.configuration.tracing)

    def refresh(self):
        """Make the board as after its start; false if it does not come back."""
        try:
            self.collect_lines()
            self.board.ask("wipe", agent=TESTER)
            if self.configuration.disks:
                raise BoardError("its disks would have to be made anew")
            self.board.soft_reset()
            self.loaded = None
            return True
        except BoardError:
            self.close()
            return False
        except BaseException:
            self.board.close()
            self.close()
            raise

    def collect_lines(self):
        if self.configuration.tracing and self.loaded:
            coverage.add(self.board.ask("lines_run", agent=TESTER)[1][0])

    def close(self):
        try:
            if not self.board.process.is_over():
                self.collect_lines()
        except BoardError:
            pass
        self.board.close()
        self.folder.cleanup()
