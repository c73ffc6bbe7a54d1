# SPDX-License-Identifier: MIT
"""The entropy device when its rate is limited, and across soft resets."""

import random
import re
import time

from conftest import INTERFACES

LIMITED = ["-object", "rng-builtin,id=limited", "-device"]
# 64 bytes in each period of 100 ms: 320 bytes take five of them, the first of which had begun.
TIMED = """
from time import ticks_diff, ticks_us
import virtio

def check(data, start):
    assert ticks_diff(ticks_us(), start) >= 300_000
    assert len(data) == 320 and all(any(data[at : at + 16]) for at in range(0, 320, 16))
"""


def timed(start, modern, code):
    more = [*LIMITED, "virtio-rng-device,rng=limited,max-bytes=64,period=100"]
    board = start(modern=modern, entropy=False, more=more)
    board.wait_for_prompt()
    board.exec(TIMED + code)


@INTERFACES
def test_a_rate_limit_is_waited_out(start, modern):
    timed(
        start,
        modern,
        """
rng = virtio.Rng(0)
start = ticks_us()
check(rng.read(320), start)
start, buf = ticks_us(), bytearray(320)
assert rng.readinto(buf) == 320
check(buf, start)
assert len(virtio.urandom(100)) == 100
""",
    )


@INTERFACES
def test_an_awaited_buffer_is_filled_over_the_periods_of_a_rate_limit(start, modern):
    timed(
        start,
        modern,
        """
import asyncio
naps = 0

async def nap():
    global naps
    while True:
        await asyncio.sleep_ms(10)
        naps += 1

async def main():
    rng = virtio.Rng(0)
    task = asyncio.create_task(nap())
    start, buf = ticks_us(), bytearray(320)
    assert await rng.areadinto(buf) == 320
    check(buf, start)
    assert naps > 5   # more often than there are parts
    task.cancel()

asyncio.run(main())
""",
    )


@INTERFACES
def test_a_rate_limit_longer_than_the_timeout_is_a_Timeout(start, modern):
    more = [*LIMITED, "virtio-rng-device,rng=limited,max-bytes=64,period=1000"]
    board = start(modern=modern, entropy=False, more=more)
    board.wait_for_prompt()
    board.exec("""
import virtio
rng = virtio.Rng(0)
rng.timeout_ms = 50
try:
    while True:
        rng.read(64)
except OSError as error:
    assert error.errno == 110, error
rng.timeout_ms = 30000
assert len(rng.read(16)) == 16   # the device goes on by itself
""")


@INTERFACES
def test_a_rate_limit_does_not_stall_a_pool_that_has_bytes(start, modern):
    more = [*LIMITED, "virtio-rng-device,rng=limited,max-bytes=64,period=1000"]
    board = start(modern=modern, entropy=False, more=more)
    board.wait_for_prompt()
    board.exec("""
import virtio
from virtio import entropy
rng = virtio.Rng(0)
entropy._left = 0     # what the start-up left
draws = {virtio.urandom(4)}
left = entropy._left  # of the 64 bytes of this period; the next request waits for its own
rng.timeout_ms = 0
draws |= {virtio.urandom(4) for _ in range(left // 4)}
assert left == 60 and len(draws) == 16, (left, len(draws))
""")


@INTERFACES
def test_no_bytes_come_twice_across_soft_resets(start, modern):
    """With the device closed, open, and open with a request ahead when the reset comes."""
    board = start(modern=modern)
    board.wait_for_prompt()
    seen = []
    for life in range(12):
        code = "import virtio\n"
        if life % 3:
            code += "rng = virtio.Rng(0)\n"
        code += f"for _ in range({200 + life}): print(virtio.urandom(8).hex())\n"
        seen += re.findall(r"[0-9a-f]{16}", board.exec(code))
        board.soft_reset()
    assert len(seen) == len(set(seen)) == 2466


@INTERFACES
def test_ctrl_c_at_any_place_neither_repeats_bytes_nor_stops_the_device(start, modern):
    board = start(modern=modern)
    board.wait_for_prompt()
    board.exec("""
import virtio
rng = virtio.Rng(0)
seen = []
def draw():
    while True:
        seen.append(int.from_bytes(virtio.urandom(8), "little"))
""")
    rounds = 20
    for _ in range(rounds):
        board.begin("draw()")
        time.sleep(random.uniform(0.005, 0.03))
        board.type("\x03")
        with board.deadline(20, "Ctrl-C"):
            _, error = board.transport.follow(None)
        assert b"KeyboardInterrupt" in error
    board.exec(f"""
assert len(seen) > 10 * {rounds}, len(seen)
seen.sort()   # a set of so many takes minutes on a busy host
assert all(seen[n] != seen[n + 1] for n in range(len(seen) - 1))   # a pool is a multiple of 8: no draw is parts of two
queue = rng.queues[0]
while queue.available_desc() < queue.size - 1:
    queue.can_pop()   # takes back what Ctrl-C left to the device
virtio.urandom(4)
""")
