"""Read-ahead and write-behind between a filesystem and its disk.

FatFs asks for a cluster at a time and littlefs for a block or less, again and again for the same
few, so without this nearly all of a file's time is the turnaround of small requests.
"""

# SPDX-License-Identifier: MIT

from builtins import bytearray, len, type  # as in ring/split.py

from micropython import const

from ..blockdev.calls import as_number, is_on_stack, unanswered
from ..errors import IoError
from ..platform.buffers import byte_length, copy
from ..platform import board
from ..platform.processor import copy_in, copy_out, forget
from .gone import GONE
from .lookup import append, continues, find, new_line, new_state

_EVERYTHING = const(0x3FFFFFFF)  # blocks
_PART_SIZE = const(65536)  # bytes of the run, and of the window

# From layout.py, by `make layout`.

# The state of a cache, in words. Positions and counts are in blocks of the disk.
_DISK_BLOCKS = const(2)
_ROOM = const(3)  # blocks that the run can have: 0 on a disk that is only read
_MOST = const(4)  # blocks that the window can have
_RUN = const(5)  # the run: where it begins …
_RUN_BLOCKS = const(6)  # … and how long it is
_MARK = const(7)  # blocks of the run that came before the last erase
_WINDOW = const(8)
_AHEAD = const(9)
_CACHE_LINES = const(32)  # single blocks that are kept

# vfs.AbstractBlockDev.ioctl
_IOCTL_INIT = const(1)
_IOCTL_DEINIT = const(2)
_IOCTL_SYNC = const(3)
_IOCTL_BLOCK_COUNT = const(4)
_IOCTL_BLOCK_SIZE = const(5)
_IOCTL_ERASE = const(6)

# End of layout.py.


