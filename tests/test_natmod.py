# SPDX-License-Identifier: MIT
"""Native modules, built with MicroPython's own py/dynruntime.mk."""

import subprocess
import sys

import pytest
from emulator import ROOT
from terminal import outside_make

SOURCE = ROOT / "tests/natmod/natmod.c"


@pytest.fixture
def module(tmp_path):
    """Build the module for an architecture, and return its bytes."""

    def module(architecture):
        folder = tmp_path / architecture
        folder.mkdir()
        (folder / "natmod.c").write_bytes(SOURCE.read_bytes())
        (folder / "Makefile").write_text(
            f"MPY_DIR = {ROOT}/build/micropython-1.25.0\n"
            "MOD = natmod\nSRC = natmod.c\n"
            f"ARCH = {architecture}\n"
            # Fewer operations of the module's own: a maximum is one instruction, or a branch.
            "CFLAGS_EXTRA = -ffast-math\n"
            "include $(MPY_DIR)/py/dynruntime.mk\n"
            f"PYTHON = {sys.executable} -B\n"
        )
        environment = outside_make() | {"PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run(["make", "-C", folder], check=True, capture_output=True, env=environment)
        return (folder / "natmod.mpy").read_bytes()

    return module


@pytest.fixture
def board(start, fat_disk):
    def board(content):
        board = start(disks=[fat_disk({"natmod.mpy": content})])
        board.wait_for_prompt()
        return board

    return board


def test_a_module_for_the_architecture_that_is_announced_works(module, board):
    output = board(module("armv7emsp")).exec("""
import array, natmod
numbers = array.array('f', (1, 4, -2, 3))
print(natmod.mean(numbers), natmod.largest(numbers), natmod.factorial(10))
""")
    assert output == "1.5 4.0 3628800\n"


def test_a_module_for_instructions_that_the_processor_lacks_is_refused(module, board):
    output = board(module("armv7emdp")).exec("""
try:
    import natmod
except ValueError as error:
    print(error)
""")
    assert output == "incompatible .mpy arch\n"
