# SPDX-License-Identifier: MIT
"""The pytest plugin of the wheel, in a project of a user's."""

import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as xml
from dataclasses import dataclass

import coverage
import pytest
import wheel
from test_wheel_command import wait_until

IMAGES = wheel.SITE / "micropython_virt/images"
INI = "[pytest]\nboard_testpaths = tests/board\n"
LIBRARY = "def twice(x):\n    if x is None:\n        return None\n    return 2 * x\n"
SUITE = '''\
import sys
import unittest

import pytest
from library import twice


def third(x):
    return 1 // x


def test_passes():
    assert twice(2) == 4
    assert sys.implementation.name == "micropython"


def test_traceback():
    third(0)


def test_prints():
    print("what it printed")
    assert False


def test_two_values():
    xs = [1, 2, 3]
    assert len(xs) == 4


def test_lists():
    assert [twice(i) for i in range(5)] == [
        0, 2, 5, 6, 8,
    ], "the lists differ"


def test_no_comparison():
    assert not twice(2)


def test_is_skipped():
    pytest.skip("not today")


@pytest.mark.skip(reason="by its mark")
def test_is_skipped_by_its_mark():
    1 / 0


@pytest.mark.xfail(reason="known")
def test_fails_as_known():
    assert False


@pytest.mark.parametrize("a, b", [(1, 2), (2, 4), (3, 7)])
def test_parameters(a, b):
    assert twice(a) == b


async def test_async():
    import asyncio

    await asyncio.sleep_ms(1)
    assert twice(1) == 3


@pytest.mark.timeout(2)
def test_hangs():
    print("before it hangs")
    while True:
        pass


def test_after_the_hang():
    with pytest.raises(ZeroDivisionError):
        third(0)


@pytest.mark.timeout(2)
def test_hangs_without_interrupts():
    import machine

    machine.disable_irq()
    while True:
        pass


def test_resets():
    import machine

    machine.reset()


def test_powers_off():
    import board

    board.poweroff()


def test_faults():
    @micropython.asm_thumb
    def f():
        data(2, 0xDE00)

    f()


kept = []


@pytest.mark.board(heap="1M")
def test_fills_the_memory():
    while True:
        kept.append(bytearray(100000))


def test_forges_a_result():
    print("\\x04\\x04>OK\\x04returned\\x04\\x04>")
    print("PASSED")
    assert False


def test_prints_a_megabyte():
    for i in range(10000):
        print("%099d" % i)


def test_deletes_its_own_file():
    import os

    os.remove(__file__)


def test_writes_where_it_is():
    with open("written.txt", "w") as f:
        f.write("x")
    assert open("/written.txt").read() == "x"


class TestCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.begun = True

    def setUp(self):
        self.x = 1

    def test_method(self):
        self.assertEqual(self.x, 1)
        self.assertTrue(self.begun)

    def test_method_that_fails(self):
        self.assertEqual(self.x, 2)

    @unittest.skip("not this one")
    def test_method_that_is_skipped(self):
        pass

    def test_raises(self):
        with self.assertRaises(ValueError):
            int("x")


class TestPlain:
    def setup_method(self):
        self.x = 2

    def test_method(self):
        assert self.x == twice(1)


@pytest.mark.files({"data.txt": "data", "folder/more.txt": b"more"})
def test_files():
    assert open("/data.txt").read() == "data"
    assert open("folder/more.txt", "rb").read() == b"more"


def test_finds_nothing_of_the_others():
    import os

    assert sorted(os.listdir("/")) == ["host"]
    assert kept == []


@pytest.mark.board(heap="64K")
def test_heap():
    import gc

    gc.collect()
    assert 48 * 1024 < gc.mem_free() <= 64 * 1024


@pytest.mark.board(memory="256M", disks=["2M"], qemu_args="-uuid 00000000-0000-0000-0000-00000000002a")
def test_board_of_its_own():
    import gc
    import machine
    import virtio

    assert gc.mem_free() > 200 << 20
    assert virtio.Block(1).block_count == 4096
    assert machine.unique_id()[-1] == 42
'''


