# SPDX-License-Identifier: MIT
"""The short form of make soak's power cuts, and what make soak makes of a step that fails."""

import pytest
from conftest import INTERFACES
from soak import soak
from soak.powercut import Lost, PowerCuts


@INTERFACES
@pytest.mark.parametrize("kind", ["FAT", "littlefs"])
def test_what_was_synced_survives_a_power_cut(tmp_path, kind, modern):
    test = PowerCuts(tmp_path, kind, modern=modern, seed=None)
    for _ in range(3):
        test.cut()
    while not test.result.flushes:  # each came at once
        assert test.result.cuts < 30
        test.cut()


def test_what_was_synced_has_reached_the_disk(tmp_path):
    """The image's tables are in QEMU's memory until a flush, and are lost with it."""
    test = PowerCuts(tmp_path, "littlefs", qcow2=True, seed=None)
    for _ in range(3):
        test.cut()


@pytest.mark.parametrize("kind", ["FAT", "littlefs"])
def test_a_synced_file_that_is_lost_is_found_out(tmp_path, kind):
    test = PowerCuts(tmp_path, kind, seed=None)
    test.cut()
    test.expected.files.add(999999)
    with pytest.raises(Lost, match="999999"):
        test.cut()


def test_a_step_that_fails_is_named_at_the_end_and_the_others_go_on(monkeypatch, capsys):
    def holds(folder, number):
        yield f"{number} found"

    def fails(folder, error):
        yield "a part"
        raise error

    steps = [("one", holds, 1), ("two", fails, Lost("a file")), ("three", fails, KeyError("x"))]
    monkeypatch.setattr(soak, "steps", lambda cuts, seed: [*steps, ("four", holds, 4)])
    assert soak.main() == "2 of 4 FAILED in 0 min: two; three."
    said = capsys.readouterr().out
    assert "two: FAILED: a file" in said and "KeyError" in said and "four: 4 found" in said
    monkeypatch.setattr(soak, "steps", lambda cuts, seed: steps[:1])
    assert not soak.main()
