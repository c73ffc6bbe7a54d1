"""Filesystems on block devices: found out, mounted with fitting sizes, made on request."""

# SPDX-License-Identifier: MIT

from struct import unpack_from

import vfs
from micropython import const

from ..blockdev.owners import check_unused
from ..errors import InvalidParam, Unsupported, VirtioError
from ..platform import board
from .gone import GONE
from .partitions import Partition, is_fat, partitions

_ROM_MAGIC = b"\xd2\xcd\x31"

# From layout.py, by `make layout`.

# errno
_EIO = const(5)
_ENODEV = const(19)
_EINVAL = const(22)
_EROFS = const(30)

# End of layout.py.

_TYPE_9P = const(9)
_LARGE = const(1 << 24)  # bytes from which on a new littlefs has larger blocks
# Twice a flash's: half as many hops along the list that a file's blocks are.
_LARGE_BLOCK = const(8192)
_PROG_MAX = const(1024)  # an open file takes four of them
_BLOCK_MAX = const(1 << 20)
_LOOKAHEAD_MAX = const(32768)
_FAT_SECTOR_MAX = const(4096)
_FAT_SECTORS_MIN = const(128)
_CACHED_MAX = const(1 << 29)  # blocks of a disk, 256 GiB or more, that the cache can count
_CACHED_BLOCK_MAX = const(8192)  # of larger ones the cache would take megabytes


def mount(device, point, readonly=False):
    """Mount the filesystem of a disk or partition, or a host's folder, at *point*; returns its name.

    A littlefs may have any block size that is a power of two and a multiple of the disk's,
    and leave a part of the disk unused, as after the disk grew. It is mounted to read and write
    whole blocks of the disk, and to look at many blocks at once when it searches for free ones;
    mounted by hand it does neither unless told. FAT and littlefs get a `Cache`, about 150 KiB of
    heap. A ROM filesystem is read into memory.

    `vfs.umount` and `os.sync` send what is left in the cache and flush the disk. What still has a
    file open after `umount` gets ENODEV, or EIO from FatFs.

    Raises `AlreadyUsed` while something is mounted there, or on a part of it.
    Raises `OSError(ENODEV)` where no known filesystem is, another `OSError` for a littlefs that is
    larger than the disk, damaged or too new, and what the disk raises.
    """
    if getattr(device, "TYPE", None) == _TYPE_9P:
        from .share import Share  # only for those who mount one

        vfs.mount(Share(device, readonly), point)
        return "9P"
    check_unused(device)
    readonly = readonly or device.read_only
    for name, kind in _KINDS if device.block_count else ():
        try:
            filesystem = kind(device, readonly)
        except OSError as error:
            if isinstance(error, VirtioError) or error.errno != _ENODEV:
                raise  # the disk itself failed, or what is there cannot be mounted
            continue
        except OverflowError:
            continue  # there are more blocks than this one can count
        if isinstance(filesystem, _Mounted):
            filesystem.source = device
        vfs.mount(filesystem, point, readonly=readonly)
        return name
    raise OSError(_ENODEV, "no known filesystem")


def format(device, kind, confirm=None, block_size=None):
    """Make an empty filesystem, *kind* "FAT" or "littlefs", on a disk or partition.

    All that is on it is lost; the caller says so by `confirm="erase"`. `block_size` is the
    littlefs's, 512 to 1 MiB; without it that is the disk's, or 8192 from 16 MiB on.

    Raises `AlreadyUsed` while something is mounted there, `InvalidParam`, `Unsupported` for a FAT
    on blocks larger than 4096 bytes or fewer than 128, and `OSError(EROFS)`, all with nothing
    written, and what the disk raises.
    """
    if kind not in ("FAT", "littlefs"):
        raise InvalidParam("filesystem %r" % kind)
    if confirm != "erase":
        raise InvalidParam('this erases %r; confirm="erase" to do it' % device)
    if device.read_only:
        raise OSError(_EROFS)  # FatFs would say EIO
    if device.block_count == 0:
        raise InvalidParam("%r has no blocks" % device)
    check_unused(device)
    if kind == "FAT":
        if device.block_size > _FAT_SECTOR_MAX or device.block_count < _FAT_SECTORS_MIN:
            raise Unsupported("FAT on %r" % device)  # FatFs would say EIO
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
    if device.block_count > _CACHED_MAX or device.block_size > _CACHED_BLOCK_MAX:
        return _Uncached(device, block_size=block_size)
    from .cache import Cache  # only for those who mount

    return Cache(device, block_size, littlefs, readonly)


