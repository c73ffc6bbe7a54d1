# SPDX-License-Identifier: MIT
"""make watch: the board's queues and QEMU's view of the same, beside each other."""

import os
import subprocess
import sys

import pytest
from conftest import INTERFACES
from emulator import ROOT

LINES = """\
rng = virtio.Rng(0)
queue = rng.queues[0]
data = bytearray(24)
token = queue.add([], [data])
rng.transport.notify(0)
queue.pop_used(token)
1 / 0
"""


@INTERFACES
def test_both_views_of_a_request_are_shown_and_agree(modern):
    result = subprocess.run(
        [sys.executable, ROOT / "tools/watch.py"],
        input=LINES,
        env={**os.environ, "MODERN": str(int(modern)), "PYTHONPATH": str(ROOT / "tools")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    if "CommandNotFound" in result.stdout:
        pytest.skip("this QEMU has no x-query-virtio")
    steps = result.stdout.split("\n> ")
    added, notified, popped = steps[4:7]
    assert "24 bytes" in added.partition("|")[0] + added and "to be taken next: head 0" in added
    assert "last-avail-idx       0" in added
    assert "last-avail-idx       1" in notified and "used-idx             1" in notified
    assert "to be taken next" not in notified and "0:24" in notified
    assert popped.partition("\n")[2].startswith("24\n")
    assert "ZeroDivisionError" in steps[7]
