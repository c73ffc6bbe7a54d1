# SPDX-License-Identifier: MIT
"""The command of the wheel, as make wheel has built it."""

import os
import subprocess
import sys
from pathlib import Path

from emulator import ROOT

SITE = ROOT / "build/wheel/site"


def environment(**more):
    assert SITE.exists(), "make wheel builds what is tested here"
    return os.environ | {"PYTHONPATH": str(SITE)} | more


def start(*arguments, cwd, **options):
    command = [sys.executable, "-m", "micropython_virt", *map(str, arguments)]
    options = {"stdin": subprocess.DEVNULL, "env": environment()} | options
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def run(*arguments, cwd, input=None, seconds=120, **options):
    """Run the command and return its exit status, its output and its complaints."""
    if input is not None:
        options["stdin"] = subprocess.PIPE
    with start(*arguments, cwd=cwd, **options) as process:
        try:
            output, errors = process.communicate(input, timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, output, errors


def emulators(mark):
    """The command lines of the QEMUs that have this text in theirs, or in their folder's name."""
    lines = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((path / "cmdline").read_bytes() + os.readlink(path / "cwd").encode())
        except OSError:
            pass  # it has just ended
    return [line for line in lines if b"qemu-system" in line and str(mark).encode() in line]
