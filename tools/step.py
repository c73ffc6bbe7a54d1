# SPDX-License-Identifier: MIT
"""Run a long command, its output in a log, and show that it is going on.

As a command: step.py TITLE LOG COMMAND… shows what a failed build complained of.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

SHOWN = 30  # lines of the log for a failed command


def run(title, command, log, env=None, silence=None):
    """Return whether the command succeeded. Nothing is printed for one that ends in a second.

    One that writes nothing for so many seconds of silence is ended.
    """
    log = Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | (env or {}),
        )
        shown = wait(process, title, log, silence)
    if shown:
        print(f" {time.monotonic() - start:.0f} s", flush=True)
    return process.returncode == 0


def wait(process, title, log, silence):
    """Wait for the process with a dot a second; return whether anything was printed."""
    shown = False
    started = time.time()
    while True:
        try:
            process.wait(timeout=1)
            return shown
        except subprocess.TimeoutExpired:
            print("." if shown else f"{title} .", end="", flush=True)
            shown = True
            if silence and time.time() - max(started, log.stat().st_mtime) > silence:
                process.kill()
        except KeyboardInterrupt:
            process.kill()
            raise


def complaints(text):
    """Return the lines that speak of an error, with what a compiler says below; else the end."""
    lines = text.splitlines()
    spoken = [n for n, line in enumerate(lines) if re.search(r"[Ee]rror\b|undefined|\*\*\*", line)]
    near = sorted({m for n in spoken for m in range(n, n + 3) if m < len(lines)})
    return [lines[n] for n in near[:SHOWN]] or lines[-SHOWN:]


def main():
    title, log, *command = sys.argv[1:]
    Path(log).unlink(missing_ok=True)
    if not run(title, command, log):
        print("\n".join(complaints(Path(log).read_text(errors="replace"))), file=sys.stderr)
        sys.exit(f"{title} failed; the whole output is in {log}.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
