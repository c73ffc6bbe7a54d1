# SPDX-License-Identifier: MIT
"""No operation takes more instructions or more heap than it did; counts, so nothing wanders."""

import pytest
from bench import instructions


def test_no_count_has_grown_by_more_than_5_percent():
    kept = instructions.kept()
    if kept is None:
        pytest.skip(f"no counts are kept for version {instructions.compiler()} of the compiler")
    assert instructions.grown(kept, instructions.measure()) == [], (
        "if that is meant: make bench-instructions UPDATE=1"
    )


def test_what_has_grown_is_named():
    old = {"a": [100, "instructions"], "b": [100, "instructions"], "c": [0, "bytes"]}
    new = {"a": [106, "instructions"], "b": [105, "instructions"]}
    assert instructions.grown(old, new) == [
        "a: was 100 instructions, is 106",
        "c: was 0 bytes, is not measured any more",
    ]