class _Uncached(Partition):
    def close(self):
        self.disk = GONE


class _Mounted:
    """A filesystem with its disk, to be flushed by `os.sync` and `vfs.umount`.

    MicroPython's own filesystems do not flush at `umount`, and its littlefs not at `os.sync`.
    This is no subclass of theirs: `import` would take it for their C object.
    """

    def __init__(self, filesystem, device):
        self._filesystem = filesystem
        self._device = device
        self.source = None  # what `mount` was given

    def __repr__(self):
        return repr(self._filesystem)  # as `mpremote df` shows it

    def __getattr__(self, name):
        return getattr(self._filesystem, name)

    def sync(self):
        self._device.flush()

    def umount(self):
        # A Ctrl-C in between would leave what is mounted no more with its disk.
        board.undisturbed(_end, self)

    def close(self):
        """Have nothing of this mount reach the disk any more; files may be open still."""
        self.source = None
        self._device.close()


def _end(mounted):
    try:
        mounted._filesystem.umount()
        mounted._device.flush()
    finally:
        mounted.close()


def _fat(device, readonly):
    unit = device.block_size
    start = bytearray(512)
    device.readblocks(0, start, 0)
    if unit > _FAT_SECTOR_MAX or start[510:] != b"\x55\xaa":
        raise OSError(_ENODEV)
    size = unit
    if is_fat(start):
        # Its sectors may be larger than the disk's blocks.
        size = max(unit, unpack_from("<H", start, 11)[0])
    elif not partitions(device):
        raise OSError(_ENODEV)  # FatFs would look where that is no table, and say EIO
    cached = _cached(device, readonly, size)
    return _Mounted(vfs.VfsFat(cached), cached)


def _littlefs(device, readonly, second=False):
    from .littlefs import superblock  # only for those who mount

    found = superblock(device, second)
    if not found:
        raise OSError(_ENODEV)
    version, size, count = found
    cached = _fitting(device, readonly, size, count)
    name = "littlefs %d.%d" % (version >> 16, version & 0xFFFF)
    return _mounted_littlefs(name, vfs.VfsLfs2, cached, device.block_size)


def _littlefs_by_its_second_block(device, readonly):
    """One whose first block is damaged, unless others have written there since."""
    start = bytearray(512)
    device.readblocks(0, start, 0)
    if start[510:] == b"\x55\xaa":
        raise OSError(_ENODEV)
    return _littlefs(device, readonly, second=True)


def _littlefs1(device, readonly):
    start = bytearray(48)
    device.readblocks(0, start, 0)
    if start[40:] != b"littlefs":
        raise OSError(_ENODEV)
    size, count = unpack_from("<II", start, 28)
    unit = device.block_size
    if size < unit or size & size - 1 or size > _BLOCK_MAX:
        raise OSError(_ENODEV)
    cached = _fitting(device, readonly, size, count)
    return _mounted_littlefs("littlefs 1", vfs.VfsLfs1, cached, unit)


def _fitting(device, readonly, size, count):
    """What a littlefs is mounted on: as many blocks as it says that it has, not those of the disk."""
    room = device.block_count * device.block_size // size
    if not 0 < count <= room:
        text = "littlefs of %d blocks of %d bytes where there are %d"
        raise OSError(_EINVAL, text % (count, size, room))
    cached = _cached(device, readonly, size, littlefs=True)
    cached.block_count = count
    return cached


def _mounted_littlefs(name, kind, cached, unit):
    try:
        return _Mounted(_littlefs_do(kind, cached, unit), cached)
    except OSError as error:
        if isinstance(error, VirtioError) or error.errno == _EIO:
            raise
        raise OSError(error.errno, name + " is damaged, or newer than what MicroPython knows")


def _littlefs_do(function, device, unit):
    """Mount or make a littlefs that reads by that unit, and what else it is told."""
    # A bit for each block, in multiples of 32 bytes: littlefs 1 counts bits, and wants that many.
    bitmap = (device.block_count + 255) // 256 * 32
    # littlefs's own caches are four of what it writes at least. That is a commit too, and a block is
    # to have room for eight.
    written = max(unit, min(device.block_size // 8, _PROG_MAX))
    return function(device, readsize=unit, progsize=written, lookahead=min(bitmap, _LOOKAHEAD_MAX))


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
    ("littlefs", _littlefs_by_its_second_block),
)