@dataclass
class Result:
    status: int
    output: str
    outcomes: dict  # by the test's name
    texts: dict

    def outcome(self, outcome):
        return {name for name, each in self.outcomes.items() if each == outcome}


class Project:
    def __init__(self, folder):
        self.folder = folder
        self.write("pytest.ini", INI)
        self.write("src/library.py", LIBRARY)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def start(self, *options, **more):
        report = f"--junitxml={self.folder}/report.xml"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", report, *options]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=wheel.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *options, seconds=300, **more):
        with self.start(*options, **more) as process:
            output, _ = process.communicate(timeout=seconds)
        outcomes, texts = {}, {}
        for case in xml.parse(self.folder / "report.xml").iter("testcase"):
            name = case.get("name")
            kinds = [each.tag for each in case if each.tag in ("failure", "error", "skipped")]
            outcomes[name] = kinds[0] if kinds else "passed"
            texts[name] = "\n".join(
                (each.get("message") or "") + "\n" + (each.text or "") for each in case
            )
        return Result(process.returncode, output, outcomes, texts)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """What becomes of SUITE, run once for all who look at it."""
    project = Project(tmp_path_factory.mktemp("suite"))
    project.write("tests/board/test_suite.py", SUITE)
    return project.run()


# What a test's end is


def test_each_function_and_method_is_a_test_by_its_own_name(suite):
    passed = {
        "test_passes",
        "test_parameters[1-2]",
        "test_parameters[2-4]",
        "test_after_the_hang",
        "test_prints_a_megabyte",
        "test_writes_where_it_is",
        "test_method",
        "test_raises",
        "test_files",
        "test_finds_nothing_of_the_others",
        "test_heap",
        "test_board_of_its_own",
    }
    skipped = {
        "test_is_skipped",
        "test_is_skipped_by_its_mark",
        "test_fails_as_known",
        "test_method_that_is_skipped",
    }
    assert suite.outcome("passed") == passed, suite.output
    assert suite.outcome("skipped") == skipped
    assert suite.outcome("error") == set()
    assert suite.status == 1
    assert "test_suite.py::TestCase::test_method_that_fails" in suite.output


@pytest.mark.parametrize(
    "name, texts",
    [
        (
            "test_traceback",
            [
                "tests/board/test_suite.py:18: in test_traceback\n    third(0)",
                ">       return 1 // x\nE   ZeroDivisionError: divide by zero",
                "tests/board/test_suite.py:9: ZeroDivisionError",
            ],
        ),
        ("test_prints", ["E   assert False"]),
        ("test_two_values", ["E   assert 3 == 4\nE    +  where 3 = len(xs)"]),
        (
            "test_lists",
            [
                "E   AssertionError: the lists differ\nE   assert [0, 2, 4, 6, 8] == [0, 2, 5, 6, 8]",
                "At index 2 diff: 4 != 5",
            ],
        ),
        ("test_no_comparison", ["E   assert False\nE    +  where False = not twice(2)"]),
        ("test_parameters[3-7]", ["E   assert 6 == 7\nE    +  where 6 = twice(a)"]),
        ("test_async", ["E   assert 2 == 3"]),
        ("test_method_that_fails", ["1 != 2"]),
        ("test_fills_the_memory", ["MemoryError"]),
        ("test_deletes_its_own_file", ["OSError"]),
        ("test_forges_a_result", ["E   assert False"]),
        ("test_hangs", ["no end within 2 s", "test_suite.py\", line 71, in test_hangs"]),
        ("test_hangs_without_interrupts", ["no end within 2 s"]),
        ("test_resets", ["the board was reset by what ran on it"]),
        ("test_powers_off", ["QEMU has ended"]),
        ("test_faults", ["the board ended in a fault", "FATAL: undefined instruction"]),
    ],
)
def test_failure_says_what_is_wrong_in_the_users_words(suite, name, texts):
    assert suite.outcomes[name] == "failure"
    for text in texts:
        assert text in suite.texts[name]
    assert "_micropython_virt" not in suite.texts[name]


