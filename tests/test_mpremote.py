# SPDX-License-Identifier: MIT
"""The mpremote command against a running board, as its users call it."""

import hashlib
import random
import sys

import pytest
from emulator import BoardError
from terminal import Terminal


@pytest.fixture
def board(start, fat_disk):
    board = start(image="flash", disks=[fat_disk({"hello.txt": b"Hello.\n"})])
    board.wait_for_prompt()
    return board


def test_ls_and_cat(board):
    assert "7 hello.txt" in board.mpremote("ls")
    assert board.mpremote("cat", ":hello.txt") == "Hello.\n"


def test_cp_both_ways(board, tmp_path):
    content = random.Random(4).randbytes(50_000)
    (tmp_path / "there.bin").write_bytes(content)
    board.mpremote("cp", tmp_path / "there.bin", ":there.bin")
    board.mpremote("cp", ":there.bin", tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == content
    assert hashlib.sha256(content).hexdigest() in board.mpremote("sha256sum", ":there.bin")


def test_files_and_folders(board, tmp_path):
    board.mpremote("mkdir", ":folder", "+", "touch", ":folder/file")
    assert "file" in board.mpremote("ls", ":folder")
    board.mpremote("rm", ":folder/file", "+", "rmdir", ":folder")
    assert "folder" not in board.mpremote("ls")


def test_exec_eval_and_run(board, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(sys.platform)\n")
    assert board.mpremote("exec", "print(6 * 7)") == "42\n"
    assert board.mpremote("eval", "6 * 7") == "42\n"
    assert board.mpremote("run", script) == "qemu_virt\n"


def test_exception_is_a_failing_command(board):
    with pytest.raises(BoardError, match="ZeroDivisionError"):
        board.mpremote("exec", "1 / 0")


def test_mount_shows_the_hosts_folder(board, tmp_path):
    (tmp_path / "module_here.py").write_text("answer = 42\n")
    code = "import module_here; print(module_here.answer)"
    assert "42" in board.mpremote("mount", tmp_path, "exec", code)


def test_df_knows_the_disk(board):
    lines = board.mpremote("df").splitlines()
    (root,) = [line.split() for line in lines if line.split()[-1] == "/"]
    assert 7 << 20 < int(root[1]) < 8 << 20


def test_soft_reset_forgets_and_mounts_again(board):
    # resume keeps mpremote from its own soft reset
    board.mpremote("exec", "x = 1")
    assert board.mpremote("resume", "exec", "print(x)") == "1\n"
    board.mpremote("resume", "soft-reset")
    assert board.mpremote("resume", "eval", "'x' in globals()") == "False\n"
    assert board.mpremote("resume", "cat", ":hello.txt") == "Hello.\n"


def test_repl_talks_to_the_board(board):
    with Terminal([sys.executable, "-m", "mpremote", "connect", board.pty, "repl"]) as terminal:
        terminal.wait_for(b"exit this shell")
        terminal.wait_until_keys_pass()
        terminal.type(b"print(6 * 7)\r")
        terminal.wait_for(b"42\r\n>>> ")
        terminal.type(b"\x04")
        terminal.wait_for(b"soft reboot")
        terminal.wait_for(b">>> ")
        terminal.type(b"\x1d")
        assert terminal.end() == 0
