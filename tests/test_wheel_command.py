# SPDX-License-Identifier: MIT
"""The command micropython-virt of the wheel, in a folder of a user's."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import user
import wheel
from terminal import Terminal
from wheel import emulators

MIB = 1 << 20


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def run(project):
    return lambda *arguments, **options: wheel.run(*arguments, cwd=project, **options)


@pytest.fixture(params=["shared", "copied"])
def path(request, tmp_path):
    """The PATH to a QEMU that shares folders, and to one that cannot."""
    return os.environ["PATH"] if request.param == "shared" else wheel.without_folders(tmp_path)


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# Programs


def test_file_runs_with_its_arguments(run, project):
    (project / "hello.py").write_text("import sys\nprint(__name__, sys.argv)\n")
    assert run("run", "hello.py", "a", "--b") == (0, "__main__ ['hello.py', 'a', '--b']\n", "")


def test_module_runs_as_main_and_imports_what_is_beside_it(run, project):
    (project / "package").mkdir()
    (project / "package/__init__.py").write_text("")
    (project / "package/__main__.py").write_text("import other, sys\nprint(other.X, sys.argv)\n")
    (project / "other.py").write_text("X = 42\n")
    status, output, errors = run("-m", "package", "x")
    assert (status, output, errors) == (0, "42 ['-m', 'x']\n", "")


def test_text_runs(run):
    assert run("-c", "import sys; print(sys.argv)", "x") == (0, "['-c', 'x']\n", "")


@pytest.mark.parametrize(
    "code, status, complaint",
    [
        ("pass", 0, ""),
        ("import sys; sys.exit()", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit(True)", 1, ""),
        ("import sys; sys.exit('no room')", 1, "no room\n"),
        (
            "import machine; machine.reset()",
            121,
            "micropython-virt: the program reset the board\n",
        ),
        ("import board; board.poweroff()", 0, ""),
    ],
)
def test_exit_status_is_that_of_the_program(run, code, status, complaint):
    assert run("-c", code) == (status, "", complaint)


def test_uncaught_exception_is_1_with_a_traceback_of_the_users_files(run, project):
    (project / "wrong.py").write_text("def f():\n    1 / 0\n\nprint('before')\nf()\n")
    status, output, errors = run("run", "wrong.py")
    assert (status, output) == (1, "before\n")
    assert errors.splitlines() == [
        "Traceback (most recent call last):",
        '  File "wrong.py", line 5, in <module>',
        '  File "wrong.py", line 2, in f',
        "ZeroDivisionError: divide by zero",
    ]


def test_file_that_is_not_there_is_an_error_of_the_users_line(run, project):
    (project / "wrong.py").write_text("open('nothing')\n")
    assert run("run", "wrong.py")[2].splitlines() == [
        "Traceback (most recent call last):",
        '  File "wrong.py", line 1, in <module>',
        "OSError: [Errno 2] ENOENT",
    ]


def test_module_of_the_folder_stands_for_one_of_the_boards_own(run, project):
    for name in ("os", "io"):
        (project / f"{name}.py").write_text(f"mine = '{name}'\n")
    code = "import os, io\nprint(os.mine, io.mine)\n1 / 0\n"
    status, output, errors = run("-c", code)
    assert (status, output) == (1, "os io\n") and "ZeroDivisionError" in errors


TESTS = """\
import unittest

class TestIt(unittest.TestCase):
    def test_a(self):
        self.assertEqual(%s, 1)
    def test_b(self):
        self.skipTest("no")

