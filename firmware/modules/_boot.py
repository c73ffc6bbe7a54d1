# SPDX-License-Identifier: MIT
# Runs at every start, before boot.py: says what virtio devices there are and
# mounts the disks that hold a filesystem. It never formats one.

import os

import virtio

_BLOCK = 2
_ENODEV = 19
_NAMES = {
    1: "network",
    _BLOCK: "block",
    3: "console",
    4: "entropy",
    5: "balloon",
    8: "SCSI host",
    9: "9P",
    16: "GPU",
    18: "input",
    19: "socket",
    20: "crypto",
}


def _size(sectors):
    kib = sectors // 2
    for unit in ("KiB", "MiB"):
        if kib < 10240:
            return "%d %s" % (kib, unit)
        kib //= 1024
    return "%d GiB" % kib


# Mount what is on a disk, or on its partitions; returns a text for each of them.
def _mount(disk, points):
    texts = []
    parts = virtio.partitions(disk)
    for number, device in enumerate(parts or [disk], 1):
        text = "partition %d " % number if parts else ""
        try:
            texts.append(text + "%s at %s" % (virtio.mount(device, points[0]), points[0]))
            points.pop(0)
        except OSError as error:
            if error.errno != _ENODEV:
                raise
            texts.append(text + "no known filesystem")
    return texts


def _disk(transport, points):
    disk = virtio.Block(transport)
    texts = [_size(disk.capacity)]
    if disk.read_only:
        texts.append("read-only")
    if len(disk.queues) < disk.num_queues:
        texts.append("%d of %d queues" % (len(disk.queues), disk.num_queues))
    left = len(points)
    try:
        texts += _mount(disk, points)
    finally:
        if len(points) == left:
            disk.deinit()  # so that it can be opened by hand
    return ", ".join(texts)


def _start():
    points = ["/"] + ["/vd" + c for c in "bcdefghijklmnopqrstuvwxyzABCDEF"]
    for transport in virtio.scan():
        kind = transport.device_type
        text = "slot %d: %s, virtio-mmio version %d" % (
            transport.slot,
            _NAMES.get(kind, "device type %d" % kind),
            transport.version,
        )
        if kind == _BLOCK:
            try:
                text += ", " + _disk(transport, points)
            except Exception as e:
                text += ", not mounted: %r" % e
        print(text)
    if points[0] != "/":
        os.chdir("/")


_start()
