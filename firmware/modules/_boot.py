# SPDX-License-Identifier: MIT
# Runs at every start, before boot.py: says what virtio devices there are, once, and mounts the
# disks that hold a filesystem, and folders of the host. It never formats one. `started` is True
# after a soft reset: programs that make one before each run want to see their own output.

import os

import virtio
from virtio.storage.partitions import table

_NETWORK = 1
_BLOCK = 2
_CONSOLE = 3
_P9 = 9
_ENODEV = 19
_ADDRESS_MS = 30  # that the prompt may wait for an address; QEMU's answer takes five
_NAMES = {
    _NETWORK: "network",
    _BLOCK: "block",
    _CONSOLE: "console",
    4: "entropy",
    5: "balloon",
    8: "SCSI host",
    _P9: "9P",
    16: "GPU",
    18: "input",
    19: "socket",
    20: "crypto",
}

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _size(sectors):
    kib = sectors // 2
    for unit in ("KiB", "MiB"):
        if kib < 10240:
            return "%d %s" % (kib, unit)
        kib //= 1024
    return "%d GiB" % kib


# Where the next filesystem goes: the first to the root unless it must not, and then to /vdb to
# /vdz, /vdA to /vdZ, /vdaa and on.
def _point(mounted, may_be_root):
    if may_be_root and "/" not in mounted:
        return "/"
    number = 1 + sum(point != "/" for point in mounted)
    name = ""
    while number >= 0:
        name = _LETTERS[number % len(_LETTERS)] + name
        number = number // len(_LETTERS) - 1
    return "/vd" + name


def _not_mounted(e):
    said = isinstance(e, OSError) and len(e.args) > 1
    return "not mounted: %s" % (e.args[1] if said else repr(e))


# Mount what is there; returns a text for it.
def _mount(device, point, mounted):
    try:
        kind = virtio.mount(device, point)
    except (virtio.Timeout, virtio.DeviceFault):
        raise  # what else is on that disk would meet the same
    except Exception as e:
        if isinstance(e, OSError) and e.errno == _ENODEV:
            return "no known filesystem"
        return _not_mounted(e)
    mounted.append(point)
    return "%s at %s" % (kind, point)


# Mount what is on a disk, or on its partitions; adds a text for each of them.
def _mount_all(disk, mounted, texts):
    parts, faults = table(disk)
    if faults:
        # A disk that is not what it says may be somebody else's: it does not get to run main.py.
        texts.append("damaged partition table, not for / (%s)" % faults[0])
    for number, device in enumerate(parts or [disk], 1):
        text = "partition %d " % number if parts else ""
        texts.append(text + _mount(device, _point(mounted, not faults), mounted))


# Add what there is to say of a disk.
def _disk(transport, mounted, texts):
    disk = virtio.Block(transport)
    texts.append(_size(disk.capacity))
    if disk.read_only:
        texts.append("read-only")
    if len(disk.queues) < disk.num_queues:
        texts.append("%d of %d queues" % (len(disk.queues), disk.num_queues))
    before = len(mounted)
    try:
        _mount_all(disk, mounted, texts)
    finally:
        if len(mounted) == before:
            disk.deinit()  # so that it can be opened by hand


# Mount a folder of the host, in the root where nothing is, else at its tag; returns a text for it.
def _folder(transport, mounted):
    folder = virtio.P9(transport)
    point = "/" + folder.tag if "/" in mounted else "/"
    try:
        if point in mounted or "/" in folder.tag:
            raise OSError("its tag is %r" % folder.tag)
        virtio.mount(folder, point)
    except:
        folder.deinit()  # so that it can be opened by hand
        raise
    mounted.append(point)
    return "%s at %s" % (folder.tag, point)


# Have the REPL on a port, if one is for that; returns what there is to say of it.
def _terminal(transport):
    from virtio.drivers import repl

    serial = virtio.Serial(transport)
    if repl.start(serial):
        return "REPL on " + repl.NAME
    serial.deinit()  # so that it can be opened by hand
    return "no REPL"


# Bring the interface up; what there is to say of it.
def _network():
    from network import LAN
    from time import sleep_ms

    interface = LAN()
    interface.active(True)
    for _ in range(_ADDRESS_MS):
        if interface.isconnected():
            return interface.ipconfig("addr4")[0]
        if not interface.status():
            return "no link"
        sleep_ms(1)
    return "no address yet"


def _start(quiet):
    mounted = []
    network = False
    found = virtio.scan()
    folders = [transport for transport in found if transport.device_type == _P9]
    # Disks before folders, for they have the root.
    for transport in [each for each in found if each not in folders] + folders:
        kind = transport.device_type
        texts = [
            "slot %d: %s" % (transport.slot, _NAMES.get(kind, "device type %d" % kind)),
            "virtio-mmio version %d" % transport.version,
        ]
        if kind == _BLOCK:
            try:
                _disk(transport, mounted, texts)
            except Exception as e:
                texts.append(_not_mounted(e))
        if kind == _NETWORK and not network:
            network = True
            try:
                texts.append(_network())
            except Exception as e:
                texts.append("%r" % e)
        if kind == _P9:
            try:
                texts.append(_folder(transport, mounted))
            except Exception as e:
                texts.append(_not_mounted(e))
        if kind == _CONSOLE:
            try:
                texts.append(_terminal(transport))
            except Exception as e:
                texts.append("%r" % e)
        if not quiet:
            print(", ".join(texts))
    if "/" in mounted:
        os.chdir("/")


_start(started)  # noqa: F821