unittest.main()
"""


@pytest.mark.parametrize("value, status, said", [(1, 0, "OK"), (2, 1, "FAIL"), ("x", 1, "ERROR")])
def test_unittest_main_runs_the_tests_of_a_program(run, project, value, status, said):
    (project / "tests.py").write_text(TESTS % value)
    code, output, _ = run("run", "tests.py")
    assert code == status
    assert "Ran 2 tests" in output and said in output


def test_syntax_error_names_file_and_line(run, project):
    (project / "wrong.py").write_text("x = 1\ny = = 2\n")
    status, output, errors = run("run", "wrong.py")
    assert status == 1
    assert 'File "wrong.py", line 2' in errors and "SyntaxError" in errors


def test_fault_is_120_and_shows_the_registers(run):
    code = "@micropython.asm_thumb\ndef f():\n    data(2, 0xde00)\nf()"
    status, _, errors = run("-c", code)
    assert status == 120
    assert "FATAL: undefined instruction" in errors and "r0 " in errors


@pytest.mark.parametrize(
    "code",
    [
        "print('before')\nwhile True: pass",
        "print('before')\nimport machine; machine.disable_irq()\nwhile True: pass",
        "print('before')\nwhile True:\n try:\n  while True: pass\n except KeyboardInterrupt: pass",
    ],
)
def test_time_limit_is_124(run, code):
    status, output, errors = run("--timeout", "2", "-c", code)
    assert (status, output) == (124, "before\n")
    assert "no end within 2 s" in errors


def test_time_limit_says_where_the_program_was(run, project):
    (project / "slow.py").write_text("def f():\n    while True: pass\n\nf()\n")
    status, _, errors = run("--timeout", "2", "run", "slow.py")
    assert 'File "slow.py", line 2, in f' in errors


def test_output_comes_as_it_is_printed(project):
    code = "print('first')\nimport time; time.sleep(60)"
    with wheel.start("-c", code, cwd=project) as process:
        assert process.stdout.readline() == "first\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_megabyte_of_output_arrives_whole(run):
    status, output, _ = run("-c", "for i in range(10000): print('%099d' % i)")
    assert output == "".join("%099d\n" % i for i in range(10000))


@pytest.mark.parametrize("text", ["\\x04", "\\x04>", "\\x04\\x04>", "OK", "\\x04\\x04>OK\\x04"])
def test_nothing_that_is_printed_is_taken_for_the_end(run, text):
    code = f"import time\nprint('{text}', end='')\ntime.sleep(1)\nprint('end')"
    status, output, _ = run("-c", code)
    assert status == 0 and output.endswith("end\n")


def test_input_reaches_the_program(run):
    code = (
        "import sys\nfor line in sys.stdin:\n    if line == 'end\\n': break\n    print(repr(line))"
    )
    assert run("-c", code, input="one\ntwo\nend\n") == (0, "'one\\n'\n'two\\n'\n", "")


def test_end_of_input_is_an_eoferror(run):
    code = "try:\n    input()\nexcept EOFError: print('the end')"
    status, output, _ = run("-c", code)
    assert (status, output) == (0, "the end\n")


def test_program_writes_to_the_current_folder(run, project, path):
    (project / "old.txt").write_text("old")
    (project / "gone.txt").write_text("gone")
    (project / "same.txt").write_text("same")
    before = (project / "same.txt").stat().st_mtime_ns
    code = (
        "import os\n"
        "os.mkdir('new'); open('new/file.txt', 'w').write('new')\n"
        "open('old.txt', 'a').write(' and new')\n"
        "os.remove('gone.txt')"
    )
    status, _, errors = run("-c", code, env=wheel.environment(PATH=path))
    assert (status, errors.count("\n")) == (0, path != os.environ["PATH"]), errors
    assert (project / "new/file.txt").read_text() == "new"
    assert (project / "old.txt").read_text() == "old and new"
    assert not (project / "gone.txt").exists()
    assert (project / "same.txt").stat().st_mtime_ns == before


def test_program_and_host_see_at_once_what_the_other_one_writes(project):
    code = (
        "f = open('said', 'w'); f.write('x'); f.close()\n"
        "import os\n"
        "while 'answer' not in os.listdir(): pass\n"
        "print(open('answer').read())\n"
        "while True: pass"
    )
    with wheel.start("-c", code, cwd=project) as process:
        wait_until(lambda: (project / "said").exists())
        (project / "new").write_text("y")
        (project / "new").rename(project / "answer")
        assert process.stdout.readline() == "y\n"
        process.kill()
    assert (project / "said").read_text() == "x"


def test_program_reaches_nothing_beside_the_current_folder(run, project, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (project / "up").symlink_to("../secret")
    (project / "whole").symlink_to(tmp_path / "secret")
    code = (
        "import os\n"
        "for name in 'up', 'whole', '/host/../secret', '/host/../host/../secret', '../secret':\n"
        "    try: print(name, open(name).read())\n"
        "    except OSError: pass\n"
    )
    assert run("-c", code) == (0, "", "")


def test_folder_may_be_larger_than_a_copy(run, project):
    with open(project / "large", "wb") as file:
        file.truncate(1 << 33)
    status, output, _ = run("-c", "import os; print(os.stat('large')[6] >> 30)")
    assert (status, output) == (0, "8\n")


def test_file_of_another_folder_imports_what_is_beside_it(run, project, path):
    other = project.parent / "other"
    other.mkdir()
    (other / "beside.py").write_text("X = 42\n")
    (other / "program.py").write_text("import os, beside\nprint(beside.X, os.listdir())\n1 / 0\n")
    (project / "here.txt").write_text("")
    status, output, errors = run("run", other / "program.py", env=wheel.environment(PATH=path))
    assert output == "42 ['here.txt']\n"
    assert 'File "program.py", line 3' in errors
    assert [path.name for path in project.iterdir()] == ["here.txt"]


# The board that was asked for


def test_heap_is_as_small_as_asked_for(run):
    code = (
        "import gc; gc.collect(); print(gc.mem_free())\n"
        "try: bytearray(200 * 1024)\n"
        "except MemoryError: print('full')"
    )
    status, output, _ = run("--heap", "192K", "-c", code)
    free, full = output.split()
    assert 190 * 1024 <= int(free) <= 192 * 1024
    assert full == "full"


def test_small_heap_is_not_spent_on_the_buffers_of_files(run, project):
    (project / "module.py").write_text(
        "".join(f"def f{i}(x): return x + {i}\n" for i in range(40))
    )
    code = (
        "import module\n"
        "files = [open('module.py') for _ in range(8)]\n"
        "print(sum(len(f.read(1)) for f in files))"
    )
    assert run("--heap", "64K", "-c", code) == (0, "8\n", "")


def test_memory_is_as_large_as_asked_for(run):
    _, output, _ = run("--memory", "256M", "-c", "import gc; print(gc.mem_free() >> 20)")
    assert 240 < int(output) < 256


def test_disks_are_found_behind_the_scratch_disk(run, project):
    (project / "raw.img").write_bytes(b"first" + bytes(MIB - 5))
    code = "import virtio\nb = bytearray(512)\nvirtio.Block(1).readblocks(0, b)\nprint(b[:5])"
    assert run("--disk", "raw.img", "-c", code) == (0, "bytearray(b'first')\n", "")


ONLINE = """\
import network, time
lan = network.LAN()
while not lan.isconnected():
    time.sleep_ms(1)
