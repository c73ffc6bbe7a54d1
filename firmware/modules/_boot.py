# SPDX-License-Identifier: MIT
# Runs at every start, before boot.py: says what virtio devices there are and
# mounts the disks that hold a filesystem. It never writes to one.

import os
import vfs

import virtio

_NAMES = {
    1: "network",
    2: "block",
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
_BLOCK = 2


def _size(sectors):
    kib = sectors // 2
    for unit in ("KiB", "MiB"):
        if kib < 10240:
            return "%d %s" % (kib, unit)
        kib //= 1024
    return "%d GiB" % kib


def _filesystem(disk):
    for name, kind in (
        ("littlefs", vfs.VfsLfs2),
        ("littlefs 1", vfs.VfsLfs1),
        ("FAT", vfs.VfsFat),
    ):
        try:
            return name, kind(disk)
        except OSError:
            pass
    return None, None


def _mount(transport, points):
    disk = virtio.Block(transport)
    try:
        text = _size(disk.capacity) + (", read-only" if disk.read_only else "")
        name, fs = _filesystem(disk)
        if fs:
            point = points[0]
            vfs.mount(fs, point, readonly=disk.read_only)
            points.pop(0)
            return text + ", %s at %s" % (name, point)
    except Exception:
        disk.deinit()
        raise
    disk.deinit()
    return text + ", no known filesystem"


def _start():
    points = ["/"] + ["/vd" + chr(c) for c in range(ord("b"), ord("z") + 1)]
    for transport in virtio.scan():
        kind = transport.device_type
        text = "slot %d: %s, virtio-mmio version %d" % (
            transport.slot,
            _NAMES.get(kind, "type %d" % kind),
            transport.version,
        )
        if kind == _BLOCK:
            try:
                text += ", " + _mount(transport, points)
            except Exception as e:
                text += ", not mounted: %r" % e
        print(text)
    if points[0] != "/":
        os.chdir("/")


_start()
