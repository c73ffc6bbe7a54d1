# SPDX-License-Identifier: MIT
"""What the documents say is run as written: Python on a board, commands in a fresh clone."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import fat
import pytest
from conftest import INTERFACES
from emulator import ROOT, Folder
from terminal import outside_make
from test_serial import port

DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/board.md",
    "docs/learn.md",
    "docs/slow-motion.md",
    "docs/interruptions.md",
    "docs/network.md",
    "docs/host-folders.md",
    "docs/serial-ports.md",
]
PAGES = [
    "docs/writing-a-driver.md",
    "docs/data-path.md",
    "docs/versions.md",
    "docs/another-port.md",
]  # whose Python has tests of its own
IMAGES = {"CONTRIBUTING.md": "inject"}  # the firmware of what a page shows, if not make run's
VENV = ROOT / "build/venv"
HERE = {"make test", "make wheel"}  # what runs this, and what it begins with
USERS = ["docs/testing-your-project.md", "host/README.md", "CHANGELOG.md"]  # test_wheel_install.py


def blocks(name, language):
    text = (ROOT / name).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands():
    lines = [
        line
        for name in DOCUMENTS + PAGES
        for block in blocks(name, "sh")
        for line in block.split("\n")
    ]
    said = [re.sub(r"\s+#.*", "", line).strip() for line in lines]
    return [command for command in dict.fromkeys(said) if command and command not in HERE]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone, but for what would be fetched, with the files that the documents speak of.

    The firmware in it is the one from which this runs: what builds that one is no other command.
    """
    clone = tmp_path_factory.mktemp("clone") / "project"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns("build", ".git", "__pycache__"))
    # A folder of links: were the environment made anew here, it is the links that would go.
    (clone / "build/venv").mkdir(parents=True)
    for fetched in (
        "micropython-1.25.0",
        "third",
        *(f"venv/{path.name}" for path in VENV.iterdir()),
    ):
        (clone / "build" / fetched).symlink_to(ROOT / "build" / fetched)
    # With their times, so that make sees that nothing has changed since.
    for built in (os.environ.get("BOARD", "QEMU_VIRT_ARM"), "mpy-cross"):
        shutil.copytree(ROOT / "build" / built, clone / "build" / built, symlinks=True)
    shutil.copy2(ROOT / "build/.built-from", clone / "build/.built-from")
    for stamp in ("build/.packages", "build/venv/.made"):
        (clone / stamp).unlink(missing_ok=True)
        (clone / stamp).touch()
    fat.make(clone / "card.img", 8, {"hello.txt": b"Hello.\n"})
    (clone / "folder").mkdir()
    (clone / "folder/data.txt").write_text("A file in a folder.\n")
    (clone / "main.py").write_text("print('main.py runs')\n")
    (clone / "path/to").mkdir(parents=True)
    (clone / "path/to/micropython").symlink_to(ROOT / "build/micropython-1.25.0")
    return clone


@pytest.mark.parametrize("command", commands())
def test_command_does_what_it_says_it_does(clone, command):
    """In the order of the documents: some begin where another ended."""
    result = subprocess.run(
        ["bash", "-c", command],
        cwd=clone,
        env=outside_make(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout


@INTERFACES
@pytest.mark.parametrize("name", DOCUMENTS)
def test_python_runs_at_the_prompt(start, fat_disk, tmp_path, name, modern):
    """In paste mode, on the board that make run starts."""
    machine = {"modern": modern, "disks": [fat_disk()], "net": "user"}
    if name == "docs/host-folders.md":
        machine["folders"] = [Folder(tmp_path)]
    if name == "docs/serial-ports.md":
        machine["more"] = ["-device", "virtio-serial-device,max_ports=3"]
        machine["more"] += port(tmp_path, "log") + port(tmp_path, "rpc")
    board = start(image=IMAGES.get(name, "flash"), **machine)
    board.wait_for_prompt()
    for block in blocks(name, "python"):
        board.type("\x05")
        board.wait_for("=== ")
        board.type(block.replace("\n", "\r") + "\x04")
        output = board.wait_for_prompt()
        assert "Traceback" not in output, output


def test_documents_name_files_that_exist():
    for name in DOCUMENTS + PAGES + USERS:
        for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text()):
            assert (ROOT / name).parent.joinpath(link).exists(), f"{name} links to {link}"
