# SPDX-License-Identifier: MIT
"""The command of the wheel, as make wheel has built it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from emulator import ROOT

SITE = ROOT / "build/wheel/site"


def environment(**more):
    assert SITE.exists(), "make wheel builds what is tested here"
    return os.environ | {"PYTHONPATH": str(SITE)} | more


def without_folders(folder):
    """The PATH to a QEMU as one that was built without 9P."""
    qemu = folder / "qemu-system-arm"
    qemu.write_text(
        '#!/bin/sh\ncase "$*" in *-fsdev*)\n'
        "  echo 'qemu-system-arm: -fsdev: fsdev is not supported by this qemu build.' >&2; exit 1;;\n"
        f'esac\nexec {shutil.which("qemu-system-arm")} "$@"\n'
    )
    qemu.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def start(*arguments, cwd, user=(), **options):
    """Start the command, as another user where that begins one."""
    command = [*user, sys.executable, "-m", "micropython_virt", *map(str, arguments)]
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
