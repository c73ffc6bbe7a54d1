# SPDX-License-Identifier: MIT
"""The long tests of what may be on a disk. From the environment: TABLES, partition tables in all."""

import os
from pathlib import Path

from collector import Station

TARGET = Path(__file__).parent.parent / "target"
TABLES = int(os.environ.get("TABLES") or 20_000)


def tables_at_random(folder, seed):
    station = Station(("modern", "", "elf"))
    try:
        station.load(TARGET / "test_partitions.py")
        code = f"print(test_partitions.tables.run({TABLES // 4}, {seed & 0x3FFFFFFF}))"
        right, said, looked, found = eval(station.board.exec(code, seconds=7200))
        yield f"{right} right, {said} whose fault was said, {looked} of noise with {found} in them"
    finally:
        station.close()
