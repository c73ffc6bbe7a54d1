# SPDX-License-Identifier: MIT
"""No operation takes more instructions or more heap than it did; counts, so nothing wanders."""

import json
import re

import pytest
from bench import instructions, report
from emulator import ROOT

FIGURES = {
    "add of 3, direct": 4000,
    "add of 3, indirect": 4000,
    "pop_used of 3, direct": 2000,
    "pop_used of 3, direct, interrupts wanted": 2000,
    "pop_used of 3, indirect": 2000,
    "pop_used of 3, indirect, interrupts wanted": 2000,
    "readblocks of 4 KiB": 8000,
    "heap taken by a request, any path": 0,
    "import, a disk, an entropy device": 16384,
}

# Where a page of docs tells a number; each group is that of an operation.
TOLD = {
    "data-path": {
        r"a disk's request: ([\d,]+) instructions": ["add of 3, direct"],
        r"look at the ring: ([\d,]+) instructions": ["pop_used of 3, direct"],
        r"three buffers, direct \| (\S+) \| (\S+)": [
            "add of 3, direct",
            "add of 3, packed, direct",
        ],
        r"three buffers, indirect \| (\S+) \| (\S+)": [
            "add of 3, indirect",
            "add of 3, packed, indirect",
        ],
        r"of them, direct \| (\S+) \| (\S+)": [
            "pop_used of 3, direct",
            "pop_used of 3, packed, direct",
        ],
        r"`should_notify` \| (\S+) \| (\S+)": ["should_notify", "should_notify, packed"],
        r"without the wait \| (\S+) \| (\S+)": [
            "readblocks of 4 KiB",
            "readblocks of 4 KiB, packed",
        ],
        r"`readmany` of 32 \| (\S+) \| (\S+)": [
            "readmany of 32 times 4 KiB",
            "readmany of 32 times 4 KiB, packed",
        ],
        r"without the wait: ([\d,]+) instructions": ["readblocks of 4 KiB"],
        r"32 requests takes ([\d,]+) instructions": ["readmany of 32 times 4 KiB"],
        r"64 bytes takes ([\d,]+)": ["Rng.readinto of 64 bytes"],
        r"that it has takes ([\d,]+)": ["Cache.readblocks of 512 bytes, there"],
        r"all there is to see: ([\d,]+)": ["readmany of 32 times 4 KiB"],
    },
    "host-folders": {
        r"a read of 4 KiB \| (\S+) \| (\S+)": [
            "9P: a read of 4 KiB",
            "9P: a read of 4 KiB, requests",
        ],
        r"a write of 4 KiB \| (\S+) \| (\S+)": [
            "9P: a write of 4 KiB",
            "9P: a write of 4 KiB, requests",
        ],
        r"a status \| (\S+) \| (\S+)": ["9P: a status", "9P: a status, requests"],
        r"opened and closed \| (\S+) \| (\S+)": [
            "9P: open and close",
            "9P: open and close, requests",
        ],
    },
    "serial-ports": {
        r"`write` of 1 KiB \| (\S+) \| (\S+)": [
            "a port: a write of 1 KiB",
            "a port: a write of 1 KiB, notifications",
        ],
        r"`readinto` of 1 KiB \| (\S+) \| (\S+)": [
            "a port: readinto of 1 KiB",
            "a port: readinto of 1 KiB, notifications",
        ],
    },
}


@pytest.fixture(scope="module")
def counts():
    return instructions.measure()


def test_no_count_has_grown_by_more_than_5_percent(counts):
    """With a compiler that no counts are kept for, what its code decides: by more than 10."""
    old, allowed = instructions.kept()
    assert instructions.grown(old, counts, allowed) == [], (
        "if that is meant: make bench-instructions UPDATE=1"
    )


def test_the_figures_that_are_counted_are_reached(counts):
    """Instructions where the compiler is one whose counts are kept, bytes with each."""
    rows = report.counted_figures(counts)
    assert {what: most for what, _, most, _ in rows} == FIGURES
    _, allowed = instructions.kept()
    if allowed == instructions.ALLOWED_OTHER:
        rows = [row for row in rows if row[1] not in instructions.COMPILED]
    assert [row for row in rows if row[3] is None or row[3] > row[2]] == []


@pytest.mark.parametrize("page", TOLD)
def test_the_page_tells_what_is_kept(page):
    kept = json.loads(instructions.KEPT.read_text())["12"]
    text = (ROOT / f"docs/{page}.md").read_text()
    for pattern, names in TOLD[page].items():
        told = re.search(pattern, text)
        assert told, pattern
        for number, name in zip(told.groups(), names):
            number = int(number.replace(",", ""))
            assert abs(number - kept[name][0]) * 20 <= number, (name, number, kept[name])


def test_what_has_grown_is_named():
    old = {"a": [100, "instructions"], "b": [100, "instructions"], "c": [0, "bytes"]}
    new = {"a": [106, "instructions"], "b": [105, "instructions"]}
    assert instructions.grown(old, new) == [
        "a: was 100 instructions, is 106",
        "c: was 0 bytes, is not measured any more",
    ]


def test_another_compiler_is_held_to_the_newest_that_is_kept(monkeypatch, tmp_path):
    path = tmp_path / "counts.json"
    path.write_text(json.dumps({"9": {"a": [9, "bytes"]}, "12": {"a": [12, "bytes"]}}))
    monkeypatch.setattr(instructions, "KEPT", path)
    for compiler, number, allowed in (("9", 9, 1.05), ("12", 12, 1.05), ("14", 12, 1.10)):
        monkeypatch.setattr(instructions, "compiler", lambda: compiler)
        assert instructions.kept() == ({"a": [number, "bytes"]}, allowed)


def test_another_compiler_changes_no_heap():
    old = {"a": [100, "instructions"], "b": [100, "bytes of heap"], "c": [0, "bytes a request"]}
    new = {"a": [110, "instructions"], "b": [106, "bytes of heap"], "c": [16, "bytes a request"]}
    assert instructions.grown(old, new, instructions.ALLOWED_OTHER) == [
        "b: was 100 bytes of heap, is 106",
        "c: was 0 bytes a request, is 16",
    ]
