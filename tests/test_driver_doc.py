# SPDX-License-Identifier: MIT
"""docs/writing-a-driver.md: its blocks make a driver, and the driver works."""

import time

import pytest
from conftest import INTERFACES
from test_docs import blocks

MIB = 1 << 20
FORMS = pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])


def actual(board):
    return board.monitor.cmd("query-balloon")["actual"]


def wait_for(what, seconds=10):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


@INTERFACES
@FORMS
def test_the_driver_of_the_page_works(start, modern, packed):
    if packed and not modern:
        pytest.skip("a legacy device has no packed ring")
    device = "virtio-balloon-device" + (",packed=on" if packed else "")
    keyboard = device.replace("balloon", "keyboard")
    more = ["-device", f"{device},id=balloon0", "-device", keyboard]
    board = start(modern=modern, more=more)
    board.connect(soft_reset=True)
    free = 0
    for block in blocks("docs/writing-a-driver.md", "python"):
        if "dma.alloc" in block:
            free = int(board.exec("from virtio.platform import dma\nprint(dma.available())"))
        board.exec(block)
    assert actual(board) == 128 * MIB
    assert board.exec("print(piece, dma.available())") == f"None {free}\n"

    board.exec("balloon.inflate(1024)")
    wait_for(lambda: actual(board) == 124 * MIB)
    board.exec("balloon.deflate()")
    wait_for(lambda: actual(board) == 128 * MIB)

    board.monitor.cmd("balloon", value=120 * MIB)
    board.exec("import time\nwhile not balloon.changed: time.sleep_ms(1)")
    board.exec("balloon.follow()")
    wait_for(lambda: actual(board) == 120 * MIB)

    path = "/machine/peripheral/balloon0"
    board.monitor.cmd("qom-set", path=path, property="guest-stats-polling-interval", value=1)
    board.exec("""
import asyncio
async def main():
    task = asyncio.create_task(balloon.report())
    await asyncio.sleep(3)
    task.cancel()
asyncio.run(main())
""")
    stats = board.monitor.cmd("qom-get", path=path, property="guest-stats")["stats"]
    assert 32 * MIB < stats["stat-total-memory"] <= 128 * MIB, stats
    assert 0 < stats["stat-free-memory"] <= stats["stat-total-memory"]
    board.exec("balloon.deinit()")

    board.exec("import time\nkeyboard = Keyboard(0)")
    for _ in range(2):
        board.monitor.cmd("send-key", keys=[{"type": "qcode", "data": "a"}])
        board.exec("while len(keyboard.keys) < 2: time.sleep_ms(1)")
        assert board.exec("print(keyboard.keys)") == "[(30, 1), (30, 0)]\n"
        board.exec("keyboard.keys.clear()\nkeyboard.reset()")
    board.exec("keyboard.deinit()")
