# SPDX-License-Identifier: MIT
"""What comes after a fault or a watchdog's reset, and the clock, beside the host's."""

import os
import subprocess
import sys
import time

import fat
import pytest
from emulator import ROOT, Disk

UNDEFINED = b"""
@micropython.asm_thumb
def undefined():
    data(2, 0xDE00)
"""
FAULT = UNDEFINED + b"undefined()\n"
WAITING = "boot.py and main.py wait for Ctrl-D"
CAUSE = "import machine; print(machine.reset_cause() == machine.%s)"


@pytest.mark.parametrize("script", ["boot.py", "main.py"])
def test_a_script_that_faults_is_not_started_again(start, fat_disk, script):
    board = start(disks=[fat_disk({script: b"print('script')\n" + FAULT})])
    board.wait_for("FATAL: ")
    said = board.wait_for(WAITING)
    board.wait_for_prompt()
    assert "script" not in said
    assert board.exec(CAUSE % "FAULT_RESET") == "True\n"
    board.disconnect()
    board.type("\x04")
    assert "script" in board.wait_for("FATAL: ")
    board.wait_for(WAITING)
    board.wait_for_prompt()


def test_after_other_resets_main_runs(start, fat_disk):
    board = start(disks=[fat_disk({"main.py": b"print('script')\n"})])
    board.wait_for_prompt()
    board.type("import machine; machine.reset()\r")
    board.wait_for("script")
    board.wait_for_prompt()


def test_input_that_ends_in_a_fault_ends_with_a_status_of_its_own(tmp_path):
    image = tmp_path / "card.img"
    fat.make(image, 8, {"main.py": FAULT})
    command = [sys.executable, ROOT / "tools/run.py"]
    result = subprocess.run(
        command,
        input="1\n",
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"DISK": str(image)},
    )
    assert result.returncode == 120, result.stderr
    assert result.stdout.count("FATAL: undefined instruction") == 1


@pytest.mark.parametrize(
    "program",
    [
        "exec('while True: pass')",
        "micropython.native(lambda: [0 for _ in iter(int, 1)])()",
        "sum(range(10 ** 9))",
        "machine.lightsleep()",
        "import time; time.sleep(1000)",
    ],
)
def test_a_watchdog_that_is_not_fed_resets(start, program):
    board = start()
    board.wait_for_prompt()
    board.type(f"import machine; w = machine.WDT(timeout=100); {program}\r")
    board.wait_for("MicroPython")
    board.wait_for_prompt()
    assert board.exec(CAUSE % "WDT_RESET") == "True\n"


def test_a_watchdog_that_is_fed_does_not_reset_nor_end_with_a_soft_reset(start):
    board = start()
    board.wait_for_prompt()
    code = """
import machine, time
for timeout in (0, -1, 1 << 30):
    try:
        machine.WDT(timeout=timeout)
    except ValueError:
        continue
    raise AssertionError(timeout)
try:
    machine.WDT(1)
    raise AssertionError
except ValueError:
    pass
watchdog = machine.WDT(timeout=2000)
for _ in range(25):
    time.sleep_ms(100)
    watchdog.feed()
print(machine.reset_cause() == machine.PWRON_RESET)
"""
    assert board.exec(code) == "True\n"
    board.disconnect()
    board.type("\x02\x04")
    board.wait_for("soft reboot")
    board.wait_for_prompt()
    board.wait_for("MicroPython")  # it comes again when the time is up
    board.wait_for_prompt()
    assert board.exec(CAUSE % "WDT_RESET") == "True\n"


def test_the_clock_is_the_hosts(start):
    """To the time that the question itself took, and by no more than that."""
    board = start()
    board.wait_for_prompt()
    board.exec("import time; time.time_ns()")
    best = None
    for _ in range(20):
        before = time.time_ns()
        board_ns = int(board.exec("print(time.time_ns())"))
        after = time.time_ns()
        error = max(before - board_ns, board_ns - after, 0)
        best = error if best is None else min(best, error)
    assert best <= 1_000_000


def test_the_clock_is_one_with_the_ticks_from_the_start_and_after_it_was_set(start):
    board = start()
    board.wait_for_prompt()
    code = """
import machine, time

def check():
    last = time.time_ns()
    offset = last - time.ticks_us() * 1000
    begin = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), begin) < 2500:
        ticks = time.ticks_us() * 1000
        now = time.time_ns()
        assert now >= last, (now, last)
        assert now // 1_000_000_000 - time.time() in (0, -1)
        assert now - ticks - offset > -20_000_000, now - ticks - offset
        last = now
    end = time.ticks_us() * 1000
    assert abs(time.time_ns() - end - offset) < 50_000_000

check()
machine.RTC().datetime((2030, 5, 6, 0, 7, 8, 9, 250000))
fields = machine.RTC().datetime()
assert fields[:7] == (2030, 5, 6, 0, 7, 8, 9) and fields[7] >= 250000, fields
check()
"""
    board.exec(code)


def test_what_the_clock_cannot_hold_is_a_valueerror(start):
    board = start()
    board.wait_for_prompt()
    code = """
import machine
rtc = machine.RTC()
GOOD = (2024, 2, 29, 0, 23, 59, 58, 0)
WRONG = ((0, 1969), (0, 2069), (0, 2106), (0, 2200), (0, -1), (0, 1 << 29), (0, 2023), (1, 0), (1, 13),
    (2, 0), (2, 30), (4, 24), (4, -1), (5, 60), (6, 60), (7, 1_000_000), (7, -1))
for index, value in WRONG:
    fields = list(GOOD)
    fields[index] = value
    try:
        rtc.datetime(tuple(fields))
    except ValueError:
        continue
    raise AssertionError(fields)
for year in (1970, 1999, 2000, 2067):
    rtc.datetime((year, 1, 31, 0, 1, 2, 3, 4))
    assert rtc.datetime()[:3] == (year, 1, 31)
rtc.datetime(GOOD)
assert rtc.datetime()[:3] == GOOD[:3]
machine.lightsleep(-1)
machine.lightsleep(-(1 << 29))
"""
    board.exec(code)
