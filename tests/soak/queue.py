# SPDX-License-Identifier: MIT
"""The long tests of the queue: requests in every form on a real disk, random steps on a fake one.

From the environment: REQUESTS for each form, STEPS in all.
"""

import os
import re
from pathlib import Path

from station import Configuration, Station

TARGET = Path(__file__).parent.parent / "target"
REQUESTS = int(os.environ.get("REQUESTS") or 200_000)
STEPS = int(os.environ.get("STEPS") or 200_000)
PACKED = "-global", "virtio-blk-device.packed=on"

FORMS = "import matrix, virtio\nprint(matrix.forms(virtio.scan()[0]))"
READS = """
with matrix.Driven(virtio.scan()[0], {form}) as driven:
    print(matrix.read_checked(driven, {requests}, 10000))
"""
OWN_READS = """
with matrix.OwnRequests({form}) as disk:
    matrix.own_reads_checked(disk, {requests}, 10000)
"""
NOTIFIES = """
with matrix.Driven(virtio.scan()[0], {form}) as driven:
    print(matrix.read_checked(driven, 10000, 10000))
"""


def on_disk(folder, interface):
    """A line for each form of the queue."""
    station = Station(Configuration(interface=interface, qemu_args=PACKED))
    try:
        station.load(TARGET / "test_queue_device.py")
        for form in re.findall(r"\(.*?\)", station.board.exec(FORMS)):
            station.board.exec(READS.format(form=form, requests=REQUESTS), timeout=3600)
            station.board.exec(OWN_READS.format(form=form, requests=REQUESTS), timeout=3600)
            notifies = int(station.board.exec(NOTIFIES.format(form=form), timeout=600))
            yield (
                f"(ring, indirect, event_idx) = {form}: {REQUESTS} requests by hand and"
                f" {REQUESTS} of the disk's own, every byte right;"
                f" 10000 in batches of 32 took {notifies} notifies"
            )
    finally:
        station.close()


def at_random(folder, seed):
    station = Station()
    try:
        station.load(TARGET / "test_property.py")
        words = STEPS, seed & 0x3FFFFFFF
        steps, faults = station.board.call("property.run", *words, timeout=3600)
        yield f"{steps} of them, {faults} lies, all as the model says"
    finally:
        station.close()
