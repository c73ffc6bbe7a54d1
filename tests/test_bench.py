# SPDX-License-Identifier: MIT
"""What make bench concludes from its rounds."""

import ast
import os
import subprocess
import threading
from types import SimpleNamespace

import pytest
from bench import compare, guest, profile, report, trace, waiting
from bench.guest import Unavailable
from emulator import built

COUNTS = {
    "add of 3, direct": [4001, "instructions"],
    "readblocks of 4 KiB": [8000, "instructions"],
    "readblocks": [0, "bytes a request"],
    "flush": [16, "bytes a request"],
}


def figure(found, what, unit):
    ((most, value),) = [
        row[2:] for row in report.figures(found, COUNTS) if row[:2] == [what, unit]
    ]
    return most, value


def test_a_figure_is_the_ratio_of_the_medians():
    row = {"library": [3.0, 90.0, 4.0], "C floor": [2.0, 2.0, 50.0]}
    found = {report.READS["null-co"]: {"4 KiB, depth 1": row}}
    assert figure(found, "4 KiB read, depth 1, null-co", "x C floor") == (1.15, 2.0)


def test_without_the_other_contestant_there_is_no_figure():
    found = {report.READS["null-co"]: {"4 KiB, depth 1": {"library": [3.0]}}}
    assert figure(found, "4 KiB read, depth 1, null-co", "x Linux") == (0.25, None)


def test_the_worst_path_counts_for_the_heap_of_a_request():
    assert figure({}, "heap taken by a request, any path", "bytes a request") == (0, 16)


def test_a_figure_is_reached_up_to_its_limit(capsys):
    report.reached([["a", "x", 2, 2.0], ["b", "x", 2, 2.01], ["c", "x", 2, None]])
    verdicts = [line.split("  ")[-1] for line in capsys.readouterr().out.splitlines()[2:]]
    assert verdicts == ["reached", "missed", "not measured"]


def test_the_spread_is_half_the_middle_half_in_percent_of_the_median():
    assert report.spread([1.0, 2.0, 4.0, 6.0, 100.0]) == 50.0
    assert report.spread([0.0, 0.0]) == 0.0


def test_a_single_value_has_no_spread():
    assert report.cell([5.0]) == "5.0"
    assert report.cell([4.0, 6.0]) == "5.0 ±10 %"


def test_bench_waiting_counts_the_requests_that_slept(start):
    """None that is watched for as long as it takes, and those that are not watched for at all.

    Not each of these: where the host takes the CPU away, one is done at the first look.
    """
    slow = ["-blockdev", waiting.SLOW, "-device", "virtio-blk-device,drive=slow"]
    board = start(more=slow)
    board.exec(waiting.ON_BOARD.read_bytes())
    board.exec("prepare('disk', 0, 4096)")
    _, _, slept = ast.literal_eval(board.exec(f"print(measure({1 << 29}, 20))"))
    assert slept == 0
    count, _, slept = ast.literal_eval(board.exec("print(measure(0, 20))"))
    assert slept > count // 2


def test_a_guest_that_fails_is_dropped_and_the_others_go_on(monkeypatch):
    asked = []

    def linux():
        asked.append(None)
        if len(asked) == 2:
            raise Unavailable("no answer:\nKernel panic")
        return 5.0

    todo = [
        ("group", "a", "library", lambda: 1.0),
        ("group", "a", "Linux", linux),
        ("group", "b", "Linux dd", lambda: 7.0),
        ("group", "b", "U-Boot", lambda: 9.0),
    ]
    monkeypatch.setattr(compare, "ROUNDS", 3)
    found, gone = compare.measure(todo)
    assert found["group"]["a"]["library"] == [1.0] * 3
    assert found["group"]["b"]["U-Boot"] == [9.0] * 3
    assert found["group"]["a"]["Linux"] == [5.0]
    assert len(asked) == 2
    assert gone == {"Linux": "not from round 2 on, a: no answer: Kernel panic"}


def test_a_guest_whose_qemu_has_ended_is_unavailable():
    ended = guest.Guest.__new__(guest.Guest)
    ended.process = subprocess.Popen(["true"], stdin=subprocess.PIPE, bufsize=0)
    ended.process.wait()
    with pytest.raises(Unavailable):
        ended.type("echo\n")
    with pytest.raises(Unavailable):
        compare.threads(ended.process)


def test_the_host_time_of_threads_that_have_ended_counts():
    process = SimpleNamespace(pid=os.getpid())
    before = compare.spent(process)

    def work():
        while compare.spent(process) - before < 50e6:
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert compare.spent(process) - before >= 50e6


def test_a_cell_in_bench_json_has_its_median_and_spread():
    found = {"group": {"a": {"library": [1.0, 2.0, 4.0, 6.0, 100.0]}}}
    cell = report.summary(found)["group"]["a"]["library"]
    assert cell == {"rounds": [1.0, 2.0, 4.0, 6.0, 100.0], "median": 4.0, "spread, %": 50.0}


def test_bench_trace_shows_what_a_filesystem_reads(capsys):
    asked = trace.requests("FAT", "read", 4096, cached=False)
    reads = [size for what, _, size, _ in asked if what == "read"]
    assert sum(reads) >= 1 << 20
    trace.summary(asked)
    assert f"{len(reads)} requests" in capsys.readouterr().out


def test_bench_profile_shows_the_functions_that_an_operation_calls(capsys):
    symbols = profile.Symbols(built("firmware.elf"))
    addresses = profile.operation(profile.trace("pop_used"), symbols)
    profile.tree(addresses, symbols).show()
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{len(addresses):,} (")
    assert any("virtio_ring" in line for line in others)


def test_only_the_bench_firmware_has_the_floor(start):
    found = start().exec(
        "try:\n    import floor\n    print(floor)\nexcept ImportError:\n    print(0)"
    )
    assert found.strip() == "0"
