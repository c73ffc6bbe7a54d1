# SPDX-License-Identifier: MIT
"""Frames that are none: at the driver, by a device that lies, and through the stack."""

from pathlib import Path

from station import Station

TARGET = Path(__file__).parent.parent / "target"
FRAMES = 100_000
RUN = """
import {module}
{module}.SEED, {module}.ROUNDS = {seed}, {frames}
found = {module}.{function}()
print(found or "")
"""


def at_random(folder, seed, module, function):
    station = Station()
    try:
        station.load(TARGET / f"{module}.py")
        code = RUN.format(module=module, function=function, seed=seed, frames=FRAMES)
        yield f"{FRAMES} of them {station.board.exec(code, timeout=3600).strip()}"
    finally:
        station.close()
