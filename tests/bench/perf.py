# SPDX-License-Identifier: MIT
"""MicroPython's tests/perf_bench on this board and on upstream's SABRELITE: perf.py MICROPYTHON_DIR.

Both from the same source, by turns; what counts is the CPU time that QEMU takes between two marks
on the console, which a busy host changes least. Upstream's has a heap as large as this board's
begins to have use for (HEAP), for with its own of 160 KiB it cannot compile some of the programs.
"""

import os
import statistics
import subprocess
import sys
import time
from math import exp, log
from pathlib import Path

import step
from emulator import ROOT, Board, BoardError, Machine

ROUNDS = int(os.environ.get("ROUNDS") or 5)
HEAP = 16 << 20
SABRELITE = ROOT / "build/sabrelite"
# run-perfbench.py's arguments for a PC; these decide how much each program does.
FREQUENCY, MEMORY = 1000, 1000
# Runs of the shorter ones, so that each takes a tenth of a second.
REPEATED = {"core_import_mpy_single": 100, "core_import_mpy_multi": 4, "core_qstr": 8}
REPEATED |= {"core_yield_from": 6} | {f"viper_call{n}": 4 for n in "0 1a 1b 1c 2a 2b".split()}
RUN = """
def choose():
    chosen, parameters = (0, 0), None
    for key in bm_params:
        if 10 * key[0] <= 12 * FREQUENCY and key[1] <= MEMORY and key > chosen:
            chosen, parameters = key, bm_params[key]
    return parameters

_run, _result = bm_setup(choose())
print("<BEGIN>")
for _ in range(REPEATED):
    sys.modules.pop("__injected", None)
    _run()
print("<END>")
_result()
"""


class SabreLite(Machine):
    def arguments(self):
        words = ["-M", "sabrelite", "-m", "128M", "-display", "none", "-nic", "none"]
        return [*words, "-semihosting", "-kernel", str(SABRELITE / "firmware.elf")]


def build_sabrelite(source):
    # Nothing is written into the source, and nothing of it that is missing is asked for.
    command = ["make", "-C", source / "ports/qemu", f"-j{os.cpu_count()}", "BOARD=SABRELITE"]
    command += [f"BUILD={SABRELITE}", f"MICROPY_HEAP_SIZE={HEAP}", "FROZEN_MANIFEST="]
    command += [f"MICROPY_MPYCROSS={ROOT / 'build/mpy-cross/mpy-cross'}"]
    command += ["MICROPY_MPYCROSS_DEPENDENCY="]
    log_file = "build/log/sabrelite.log"
    for name in ("MAKEFLAGS", "MFLAGS", "BOARD"):
        os.environ.pop(name, None)
    if not step.run("Building upstream's SABRELITE", list(map(str, command)), log_file):
        sys.exit(f"It does not build: see {log_file}.")


def cpu_seconds(process):
    """The CPU time of another process, by the number that Linux has for that clock."""
    return time.clock_gettime(~process.pid << 3 | 2)


def run(board, script):
    """The seconds of CPU between the marks of the program."""
    for reset in ("\r\x03\x03\x01", "\x04"):
        board.type(reset)
        board.wait_for("raw REPL; CTRL-B to exit\r\n>")
    board.type(script + "\x04")
    text = board.wait_for(">", 60)
    started = cpu_seconds(board.process)
    text += board.wait_for(">", 300)
    seconds = cpu_seconds(board.process) - started
    text += board.wait_for("\x04>")
    if not text.endswith("<END>\r\n\x04\x04>"):
        raise BoardError(text)
    return seconds


def measure(program):
    """-> the median of upstream's seconds, and of this board's."""
    text = RUN.replace("REPEATED", str(REPEATED.get(program.stem, 1)))
    text = text.replace("FREQUENCY", str(FREQUENCY)).replace("MEMORY", str(MEMORY))
    script = "import sys\nsys.path.remove('')\n" + program.read_text() + text
    with Board(SabreLite()) as upstream, Board(Machine(entropy=False)) as ours:
        boards = (upstream, ours)
        for board in boards:
            board.wait_for_prompt()
        times = [[run(board, script) for board in boards] for _ in range(ROUNDS)]
    return [statistics.median(column) for column in zip(*times)]


def main():
    source = Path(sys.argv[1]).resolve()
    build_sabrelite(source)
    programs = sorted((source / "tests/perf_bench").glob("*_*.py"))
    print(f"| {'program':24} | SABRELITE | this board | times as fast |")
    print("|---|---|---|---|")
    ratios = []
    for program in programs:
        upstream, ours = measure(program)
        ratios.append(upstream / ours)
        print(
            f"| `{program.stem}`{'':{22 - len(program.stem)}} | {upstream * 1000:6.0f} ms |"
            f" {ours * 1000:7.0f} ms | {ratios[-1]:13.2f} |",
            flush=True,
        )
    print(f"Geometric mean of {len(ratios)}: {exp(sum(map(log, ratios)) / len(ratios)):.2f}")


if __name__ == "__main__":
    try:
        main()
    except BoardError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
