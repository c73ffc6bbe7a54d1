# SPDX-License-Identifier: MIT
"""Fixtures for the host's tests; the files of target/ run on the board, as station.py says."""

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import fat
import pytest
from emulator import ROOT, Board, Disk, Machine
from peers import online, peer
from station import pytest_configure, pytest_pycollect_makemodule

pytest_plugins = ["micropython_virt.plugin"]

# pytest numbers the folders in here, so that runs at the same time do not meet; nothing is
# written outside build/.
(ROOT / "build/tmp").mkdir(parents=True, exist_ok=True)
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(ROOT / "build/tmp"))

# Where a shell runs the tests beside it, it has them ignore Ctrl-C, and so would what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# One seed for all workers, which inherit it: the sweeps of a run are one sample.
os.environ["SEED"] = os.environ.get("SEED") or str(random.randrange(10000))

# What make test deals to its workers: a test at a time, but for files with something that is made
# once, which go whole, and first, the longest before the others.
WHOLE = (
    "test_docs.py",  # a clone, in which one command begins where another ended
    "test_virt_rv32.py",  # boards
    "test_wheel_install.py",  # virtual environments
    "test_wheel_pytest.py",  # a run of pytest that many look at
    "test_storage_block.py",  # boards
    "test_instructions.py",  # a measurement
    "test_network_programs.py",  # certificates
)
BOARD_FILES = "target"  # each has its board
WORKERS = 2  # for each core: half of a test's time is waiting, for a clock or a deadline

INTERFACES = pytest.mark.parametrize("modern", [False, True], ids=["legacy", "modern"])


@pytest.fixture
def start():
    """Start a Machine, given by its fields, as a Board; it ends with the test."""
    boards = []

    def start(**fields):
        boards.append(Board(Machine(**fields)))
        return boards[-1]

    yield start
    for board in boards:
        board.close()


@pytest.fixture
def fat_disk(tmp_path):
    """Make a FAT disk of 8 MiB with the files given by name; names are counted, disk0.img…"""
    made = []

    def fat_disk(files=None, readonly=False):
        path = tmp_path / f"disk{len(made)}.img"
        fat.make(path, 8, files or {})
        made.append(Disk(path, readonly=readonly))
        return made[-1]

    return fat_disk


@pytest.fixture
def disk(tmp_path):
    """Make a raw disk of the given content."""

    def disk(content, **options):
        path = tmp_path / f"raw{len(list(tmp_path.iterdir()))}.img"
        path.write_bytes(content)
        return Disk(path, **options)

    return disk


@pytest.fixture
def tiny():
    """The path of a filesystem of 2 MiB, of which a file named filler takes half."""
    script = "mount -t tmpfs -o size=2M none /mnt && echo mounted && exec cat"
    # cat ends with its input, which is this process's, and the filesystem with it.
    with subprocess.Popen(
        ["unshare", "-rm", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        said = process.stdout.readline()
        if said != b"mounted\n":
            pytest.skip(f"this host lets nobody make a filesystem: {said.decode().strip()}")
        path = Path(f"/proc/{process.pid}/root/mnt")
        (path / "filler").write_bytes(bytes(1 << 20))
        yield path
        process.stdin.close()


@pytest.fixture
def reachable():
    """A folder that every user can reach, which those of pytest are not."""
    path = Path(tempfile.mkdtemp(prefix="reachable-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    return WORKERS * len(os.sched_getaffinity(0))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Begin with what goes whole."""
    if hasattr(config, "workerinput"):
        places = {name: place for place, name in enumerate((*WHOLE, BOARD_FILES))}
        items.sort(key=lambda item: places.get(whole(item.nodeid), len(places)))


def whole(nodeid):
    """Which of the files that go whole a test is of, if of one."""
    path = Path(nodeid.partition("::")[0])
    if path.parent.name == BOARD_FILES:
        return BOARD_FILES
    return path.name if path.name in WHOLE else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return nodeid.partition("::")[0] if whole(nodeid) else nodeid

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter):
    """Say how large the matrix, the sample of the sweeps and the run on VIRT_RV32 are, where they ran."""
    passed = terminalreporter.stats.get("passed", [])
    say_virt_rv32(terminalreporter, passed)
    say_matrix(terminalreporter, [report.nodeid for report in passed])
    say_sweeps(terminalreporter, passed + terminalreporter.stats.get("failed", []))


def say_sweeps(terminalreporter, reports):
    points = [
        value for report in reports for name, value in report.user_properties if name == "points"
    ]
    if points:
        import test_sweeps as sample

        kinds = len(sample.sweep.KINDS)
        terminalreporter.write_line(
            f"the sweeps: {sum(points)} points of {sample.SERIES * len(points)} series"
            f" of {kinds} kinds of injection, SEED={sample.SEED}"
        )


def say_matrix(terminalreporter, ran):
    if not any("target/test_queue.py" in name for name in ran):
        return
    source = Path(__file__).with_name("target").joinpath("test_queue.py").read_text()
    tests = len(re.findall(r"^@every_form$", source, re.MULTILINE))
    rings = len(re.search(r"^RINGS = \((.*)\)$", source, re.MULTILINE)[1].split(","))
    terminalreporter.write_line(
        f"the queue's matrix: {tests} tests in {rings * 4} forms (ring, indirect, event_idx)"
    )


def say_virt_rv32(terminalreporter, passed):
    count = sum("test_virt_rv32.py::test_it_is_so" in report.nodeid for report in passed)
    if count:
        from virt_rv32 import ELF, code_bytes, library

        terminalreporter.write_line(
            f"VIRT_RV32: {count} tests passed there; {code_bytes(ELF):,} bytes of firmware,"
            f" {len(library()):,} of the library"
        )