"""
REACH_HOST = """\
import socket
try:
    socket.socket().connect(("10.0.2.2", %d))
    print("reached")
except OSError:
    print("not reached")
"""


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_no_network_is_there_unasked(run):
    code = "import network, virtio; print(network.LAN().isconnected(), [t for t in virtio.scan() if t.device_type == 1])"
    assert run("-c", code) == (0, "False []\n", "")


def test_isolated_board_reaches_nothing_of_this_machine(run, listener):
    code = ONLINE + REACH_HOST % listener
    assert run("--net", "isolated", "-c", code) == (0, "not reached\n", "")


def test_board_on_the_users_network_reaches_this_machine(run, listener):
    code = ONLINE + REACH_HOST % listener
    assert run("--net", "user", "-c", code) == (0, "reached\n", "")


def test_forwarded_port_leads_to_the_board(project):
    code = ONLINE + (
        "import socket\n"
        "s = socket.socket()\n"
        "s.bind(('0.0.0.0', 80))\n"
        "s.listen(1)\n"
        "print('listens')\n"
        "s.accept()[0].write(b'hello')"
    )
    words = ("--net", "isolated", "--forward", "80", "-c", code)
    with wheel.start(*words, cwd=project) as process:
        said = process.stderr.readline()
        assert said.startswith("micropython-virt: the board's port 80 is 127.0.0.1:")
        assert process.stdout.readline() == "listens\n"
        port = int(said.split()[-2].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
            assert peer.recv(100) == b"hello"
    assert process.returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ("--forward", "80"),
        ("--net", "isolated", "--forward", "x:80"),
        ("--net", "isolated", "--forward", "99999"),
        ("--net", "wide"),
    ],
    ids=["no network", "no port", "no port that large", "no such network"],
)
def test_network_that_cannot_be_is_refused(run, words):
    status, _, errors = run(*words, "-c", "")
    assert status == 2 and errors


def test_qemu_takes_more_arguments(run):
    code = "import machine; print(machine.unique_id()[-1])"
    words = "-uuid 00000000-0000-0000-0000-00000000002a"
    assert run("--qemu-args", words, "-c", code) == (0, "42\n", "")


# What cannot be done


@pytest.mark.parametrize(
    "arguments, status, complaint",
    [
        (["run", "nothing.py"], 2, "can't open file 'nothing.py'"),
        (["--heap", "little", "-c", ""], 2, "'little' is no size"),
        (["--disk", "nothing.img", "-c", ""], 2, "there is no disk image"),
        (["--micropython", "0.1.0", "-c", ""], 126, "There is no MicroPython 0.1.0"),
        (["--qemu-args=-nonsense", "-c", ""], 126, "-nonsense: invalid option"),
        (["--qemu-args", '"', "-c", ""], 2, "No closing quotation"),
        (["--memory", "1K", "-c", ""], 2, "1K is too little for the board's memory"),
        (["--heap", "1K", "-c", ""], 2, "1K is too little for the board's heap"),
        (["--timeout", "0", "-c", ""], 2, "it must be more than nothing"),
        (["run", "."], 2, "which is a folder: -m MODULE runs a package"),
        (["run", "/dev/null"], 2, "it is no file"),
        (["--nonsense"], 2, "unrecognized arguments"),
        ([], 2, "the REPL needs a terminal"),
    ],
)
def test_what_cannot_be_done_is_said(run, arguments, status, complaint):
    code, output, errors = run(*arguments)
    assert (code, output) == (status, "")
    assert complaint in errors and "Traceback" not in errors


def test_file_that_cannot_be_read_is_said(reachable):
    (reachable / "mine.py").write_text("")
    (reachable / "mine.py").chmod(0)
    environment = wheel.environment(TMPDIR="/tmp")
    words = {"cwd": reachable, "user": user.command(), "env": environment}
    said = "micropython-virt: can't open file 'mine.py': it cannot be read\n"
    assert wheel.run("run", "mine.py", **words) == (2, "", said)


def test_folder_that_is_gone_is_said(project):
    command = [sys.executable, "-m", "micropython_virt", "-c", ""]
    shell = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", *command]
    options = {"env": wheel.environment(), "capture_output": True, "text": True}
    result = subprocess.run(shell, cwd=project, **options, timeout=120)
    said = "micropython-virt: the current folder is not there any more\n"
    assert (result.returncode, result.stdout) == (2, "") and result.stderr.endswith(said)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_files_may_be_closed(project, closed):
    (project / "writes.py").write_text("print('x')\nopen('written', 'w').close()\n")
    command = [sys.executable, "-m", "micropython_virt", "run", "writes.py"]
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command]
    options = {"env": wheel.environment(), "capture_output": True}
    result = subprocess.run(shell, cwd=project, **options, timeout=120)
    output = b"" if ">&-" in closed.replace("2>&-", "") else b"x\n"
    assert (result.returncode, result.stdout, result.stderr) == (0, output, b"")
    assert (project / "written").exists()


def test_output_that_takes_nothing_is_said(project):
    command = [sys.executable, "-m", "micropython_virt", "-c", "print('x')"]
    with open("/dev/full", "wb") as full:
        options = {"stdout": full, "stderr": subprocess.PIPE, "env": wheel.environment()}
        result = subprocess.run(command, cwd=project, **options, timeout=120)
    said = b"micropython-virt: No space left on device\n"
    assert (result.returncode, result.stderr) == (74, said)


def test_reader_that_leaves_ends_the_command(project):
    code = "n = 0\nwhile True:\n    print(n)\n    n += 1"
    with wheel.start("-c", code, cwd=project) as process:
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.wait(timeout=60) == 128 + signal.SIGPIPE
        assert process.stderr.read() == ""


def test_full_disk_of_this_machine_is_said(run, tiny):
    (tiny / "filler").write_bytes(bytes(2 * MIB - 65536))
    code = "with open('/file', 'w') as f:\n    for _ in range(1000): f.write('x' * 1000)\n"
    status, output, errors = run("-c", code, env=wheel.environment(TMPDIR=str(tiny)))
    said = "micropython-virt: a disk of the board could not be written: No space left on device\n"
    assert (status, output, errors) == (74, "", said)
    assert [path.name for path in tiny.iterdir()] == ["filler"]


def test_missing_qemu_is_said_with_how_to_get_it(run):
    status, _, errors = run("-c", "", env=wheel.environment(PATH="/nowhere"))
    assert status == 126
    for word in ("apt", "dnf", "brew", "Windows"):
        assert word in errors
    assert errors.count("\n") == 1


def test_versions_are_found_out_for_who_asks_and_nobody_else(run, project):
    (metadata,) = wheel.SITE.glob("*.dist-info")
    version = metadata.stem.partition("-")[2]
    assert run("--version") == (0, f"micropython-virt {version}, MicroPython 1.25.0\n", "")
    code = "import sys, micropython_virt.cli; print('importlib.metadata' in sys.modules)"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, cwd=project, env=wheel.environment(), capture_output=True)
    assert said.stdout == b"False\n", said.stderr


def test_old_qemu_is_said_by_its_version(run, tmp_path):
    old = tmp_path / "qemu-system-arm"
    old.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo QEMU emulator version 5.2.0 && exit\n"
        "echo 'qemu-system-arm: -fancy: invalid option' >&2; exit 1\n"
    )
    old.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    status, _, errors = run("-c", "", env=wheel.environment(PATH=path))
    assert status == 126
    assert "version 5.2" in errors and "7.2 is the oldest" in errors


def test_folder_that_cannot_be_written_is_read_only_for_the_program(reachable):
    """Nor is what only others may read there for it."""
    folder, secret = reachable / "folder", reachable / "folder/secret"
    folder.mkdir()
    (folder / "old").write_text("old")
    secret.write_text("secret")
    secret.chmod(0)
    folder.chmod(0o555)
    code = (
        "print(open('old').read())\n"
        "for name, mode in ('secret', 'r'), ('old', 'w'), ('new', 'w'):\n"
        "    try: open(name, mode)\n"
        "    except OSError as error: print(name, error.errno)\n"
    )
    environment = wheel.environment(TMPDIR="/tmp")
    said = wheel.run("-c", code, cwd=folder, user=user.command(), env=environment)
    assert said == (0, "old\nsecret 13\nold 13\nnew 13\n", "")
    folder.chmod(0o755)


def test_files_are_made_as_the_user_who_runs_the_command(reachable):
    user.give(reachable)
    environment = wheel.environment(TMPDIR="/tmp")
    code = "import os; os.mkdir('d'); f = open('d/f', 'w'); f.write('x'); f.close()"
    as_user = user.command()
    assert wheel.run("-c", code, cwd=reachable, user=as_user, env=environment) == (0, "", "")
    made = (reachable / "d/f").stat()
    assert (made.st_uid, made.st_mode & 0o600) == (reachable.stat().st_uid, 0o600)


def test_two_programs_run_in_one_folder_at_once(project):
    code = "import time; time.sleep(1); open('%s', 'w').write('x')"
    both = [wheel.start("-c", code % name, cwd=project) for name in ("a", "b")]
    for process in both:
        with process:
            process.communicate(timeout=120)
            assert process.returncode == 0
    assert sorted(path.name for path in project.iterdir()) == ["a", "b"]


# Ctrl-C, and what is left behind


@contextlib.contextmanager
def running(project, code, tmp_path):
    environment = wheel.environment(TMPDIR=str(tmp_path))
    process = wheel.start("-c", f"print('runs')\n{code}", cwd=project, env=environment)
    with process:
        try:
            assert process.stdout.readline() == "runs\n"
            yield process
        finally:
            process.kill()


def test_ctrl_c_is_the_programs(project, tmp_path):
    code = "try:\n    while True: pass\nexcept KeyboardInterrupt: print('caught')"
    with running(project, code, tmp_path) as process:
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("caught\n", "")
    assert process.returncode == 0


def test_uncaught_ctrl_c_is_130_and_leaves_nothing(project, tmp_path):
    with running(project, "while True: pass", tmp_path) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "KeyboardInterrupt" in errors
    assert not emulators(tmp_path)


def test_what_the_repl_says_behind_an_answer_is_no_part_of_it(run):
    status, output, errors = run(
        "-c", "import machine; machine.disable_irq(); raise KeyboardInterrupt"
    )
    assert (status, errors.splitlines()[-1]) == (130, "KeyboardInterrupt:")
    assert "interrupts" in output


def test_second_ctrl_c_ends_a_board_that_takes_none(project, tmp_path):
    code = "import machine; machine.disable_irq()\nwhile True: pass"
    with running(project, code, tmp_path) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert not emulators(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_killed_command_leaves_no_qemu(project, tmp_path, number):
    (tmp_path / "tmp").mkdir()
    with running(project, "while True: pass", tmp_path / "tmp") as process:
        assert emulators(tmp_path)
        process.send_signal(number)
        process.communicate(timeout=60)
    wait_until(lambda: not emulators(tmp_path))
    assert process.returncode == -number
    if number != signal.SIGKILL:
        assert not list((tmp_path / "tmp").iterdir())


def test_killed_command_brings_back_what_its_copy_of_the_folder_holds(project, tmp_path):
    path = wheel.without_folders(tmp_path)
    code = "f = open('new', 'w'); f.write('x'); f.close()\nimport os; os.sync()\nprint('runs')\n"
    environment = wheel.environment(PATH=path)
    words = ("-c", code + "while True: pass")
    with wheel.start(*words, cwd=project, env=environment) as process:
        assert process.stdout.readline() == "runs\n"
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    assert (project / "new").read_text() == "x"


# The terminal


def test_repl_is_at_this_terminal(project, path):
    (project / "mine.py").write_text("X = 42\n")
    command = ["env", "--chdir", str(project), f"PYTHONPATH={wheel.SITE}", f"PATH={path}"]
    with Terminal([*command, sys.executable, "-m", "micropython_virt"]) as terminal:
        terminal.wait_for(b">>> ")
        terminal.type(b"import mine; print(mine.X + 1)\r")
        terminal.wait_for(b"43")
        terminal.type(b"\x04")  # a soft reset; the folder is there again
        terminal.wait_for(b">>> ")
        terminal.type(b"import mine; print(mine.X + 2)\r")
        terminal.wait_for(b"44")
        terminal.type(b"\x1d")
        assert terminal.end() == 0


def test_served_board_is_there_for_mpremote_by_its_link(project, tmp_path):
    environment = wheel.environment(TMPDIR=str(tmp_path))
    link = project / "board.tty"
    (project / "data.txt").write_text("data")
    with wheel.start("serve", "--link", link, cwd=project, env=environment) as process:
        assert str(link) in process.stdout.readline()
        commands = (
            ["fs", "cp", "data.txt", ":/copy.txt"],
            ["exec", "print(open('/copy.txt').read())"],
        )
        for words in commands:
            mpremote = [sys.executable, "-m", "mpremote", "connect", str(link), *words]
            output = subprocess.check_output(mpremote, cwd=project, timeout=120)
        assert output == b"data\r\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert not link.is_symlink()
    assert not emulators(tmp_path)