def test_output_is_captured(suite):
    for name, text in (("test_prints", "what it printed"), ("test_hangs", "before it hangs")):
        assert f"Captured stdout call -----\n{text}" in re.sub("-+", "-----", suite.output)


def test_file_that_does_not_compile_is_an_error_with_its_line(project):
    project.write("tests/board/test_wrong.py", "x = 1\ndef test_a()\n    pass\n")
    result = project.run()
    assert result.status == 2
    assert 'test_wrong.py", line 2' in result.output and "SyntaxError" in result.output


def test_file_that_does_not_import_fails_each_of_its_tests(project):
    text = "import nothing_there\ndef test_a(): pass\ndef test_b(): pass\n"
    project.write("tests/board/test_wrong.py", text)
    result = project.run()
    assert result.outcome("failure") == {"test_a", "test_b"}
    assert "ImportError: no module named 'nothing_there'" in result.texts["test_a"]
    assert "test_wrong.py:1" in result.texts["test_a"]


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("def test_a(tmp_path): pass", "wants tmp_path: tests on the board have no fixtures"),
        ("@pytest.mark.timeout(x)\ndef test_a(): pass", "must be plain data"),
        ("@pytest.mark.board(interface='old')\ndef test_a(): pass", "must be legacy or modern"),
    ],
)
def test_what_cannot_be_is_an_error_with_its_line(project, text, complaint):
    project.write("tests/board/test_wrong.py", f"import pytest\n{text}\n")
    result = project.run()
    assert result.status == 2
    assert complaint in result.output and "test_wrong.py:2" in result.output


# Tests on the host


HOST = '''\
import socket

import pytest
from micropython_virt import Raised, Reset


def test_code(board):
    assert board.exec("print('x')") == "x\\n"
    assert board.eval("[1, 'a', None]") == [1, "a", None]
    assert board.call("library.twice", 4) == 8
    with pytest.raises(Raised, match="ZeroDivisionError"):
        board.exec("1 / 0")


def test_files_in_and_out(board):
    content = bytes(range(256)) * 40
    board.put("/folder/file", content)
    assert board.get("/folder/file") == content


@pytest.mark.files({"data.txt": "data"})
def test_files_by_mark(board):
    assert board.get("/data.txt") == b"data"


def test_resets(board):
    board.exec("x = 1")
    board.soft_reset()
    assert board.eval("'x' in globals()") is False
    board.reset()
    board.put("/kept.txt", "kept")
    with pytest.raises(Reset):
        board.exec("import machine; machine.reset()")
    assert board.reset_cause() == "hard"
    assert board.get("/kept.txt") == b"kept"


def test_console(board):
    board.exec("print('said')")
    assert "said" in board.console


@pytest.mark.board(heap="64K")
def test_mark(board):
    assert board.eval("__import__('gc').mem_free()") <= 64 * 1024


@pytest.mark.board(net="isolated", ports=[80])
def test_network(board):
    board.exec(
        "import network, socket, time\\n"
        "while not network.LAN().isconnected(): time.sleep_ms(1)\\n"
        "s = socket.socket()\\n"
        "s.bind(('0.0.0.0', 80))\\n"
        "s.listen(1)\\n"
    )
    with socket.create_connection(("127.0.0.1", board.ports[80]), timeout=30) as peer:
        board.exec("s.accept()[0].write(b'hello')")
        assert peer.recv(100) == b"hello"


def test_two(boards):
    a, b = boards(2)
    a.exec("x = 1")
    b.exec("x = 2")
    assert (a.eval("x"), b.eval("x")) == (1, 2)
'''


def test_host_talks_to_boards(project):
    project.write("tests/test_host.py", HOST)
    result = project.run()
    assert result.status == 0, result.output
    assert len(result.outcome("passed")) == 8


# Options


SMALL = '''\
seen = []

def test_a():
    seen.append("a")

def test_b():
    print("seen", seen)
    import gc
    gc.collect()
    print("free", gc.mem_free())
'''


def test_boards_are_kept_unless_they_shall_be_fresh(project):
    project.write("tests/board/test_small.py", SMALL)
    assert "seen ['a']" in project.run("-rP").output
    assert "seen []" in project.run("-rP", "--board-fresh").output


