# SPDX-License-Identifier: MIT
"""The entropy device when its rate is limited, and across soft resets."""

import re

from conftest import INTERFACES

LIMITED = ["-object", "rng-builtin,id=limited", "-device"]


@INTERFACES
def test_a_rate_limit_is_waited_out(start, modern):
    more = [*LIMITED, "virtio-rng-device,rng=limited,max-bytes=64,period=100"]
    board = start(modern=modern, entropy=False, more=more)
    board.wait_for_prompt()
    board.exec("""
import virtio
rng = virtio.Rng(0)
data = rng.read(320)   # 64 bytes at once, the rest in four more periods
assert len(data) == 320 and len(set(data)) > 100
buf = bytearray(200)
assert rng.readinto(buf) == 200 and any(buf[-16:])
assert len(virtio.urandom(100)) == 100
""")


@INTERFACES
def test_a_rate_limit_longer_than_the_timeout_is_a_Timeout(start, modern):
    more = [*LIMITED, "virtio-rng-device,rng=limited,max-bytes=64,period=3000"]
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
def test_no_bytes_come_twice_across_soft_resets(start, modern):
    board = start(modern=modern)
    board.wait_for_prompt()
    seen = []
    for _ in range(4):
        seen += re.findall(r"[0-9a-f]{16}", board.exec("""
import virtio
for _ in range(20): print(virtio.urandom(8).hex())
"""))  # fmt: skip
        board.soft_reset()
    assert len(seen) == len(set(seen)) == 80
