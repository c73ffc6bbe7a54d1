"""Filesystems on block devices: found out, mounted with fitting sizes, made on request."""

# SPDX-License-Identifier: MIT

from struct import unpack_from

import vfs
from micropython import const

from .errors import InvalidParam, VirtioError
from .partitions import Partition

_ROM_MAGIC = b"\xd2\xcd\x31"
_EIO = const(5)
_ENODEV = const(19)
_EROFS = const(30)

_LARGE = const(1 << 24)  # bytes from which on a new littlefs has larger blocks
_LARGE_BLOCK = const(4096)
_BLOCK_MAX = const(1 << 20)
_LOOKAHEAD_MAX = const(32768)
_HARD_TAIL = 0x601FFC08 ^ 0xFFFFFFFF  # the first tag of a block, as it is on the disk
_CACHED_MAX = const(1 << 29)  # blocks of a disk, 256 GiB or more, that the cache can count


def mount(device, point, readonly=False):
    """Mount the filesystem of a disk or partition at *point*; returns its name.

    A littlefs may have any block size that is a power of two and a multiple of the disk's.
    It is mounted to read and write whole blocks of the disk, and to look at many blocks at
    once when it searches for free ones; mounted by hand it does neither unless told. FAT and
    littlefs get a `Cache`, about 150 KiB of heap. A ROM filesystem is read into memory.

    `vfs.umount` and `os.sync` send what is left in the cache and flush the disk.

    Raises `OSError(ENODEV)` where no known filesystem is, and what the disk raises.
    """
    readonly = readonly or device.read_only
    for name, kind in _KINDS if device.block_count else ():
        try:
            filesystem = kind(device, readonly)
        except OSError as error:
            if isinstance(error, VirtioError) or error.errno == _EIO:
                raise  # the disk itself failed
            continue
        except OverflowError:
            continue  # there are more blocks than this one can count
        vfs.mount(filesystem, point, readonly=readonly)
        return name
    raise OSError(_ENODEV, "no known filesystem")


def format(device, kind, confirm=None, block_size=None):
    """Make an empty filesystem, *kind* "FAT" or "littlefs", on a disk or partition.

    All that is on it is lost; the caller says so by `confirm="erase"`. `block_size` is the
    littlefs's, 512 to 1 MiB; without it that is the disk's, or 4096 from 16 MiB on.

    Raises `InvalidParam` and `OSError(EROFS)`, with nothing written, and what the disk raises.
    """
    if kind not in ("FAT", "littlefs"):
        raise InvalidParam("filesystem %r" % kind)
    if confirm != "erase":
        raise InvalidParam('this erases %r; confirm="erase" to do it' % device)
    if device.read_only:
        raise OSError(_EROFS)  # FatFs would say EIO
    if device.block_count == 0:
        raise InvalidParam("%r has no blocks" % device)
    if kind == "FAT":
        vfs.VfsFat.mkfs(device)
    else:
        size = device.block_size
        if block_size is None and device.block_count >= _LARGE // size:
            block_size = max(size, _LARGE_BLOCK)
        block_size = block_size or size
        if block_size & (block_size - 1) or not size <= block_size <= _BLOCK_MAX:
            raise InvalidParam("littlefs with blocks of %d on %r" % (block_size, device))
        _littlefs_do(vfs.VfsLfs2.mkfs, Partition(device, block_size=block_size), size)
    device.flush()


def _cached(device, readonly, block_size=None, littlefs=False):
    """What the filesystem is mounted on."""
    if device.block_count > _CACHED_MAX:
        return Partition(device, block_size=block_size)
    from .cache import Cache  # only for those who mount

    return Cache(device, block_size, littlefs, readonly)


class _Mounted:
    """A filesystem with its disk, to be flushed by `os.sync` and `vfs.umount`.

    MicroPython's own filesystems do not flush at `umount`, and its littlefs not at `os.sync`.
    This is no subclass of theirs: `import` would take it for their C object.
    """

    def __init__(self, filesystem, device):
        self._filesystem = filesystem
        self._device = device

    def __repr__(self):
        return repr(self._filesystem)  # as `mpremote df` shows it

    def __getattr__(self, name):
        return getattr(self._filesystem, name)

    def sync(self):
        self._device.flush()

    def umount(self):
        self._filesystem.umount()
        self._device.flush()


def _fat(device, readonly):
    cached = _cached(device, readonly)
    return _Mounted(vfs.VfsFat(cached), cached)


def _littlefs(device, readonly):
    for size in _littlefs_block_sizes(device):
        cached = _cached(device, readonly, size, littlefs=True)
        try:
            return _Mounted(_littlefs_do(vfs.VfsLfs2, cached, device.block_size), cached)
        except OSError as error:
            if isinstance(error, VirtioError) or error.errno == _EIO:
                raise
    raise OSError(_ENODEV)


def _littlefs1(device, readonly):
    unit = device.block_size
    cached = _cached(device, readonly, littlefs=True)
    return _Mounted(vfs.VfsLfs1(cached, readsize=unit, progsize=unit), cached)


def _littlefs_do(function, device, unit):
    """Mount or make a littlefs that reads and writes by that unit, and what else it is told."""
    bitmap = (device.block_count + 63) // 64 * 8
    return function(device, readsize=unit, progsize=unit, lookahead=min(bitmap, _LOOKAHEAD_MAX))


def _littlefs_block_sizes(device):
    """What the superblock says, as a list; the disk's own where nothing says anything."""
    start = bytearray(32)
    device.readblocks(0, start, 0)
    unit = device.block_size
    (tag,) = unpack_from(">I", start, 4)
    if tag == _HARD_TAIL:
        # MicroPython 1.25's littlefs (2.8) moves its superblock away from where it is written
        # to often, and leaves a pointer in blocks. Only the right size finds anything there.
        return [1 << n for n in range(9, 21) if 1 << n >= unit]
    (size,) = unpack_from("<I", start, 24)
    possible = start[8:16] == b"littlefs" and size & (size - 1) == 0
    return [size] if possible and unit <= size <= _BLOCK_MAX else [unit]


def _rom(device, readonly):
    """MicroPython's ROM filesystem works on memory: all of it is read."""
    start = bytearray(16)
    device.readblocks(0, start, 0)
    if start[:3] != _ROM_MAGIC:
        raise OSError(_ENODEV)
    length, at = 0, 3
    while at < len(start):  # a number of 7 bits a byte, the highest first
        length = length << 7 | start[at] & 0x7F
        at += 1
        if not start[at - 1] & 0x80:
            break
    if at + length > device.block_count * device.block_size:
        raise OSError(_ENODEV)
    image = bytearray(at + length)
    device.readblocks(0, image, 0)
    return vfs.VfsRom(image)


# Littlefs before FAT, whose signature is two bytes that others may use as well.
_KINDS = (
    ("ROM", _rom),
    ("littlefs", _littlefs),
    ("littlefs 1", _littlefs1),
    ("FAT", _fat),
)
