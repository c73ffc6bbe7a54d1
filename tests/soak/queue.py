# SPDX-License-Identifier: MIT
"""The long tests of the queue: requests in every form on a real disk, random steps on a fake one.

From the environment: REQUESTS for each form, STEPS in all, SEED.
"""

import os
import re
import time
from pathlib import Path

from collector import Station

TARGET = Path(__file__).parent.parent / "target"
REQUESTS = int(os.environ.get("REQUESTS") or 200_000)
STEPS = int(os.environ.get("STEPS") or 200_000)
SEED = int(os.environ.get("SEED") or time.time())
PACKED = "-global virtio-blk-device.packed=on"

FORMS = "import matrix, virtio\nprint(matrix.forms(virtio.scan()[0]))"
READS = """
with matrix.Driven(virtio.scan()[0], {form}) as driven:
    print(matrix.read_checked(driven, {requests}, 10000))
"""
NOTIFIES = """
with matrix.Driven(virtio.scan()[0], {form}) as driven:
    print(matrix.read_checked(driven, 10000, 10000))
"""


def on_disk(interface):
    station = Station((interface, PACKED))
    try:
        station.load(TARGET / "test_queue_device.py")
        for form in re.findall(r"\(.*?\)", station.board.exec(FORMS)):
            start = time.monotonic()
            station.board.exec(READS.format(form=form, requests=REQUESTS), seconds=3600)
            took = time.monotonic() - start
            notifies = int(station.board.exec(NOTIFIES.format(form=form), seconds=600))
            print(
                f"{interface}, (ring, indirect, event_idx) = {form}: {REQUESTS} requests, every"
                f" byte right, {took:.0f} s; 10000 in batches of 32 took {notifies} notifies",
                flush=True,
            )
    finally:
        station.close()


def at_random():
    station = Station(("modern", ""))
    try:
        station.load(TARGET / "test_property.py")
        code = f"print(test_property.property.run({STEPS}, {SEED & 0x3FFFFFFF}))"
        steps, faults = eval(station.board.exec(code, seconds=3600))
        print(f"{steps} random steps from seed {SEED}, {faults} lies, all as the model says")
    finally:
        station.close()


if __name__ == "__main__":
    at_random()
    for interface in ("legacy", "modern"):
        on_disk(interface)
