# SPDX-License-Identifier: MIT
# Runs at every start, before boot.py: says what virtio devices there are and
# mounts the disks that hold a filesystem. It never formats one.

import os
import vfs

import virtio

_BLOCK = 2
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

# Littlefs first: FAT's signature is two bytes that others may use as well.
_FILESYSTEMS = (
    ("littlefs", vfs.VfsLfs2),
    ("littlefs 1", vfs.VfsLfs1),
    ("FAT", vfs.VfsFat),
)


def _size(sectors):
    kib = sectors // 2
    for unit in ("KiB", "MiB"):
        if kib < 10240:
            return "%d %s" % (kib, unit)
        kib //= 1024
    return "%d GiB" % kib


# The name of the filesystem, or None if it is not a known one.
def _mount(disk, point):
    for name, kind in _FILESYSTEMS:
        try:
            vfs.mount(kind(disk), point, readonly=disk.read_only)
            return name
        except virtio.VirtioError:
            raise  # the disk itself failed
        except OSError:
            pass


def _disk(transport, points):
    disk = virtio.Block(transport)
    text = _size(disk.capacity)
    if disk.read_only:
        text += ", read-only"
    name = None
    try:
        name = _mount(disk, points[0])
    finally:
        if name is None:
            disk.deinit()  # so that it can be opened by hand
    if name is None:
        return text + ", no known filesystem"
    return text + ", %s at %s" % (name, points.pop(0))


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
