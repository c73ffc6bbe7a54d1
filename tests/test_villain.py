# SPDX-License-Identifier: MIT
"""The drivers that break the rules, in examples/villain.py: QEMU may end, but not the board's rules."""

import villain
from conftest import INTERFACES


@INTERFACES
def test_each_misdeed_is_done_and_a_reset_brings_the_device_back(modern):
    found = {name: rest for name, *rest in villain.report(modern)}
    for name, (section, rule, seen, complaint, alive) in found.items():
        # Where QEMU itself does not survive a misdeed there is no device to come back.
        assert "it works" in seen or not alive, (name, seen, complaint)
    assert len(found) >= (38 if modern else 34)
    assert "Looped descriptor" in found["loop"][3]
    assert ("asks for a reset" in found["loop"][2]) == modern
    assert "used 1" not in found["early_bell"][2]