class Cache:
    """A disk or partition as a filesystem sees it; `virtio.mount` puts it there.

    Its memory has three parts:

    - The run: blocks that were written one after the other and are not sent yet. A write that
      does not continue it, or does not fit, sends it first, so all is sent in the order in
      which it was written. A sync, and so every close of a file, sends it and flushes the disk.
    - The window: blocks that were read ahead, where a read continued a recent one. It grows
      while it is read to its end.
    - The lines: single blocks that were read last, as a FAT and littlefs's pointers are.

    Reads see what was written. A write larger than half of the run's room goes to the disk
    directly. A run that fails to be sent stays. That is an error of the call that had to send it,
    unless FatFs overlooks it, as it does for its second table, and of each sync until it is sent
    after all, so nothing is said to be synced that is not. FAT goes on around it; littlefs must
    not, as that would be another order.

    What is not synced is lost at a soft reset, as it would be in a power cut. What else is done
    to the disk while it is mounted, by `writeblocks` or `discard`, the cache does not see;
    reading the disk is right after a sync. A disk that grows does so for the next mount.
    """

    def __init__(self, device, block_size=None, littlefs=False, readonly=False):
        self._device = device
        self._littlefs = littlefs
        self._unflushed = False  # something was sent since the last flush
        self._stuck = False  # the run could not be sent, and others go around it
        unit = self._unit = device.block_size
        self.block_size = block_size or unit
        self.block_count = device.block_count * unit // self.block_size
        most = max(_PART_SIZE // unit, 8)
        room = 0 if readonly else most
        self._memory = bytearray((room + most + _CACHE_LINES) * unit)
        # Of every length, for a file may be closed by the collector, while nothing can be allocated.
        self._runs = [self._slice(0, count) for count in range(room + 1)]
        self._windows = [self._slice(room, count) for count in range(most + 1)]
        self._state = new_state(unit, self.block_size, device.block_count, room, most)

    def readblocks(self, block_num, buf, offset=None):
        """As `Block.readblocks`."""
        if type(buf) is bytearray:
            length = len(buf)
            at = find(self._state, block_num, offset or 0, length)
            if copy_out(buf, self._memory, at, length):
                return None
        try:
            return self._read(block_num, buf, offset)
        except BaseException as error:
            return self._failed(error, is_on_stack(buf))

    def writeblocks(self, block_num, buf, offset=None):
        """As `Block.writeblocks`; also raises, or returns, what sending earlier writes does."""
        if type(buf) is bytearray:
            length = len(buf)
            # Without a jump between: Ctrl-C cannot part the run from its bytes.
            at = append(self._state, block_num, offset or 0, length)
            if copy_in(buf, self._memory, at, length):
                return None
        try:
            return self._write(block_num, buf, offset)
        except BaseException as error:
            return self._failed(error, is_on_stack(buf))

    def flush(self):
        """Send all, and flush the disk. Raises what writing and flushing do."""
        # Whatever a scheduled function writes meanwhile would be dropped with what was sent.
        board.undisturbed(_flush_all, self)

    def close(self):
        """Answer ENODEV from now on. What was not flushed is lost."""
        self._device = GONE
        state = self._state
        state[_ROOM] = state[_MOST] = state[_RUN_BLOCKS] = state[_AHEAD] = 0
        forget(state, 0, _EVERYTHING)
        self._memory = self._runs = self._windows = b""

    def ioctl(self, op, arg):
        """The operations of `vfs.AbstractBlockDev`."""
        if op in (_IOCTL_SYNC, _IOCTL_DEINIT):
            try:
                _flush_all(self)
            except (OSError, ValueError) as error:
                if self._littlefs:
                    return as_number(error)
                raise
            return 0
        if op == _IOCTL_BLOCK_COUNT:
            return self.block_count
        if op == _IOCTL_BLOCK_SIZE:
            return self.block_size
        if op == _IOCTL_ERASE:
            self._state[_MARK] = self._state[_RUN_BLOCKS]
            return 0
        return 0 if op == _IOCTL_INIT else None

    # Reading

    def _read(self, block_num, buf, offset):
        state, device = self._state, self._device
        pos = self._position(block_num, offset)
        n = self._count(buf, offset)
        if n == 0:
            self._send()
            return device.readblocks(pos, buf, offset and offset % self._unit)
        if continues(state, pos, n) and n + n <= state[_MOST] and self._read_ahead(pos, n):
            copy_out(buf, self._memory, state[_ROOM] * self._unit, len(buf))
            return None
        status = device.readblocks(pos, buf)
        if status:
            return status
        if state[_RUN_BLOCKS]:
            self._overlay(pos, n, buf)
        if n == 1:
            copy_in(buf, self._memory, new_line(state, pos), len(buf))
        return None

    def _read_ahead(self, pos, n):
        """Have the window begin with these blocks; False if it cannot."""
        state = self._state
        before = state[_AHEAD]
        followed = before and state[_WINDOW] < pos <= state[_WINDOW] + before
        count = max(2 * before if followed else 0, 4 * n)
        count = min(count, state[_MOST], state[_DISK_BLOCKS] - pos)
        if count < n:
            return False
        state[_AHEAD] = 0
        view = self._windows[count]
        try:
            self._device.readblocks(pos, view)
        except IoError:
            return False  # it may be in a block that nobody has asked for
        if state[_RUN_BLOCKS]:
            self._overlay(pos, count, view)
        state[_WINDOW] = pos
        state[_AHEAD] = count
        return True

    def _overlay(self, pos, n, buf):
        """Put what is not sent yet over blocks that were read from the disk."""
        run, unit = self._state[_RUN], self._unit
        first = max(pos, run)
        last = min(pos + n, run + self._state[_RUN_BLOCKS])
        if first < last:
            count = (last - first) * unit
            copy(buf, (first - pos) * unit, self._memory, (first - run) * unit, count)

    # Writing

    def _write(self, block_num, buf, offset):
        """Send the run and begin a new one, or write directly."""
        state = self._state
        pos = self._position(block_num, offset)
        count = byte_length(buf) // self._unit + 2  # it may begin within a block
        apart = pos + count <= state[_RUN] or pos >= state[_RUN] + state[_RUN_BLOCKS]
        if not (self._stuck and apart):
            self._send()
            if type(buf) is bytearray:
                at = append(state, block_num, offset or 0, len(buf))
                if copy_in(buf, self._memory, at, len(buf)):
                    return None
        forget(state, pos, count)
        self._unflushed = True
        if self._count(buf, offset):
            return self._device.writeblocks(pos, buf)
        return self._device.writeblocks(pos, buf, offset and offset % self._unit)

    def _send(self):
        """Send the run. If that fails it stays as it is."""
        pending = self._state[_RUN_BLOCKS]
        if pending:
            self._stuck = not self._littlefs
            self._send_first(pending)
            self._drop_first(pending)
            self._stuck = False

    def _send_first(self, count):
        """Send so many blocks of the run."""
        self._unflushed = True
        self._device.writeblocks(self._state[_RUN], self._runs[count])

    def _drop_first(self, count):
        """Have the run begin so many blocks later."""
        state, unit = self._state, self._unit
        left = state[_RUN_BLOCKS] - count
        copy(self._memory, 0, self._memory, count * unit, left * unit)
        state[_RUN] += count
        state[_RUN_BLOCKS] = left
        state[_MARK] = 0

    def _sync(self):
        """Send all, and flush.

        littlefs 2.8 (MicroPython 1.25) writes a file's data and the commit that points to it,
        and only then syncs: a disk that loses the one of them in a power cut and keeps the other
        has lost the file. So the data is flushed before the commit is sent. The commit is what
        was written last without an interruption, or the end of that: littlefs syncs each one as
        soon as it has written its checksum (lfs2_dir_commitcrc), without which it does not count,
        and one that would continue the data by its address begins with an erase.
        """
        pending = self._state[_RUN_BLOCKS]
        mark = self._state[_MARK]
        if self._littlefs and mark < pending:
            if mark:
                self._send_first(mark)
            if self._unflushed:
                self._flush()
            self._drop_first(mark)
            self._send_first(pending - mark)
            self._drop_first(pending - mark)
            self._flush()
            return
        try:
            self._send()
        finally:
            self._flush()  # whatever else was written

    def _flush(self):
        self._device.flush()
        self._unflushed = False

    # What both need

    def _position(self, block_num, offset):
        """The disk's block where a block of the filesystem, or an offset in it, is."""
        return block_num * (self.block_size // self._unit) + (offset or 0) // self._unit

    def _count(self, buf, offset):
        """How many blocks a buffer is; 0 where it is none that is handled here."""
        unit = self._unit
        if type(buf) is bytearray and len(buf) % unit == 0 == (offset or 0) % unit:
            return len(buf) // unit
        return 0

    def _slice(self, first, count):
        unit = self._unit
        return memoryview(self._memory)[first * unit : (first + count) * unit]

    def _failed(self, error, on_stack):
        """Pass an error on: as a number where an exception would jump over C; see `Block`."""
        if unanswered(error):
            self._device.reset()  # it may have a part of the memory still
        if not on_stack or not isinstance(error, (OSError, ValueError)):
            raise error
        return as_number(error)


def _flush_all(cache):
    try:
        cache._sync()
    except BaseException as error:
        cache._failed(error, False)