WRITES = """\
def test_writes():
    with open("/host/made.txt", "w") as f:
        f.write("made")
    with open(__file__, "a") as f:
        f.write("# more\\n")
"""


def test_board_writes_to_the_project_where_it_may(project):
    project.write("tests/board/test_writes.py", WRITES)
    result = project.run()
    assert result.outcome("failure") == {"test_writes"} and "EROFS" in result.output
    assert not (project.folder / "made.txt").exists()
    assert project.run("--share-writable").status == 0
    assert (project.folder / "made.txt").read_text() == "made"
    assert (project.folder / "tests/board/test_writes.py").read_text() == WRITES + "# more\n"


def test_board_reaches_nothing_beside_the_project(tmp_path):
    (tmp_path / "secret").write_text("secret")
    project = Project(tmp_path / "project")
    text = "def test_a():\n    print(open('/host/%s').read())\n"
    for name, path in (("up", "../secret"), ("whole", tmp_path / "secret")):
        (project.folder / name).symlink_to(path)
        project.write(f"tests/board/test_{name}.py", text % name)
    result = project.run()
    for name in ("up", "whole"):
        assert f"tests/board/test_{name}.py:2: OSError" in result.output


def test_qemu_that_shares_no_folders_gets_a_copy(project, tmp_path):
    project.write("tests/board/test_suite.py", SUITE)
    path = wheel.without_folders(tmp_path)
    chosen = "test_passes or test_two_values or test_deletes"
    result = project.run("-k", chosen, PATH=path)
    assert result.outcome("passed") == {"test_passes"}
    assert "where 3 = len(xs)" in result.texts["test_two_values"]
    assert result.output.count("this QEMU shows no folders") == 1
    assert (project.folder / "tests/board/test_suite.py").read_text() == SUITE
    assert "--share-writable" in project.run("--share-writable", PATH=path).output


def test_tests_are_chosen_by_name_and_mark(project):
    project.write("tests/board/test_small.py", SMALL)
    assert project.run("-k", "test_a or nothing").outcomes == {"test_a": "passed"}
    text = "import pytest\n@pytest.mark.timeout(9)\ndef test_c(): pass\ndef test_d(): pass\n"
    project.write("tests/board/test_small.py", text)
    assert project.run("-m", "timeout").outcomes == {"test_c": "passed"}


def test_heap_is_that_of_the_option(project):
    project.write("tests/board/test_small.py", SMALL)
    (free,) = re.findall(r"free (\d+)", project.run("-rP", "--board-heap=96K").output)
    assert 80 * 1024 < int(free) <= 96 * 1024


def test_each_test_runs_in_each_micropython(project):
    project.write("tests/board/test_small.py", SMALL)
    result = project.run("--board-micropython=1.25.0,1.25.0")
    assert result.outcomes == {"test_a[1.25.0]": "passed", "test_b[1.25.0]": "passed"}


KINDS = '''\
import sys

import pytest
import virtio

pytestmark = pytest.mark.board(interface=("legacy", "modern"), firmware="own.elf")
seen = []

def given(test):
    return lambda: test(7)

@given
def test_a(number):
    assert number == 7
    seen.append("a")

def test_b():
    print("seen", seen, virtio.scan()[0].legacy, hasattr(sys, "settrace"))
'''


def test_each_test_runs_on_each_interface_of_the_firmware_that_is_named(project):
    (project.folder / "own.elf").write_bytes((IMAGES / "1.25.0-settrace.elf").read_bytes())
    project.write("tests/board/test_kinds.py", KINDS)
    result = project.run("-rP")
    names = {f"test_{name}[{interface}]" for name in "ab" for interface in ("legacy", "modern")}
    assert result.outcome("passed") == names == set(result.outcomes)
    # Those of one interface follow each other, on one board.
    assert re.findall(r"^seen .*", result.output, re.M) == [
        "seen ['a'] True True",
        "seen ['a'] False True",
    ]


