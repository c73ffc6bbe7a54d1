# SPDX-License-Identifier: MIT
"""make run, with and without a terminal."""

import subprocess

import fat
import pytest
from emulator import ROOT
from terminal import Terminal, outside_make

SECONDS = 60


def make(*arguments, text="", what="run"):
    """Call make run with a text as its input."""
    return subprocess.run(
        ["make", what, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=ROOT,
        env=outside_make(),
    )


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "card.img"
    fat.make(path, 8, {"hello.txt": b"Hello.\n"})
    return path


def test_no_input_shows_the_banner_and_ends(image):
    result = make(f"DISK={image}")
    assert result.returncode == 0, result.stderr
    assert "MicroPython" in result.stdout
    assert result.stdout.endswith(">>> \n")


def test_lines_of_input_are_typed_at_the_prompt(image):
    lines = "for n in range(3):\n    print('line', n)\n\nprint(open('/hello.txt').read())\n"
    result = make(f"DISK={image}", text=lines)
    assert result.returncode == 0, result.stderr
    assert "\nline 0\nline 1\nline 2\n" in result.stdout
    assert "\nHello.\n" in result.stdout


def test_nested_blocks_come_as_they_stand_in_the_input(image):
    lines = "def f(n):\n    if n:\n        return 'yes'\n    return 'no'\n\nprint(f(1), f(0))\n"
    assert "\nyes no\n" in make(f"DISK={image}", text=lines).stdout


def test_power_off_is_an_end(image):
    result = make(f"DISK={image}", text="import board; board.poweroff()\nprint('never')\n")
    assert result.returncode == 0, result.stderr
    assert "never" not in result.stdout


@pytest.mark.parametrize("modern, version", [("0", 1), ("1", 2)])
def test_modern_chooses_the_interface(image, modern, version):
    line = "import virtio; print([t.version for t in virtio.scan()])\n"
    assert (
        f"\n[{version}, {version}]\n"
        in make(f"DISK={image}", f"MODERN={modern}", "NET=none", text=line).stdout
    )


def test_qemu_args_reach_qemu(image):
    line = "import virtio; print(len(virtio.scan()))\n"
    result = make(f"DISK={image}", "NET=none", "QEMU_ARGS=-device virtio-rng-device", text=line)
    assert "\n3\n" in result.stdout


def test_disk_is_kept(image):
    make(f"DISK={image}", text="f = open('/kept.txt', 'w'); f.write('kept'); f.close()\n")
    fat.check(image)
    assert fat.read(image, "kept.txt") == b"kept"


@pytest.mark.parametrize(
    "argument, says",
    [("DISK=nowhere.img", "no disk image nowhere.img"), ("MODERN=2", "MODERN is 2")],
)
def test_wrong_argument_is_a_sentence(argument, says):
    result = make(argument)
    assert result.returncode != 0
    first = result.stderr.splitlines()[0]
    assert says in first and first.endswith(".")


def test_bad_qemu_argument_is_qemus_own_complaint(image):
    result = make(f"DISK={image}", "QEMU_ARGS=-nonsense")
    assert result.returncode != 0
    assert "-nonsense" in result.stderr
    assert "Traceback" not in result.stderr


def test_terminal_has_the_repl_and_ctrl_a_x_leaves(image):
    with Terminal(["make", "run", f"DISK={image}"]) as terminal:
        terminal.wait_for(b">>> ")
        terminal.type(b"import time\r")
        terminal.wait_for(b">>> ")
        terminal.type(b"while not print('running'): time.sleep(1)\r\r")
        terminal.wait_for(b"\nrunning\r")
        terminal.type(b"\x03")
        terminal.wait_for(b"KeyboardInterrupt")
        terminal.wait_for(b">>> ")
        terminal.type(b"\x01x")
        assert terminal.end() == 0


def test_mpremotes_commands_move_files_both_ways(image, tmp_path):
    (tmp_path / "there.txt").write_text("There.\n")
    words = f"cp {tmp_path}/there.txt : + cp :hello.txt {tmp_path}/back.txt + ls"
    result = make(f"DISK={image}", f"MPREMOTE={words}", what="repl")
    assert result.returncode == 0, result.stderr
    assert "there.txt" in result.stdout
    assert (tmp_path / "back.txt").read_bytes() == b"Hello.\n"
    fat.check(image)
    assert fat.read(image, "there.txt") == b"There.\n"
    result = make(f"DISK={image}", "MPREMOTE=cat :nothing", what="repl")
    assert result.returncode != 0 and "nothing" in result.stderr + result.stdout


def test_mpremotes_repl_and_its_key_leave(image):
    with Terminal(["make", "repl", f"DISK={image}"]) as terminal:
        terminal.wait_for(b"exit this shell")
        terminal.wait_until_keys_pass()
        terminal.type(b"print(6 * 7)\r")
        terminal.wait_for(b"42\r\n>>> ")
        terminal.type(b"\x1d")
        assert terminal.end() == 0
