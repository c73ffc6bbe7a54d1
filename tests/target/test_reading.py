# SPDX-License-Identifier: MIT
"""What reading a file costs, in the processor's time: an instruction is a nanosecond of it."""

import gc
import pytest
import time
import vfs

from ram import Ram

pytestmark = pytest.mark.board(interface=("modern",), qemu_args="-icount shift=0,sleep=off")
SIZE = 2 << 20


def cost(file, *arguments):
    gc.collect()
    file.seek(0)
    start = time.ticks_cpu()
    content = file.read(*arguments)
    ticks = time.ticks_diff(time.ticks_cpu(), start)
    assert len(content) == SIZE
    return ticks


def test_reading_all_costs_at_most_twice_what_reading_so_many_bytes_does():
    disk = Ram(3 << 11)
    vfs.VfsFat.mkfs(disk)
    vfs.mount(disk, "/ram")
    piece = bytes(1 << 16)
    with open("/ram/file", "wb") as file:
        for _ in range(SIZE // len(piece)):
            file.write(piece)
    for mode in ("rb", "r"):
        with open("/ram/file", mode) as file:
            known, unknown = cost(file, SIZE), cost(file)
            print(mode, known, unknown)
            assert unknown < 2 * known, (known, unknown)