@pytest.mark.parametrize("options", [[], ["-n2"]], ids=["alone", "xdist"])
def test_coverage_is_of_the_lines_that_ran_on_the_board(project, options):
    project.write("tests/board/test_a.py", "from library import twice\ndef test_a(): twice(1)\n")
    project.write("tests/board/test_b.py", "from library import twice\ndef test_b(): twice(2)\n")
    result = project.run("--board-cov", *options)
    assert result.status == 0, result.output
    data = coverage.CoverageData(str(project.folder / ".coverage"))
    data.read()
    assert data.measured_files() == {str(project.folder / "src/library.py")}
    assert sorted(data.lines(str(project.folder / "src/library.py"))) == [1, 2, 4]
    report = subprocess.check_output(
        [sys.executable, "-m", "coverage", "report", "-m"], cwd=project.folder, text=True
    )
    assert re.search(r"library.py +4 +1 +75% +3\n", report)


def test_lines_of_both_pythons_are_put_together(project):
    project.write("pytest.ini", INI + "pythonpath = src\n")
    project.write("tests/board/test_a.py", "from library import twice\ndef test_a(): twice(1)\n")
    project.write("tests/test_b.py", "from library import twice\ndef test_b(): twice(None)\n")
    result = project.run("--board-cov", "--cov=library")
    assert result.status == 0, result.output
    assert re.search(r"library.py +4 +0 +100%\n", result.output)


def test_workers_have_a_board_each(project):
    for name in "abcd":
        text = "def test_x(): print('ran')\n"
        project.write(f"tests/board/test_{name}.py", text.replace("test_x", f"test_{name}"))
    result = project.run("-n2")
    assert result.outcome("passed") == {"test_a", "test_b", "test_c", "test_d"}


@pytest.mark.parametrize(
    "option, complaint",
    [
        ("--board-micropython=0.1.0", "There is no MicroPython 0.1.0 in this package"),
        ("--board-heap=little", "'little' is no size"),
    ],
)
def test_option_that_cannot_be_is_said(project, option, complaint):
    with project.start(option) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 4 and complaint in output and "Traceback" not in output


def test_missing_qemu_is_said_by_each_test(project):
    project.write("tests/board/test_small.py", SMALL)
    result = project.run(PATH="/nowhere")
    assert result.status == 1
    assert "There is no qemu-system-arm on the PATH" in result.texts["test_a"]


def test_only_the_folders_of_the_ini_option_run_on_the_board(project):
    text = "import sys\ndef test_where(): assert sys.implementation.name == '%s'\n"
    project.write("pytest.ini", "[pytest]\nboard_testpaths = one two\n")
    for folder, name in (("one", "micropython"), ("two", "micropython"), ("tests", "cpython")):
        project.write(f"{folder}/test_{folder}.py", text % name)
    assert project.run().status == 0


def test_interrupted_run_leaves_no_qemu(project, tmp_path):
    project.write("tests/board/test_long.py", "def test_long():\n    while True: pass\n")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with project.start("-s", TMPDIR=str(temporary)) as process:
        wait_until(lambda: wheel.emulators(temporary))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 2
    assert not wheel.emulators(temporary)
    assert not list(temporary.iterdir())


def test_full_disk_of_this_machine_fails_the_test_that_fills_it(project, tiny):
    (tiny / "filler").write_bytes(bytes((2 << 20) - (256 << 10)))
    project.write(
        "tests/board/test_it.py",
        "def test_writes():\n"
        "    with open('/file', 'w') as f:\n"
        "        for _ in range(1000): f.write('x' * 1000)\n"
        "def test_next(): pass\n",
    )
    result = project.run(TMPDIR=str(tiny))
    assert result.outcomes == {"test_writes": "failure", "test_next": "passed"}, result.output
    assert "could not be written: No space left on device" in result.texts["test_writes"]


def test_interrupted_test_is_not_asked_for_more(project):
    code = "def test_it():\n    open('/host/begun', 'w').close()\n    while True: pass\n"
    project.write("tests/board/test_it.py", code)
    with project.start("--share-writable") as process:
        wait_until((project.folder / "begun").exists)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    assert "after its last test" not in output
