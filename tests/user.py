# SPDX-License-Identifier: MIT
"""An ordinary user, for what root may do and others may not."""

import os
import subprocess
import sys

import pytest

NOBODY = 65534


def command():
    """What begins a command that an ordinary user runs: nothing where one runs the tests."""
    if os.geteuid() != 0:
        return []
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    result = subprocess.run([*words, sys.executable, "-c", ""], capture_output=True, text=True)
    if result.returncode != 0:
        pytest.skip(f"another user cannot run {sys.executable}: {result.stderr.strip()}")
    return words


def give(path):
    """Make a file or folder the ordinary user's."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
