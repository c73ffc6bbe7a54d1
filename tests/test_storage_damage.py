# SPDX-License-Identifier: MIT
"""Damaged filesystems of every kind; `make soak` mounts more of them."""

import random

import pytest
from soak import disks


@pytest.mark.parametrize("kind", disks.KINDS)
def test_a_damaged_filesystem_is_mounted_or_refused_with_a_reason(kind, tmp_path):
    seed = random.getrandbits(30)
    print("seed", seed)
    assert sum(disks.damaged(tmp_path, kind, 60, seed)) == 60
