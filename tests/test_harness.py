# SPDX-License-Identifier: MIT
"""The harness itself: a pytest run on a folder of its own, looked at from outside."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import emulator
import pytest
from conftest import INTERFACES
from emulator import ROOT, Hung
from micropython_virt.board import Board, Raised

CONFTEST = """
from station import pytest_configure, pytest_pycollect_makemodule

pytest_plugins = ["micropython_virt.plugin"]
"""
SUITE = '''
import helper
import pytest

pytestmark = pytest.mark.board(interface=("modern",), qemu_args="-m 96M")

def test_passes():
    assert helper.ANSWER == 42

def test_fails():
    assert helper.ANSWER == 43, "the answer differs"

def test_skips():
    pytest.skip("not today")

@pytest.mark.timeout(3)
def test_hangs():
    print("before it hangs")
    while True:
        pass

def test_after_the_hang():
    import gc
    assert 80 << 20 < gc.mem_free() < 96 << 20
'''


class Suite:
    """A folder of target tests, and a pytest that runs it."""

    def __init__(self, folder):
        self.folder = folder
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        (folder / "target").mkdir()
        (folder / "conftest.py").write_text(CONFTEST)
        self.write("helper.py", "ANSWER = 42\n")

    def write(self, name, text):
        (self.folder / "target" / name).write_text(text)

    def start(self, *options):
        command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", *options]
        command += ["-o", f"board_testpaths={self.folder / 'target'}"]
        command += [f"--basetemp={self.folder / 'base'}", self.folder / "target"]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(self.temporary)},
        )

    def emulators(self):
        """The command lines of the QEMUs that work on this suite's disks."""
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                lines.append(path.read_bytes())
            except OSError:
                pass  # it has just ended
        return [line for line in lines if str(self.temporary).encode() in line]


@pytest.fixture
def suite(tmp_path):
    return Suite(tmp_path)


def test_each_function_is_a_test_by_its_name(suite):
    suite.write("test_suite.py", SUITE)
    output, _ = suite.start("-rA").communicate(timeout=120)
    assert "PASSED" in output and "test_suite.py::test_passes[modern]" in output
    assert "test_suite.py::test_fails[modern]" in output
    assert "AssertionError: the answer differs" in output
    assert "not today" in output
    assert "2 failed, 2 passed, 1 skipped" in output
    assert suite.emulators() == []


def test_hung_test_fails_by_name_and_the_next_gets_a_new_board(suite):
    suite.write("test_suite.py", SUITE)
    output, _ = suite.start("-rA", "-k", "hang").communicate(timeout=120)
    assert "test_hangs[modern]: no end within 3 s" in output
    assert "before it hangs" in output
    assert "1 failed, 1 passed" in output


def test_file_that_does_not_import_fails_each_of_its_tests(suite):
    suite.write("test_suite.py", "import nothing_there\n\ndef test_a():\n    pass\n")
    output, _ = suite.start().communicate(timeout=120)
    # In CI pytest says it once more, in its summary.
    assert output.count("ImportError: no module named 'nothing_there'") >= 2
    assert "2 failed" in output


@pytest.mark.parametrize("line", ['interface=("old",)', "interface=()"])
def test_word_that_means_nothing_is_an_error(suite, line):
    head = f"import pytest\n\npytestmark = pytest.mark.board({line})\n"
    suite.write("test_suite.py", f"{head}\ndef test_a():\n    pass\n")
    output, _ = suite.start().communicate(timeout=120)
    assert "1 error" in output


def test_killed_pytest_leaves_no_qemu(suite):
    suite.write(
        "test_suite.py",
        "import pytest\n\n@pytest.mark.timeout(100)\ndef test_long():\n    while 1: pass\n",
    )
    process = suite.start()
    wait_until(suite.emulators)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not suite.emulators())


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@INTERFACES
def test_deadline_kills_the_board_and_shows_its_last_words(start, modern):
    board = start(modern=modern)
    board.wait_for_prompt()
    with pytest.raises(Hung, match="(?s)no end within 2 s.*almost there"):
        board.exec("print('almost there')\nwhile True:\n    pass", seconds=2)
    board.process.wait(10)  # killed it was; the kernel may take its time


def test_monitor_that_does_not_answer_is_not_waited_for(start, monkeypatch):
    monkeypatch.setattr(emulator, "MONITOR_SECONDS", 1)
    board = start()
    board.process.send_signal(signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        board.monitor.cmd("query-status")
    board.close()
    assert board.process.returncode == -signal.SIGKILL


SLEEPER = "type('Sleeper', (), {'sleep': lambda token: __import__('time').sleep(100)})"


def test_ctrl_c_that_comes_before_the_program_is_the_programs():
    """To the console it would be input until then, and nobody's."""
    with Board(emulator.Machine()) as sleeper:
        request = sleeper.request("sleep", agent=SLEEPER)
        request.interrupt()
        with pytest.raises(Raised, match="KeyboardInterrupt"):
            request.wait(60)
