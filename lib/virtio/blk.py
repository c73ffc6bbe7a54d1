"""The block device (virtio 1.2, section 5.2)."""

# SPDX-License-Identifier: MIT

from struct import pack_into

from micropython import const

from .device import Device
from .dma import byte_length
from .errors import DeviceFault, InvalidParam, IoError, Unsupported

_QUEUE_SIZE = const(128)
_SECTOR = const(512)  # the unit of capacity and of a request's position, always
_EROFS = const(30)

# Feature bits, section 5.2.3.
_F_RO = const(1 << 5)
_F_BLK_SIZE = const(1 << 6)
_F_FLUSH = const(1 << 9)

# Configuration fields, section 5.2.4: (offset, width).
_CAPACITY = (0, 8)
_BLK_SIZE = (20, 4)

# Request types and statuses, section 5.2.6.
_IN = const(0)
_OUT = const(1)
_FLUSH = const(4)
_OK = const(0)
_UNSUPP = const(2)
_IOERR = const(1)
_PENDING = const(0xFF)  # no device says this; it is what stands there until one has spoken

# vfs.AbstractBlockDev.ioctl
_IOCTL_INIT = const(1)
_IOCTL_DEINIT = const(2)
_IOCTL_SYNC = const(3)
_IOCTL_BLOCK_COUNT = const(4)
_IOCTL_BLOCK_SIZE = const(5)
_IOCTL_ERASE = const(6)


class _Request:
    """Header, status, and the buffer lists around a request's data (section 5.2.6).

    The lists are made once: a new list for each request would be an allocation.
    """

    def __init__(self):
        self.header = bytearray(16)
        self.status = bytearray(1)
        self.read = ((self.header,), [None, self.status])
        self.write = ([self.header, None], (self.status,))
        self.command = ((self.header,), (self.status,))


class Block(Device):
    """A disk, in both forms of `vfs.AbstractBlockDev`, so that a filesystem mounts on it.

    `capacity` is in sectors of 512 bytes, `block_size` in bytes, `block_count` in blocks
    of that size, `read_only` a flag. `timeout_ms` is how long one request may take; None is
    for ever.
    """

    TYPE = 2
    FEATURES = _F_RO | _F_BLK_SIZE | _F_FLUSH

    def __init__(self, where=0, ring=None):
        self.timeout_ms = 30_000
        super().__init__(where, ring)

    def __repr__(self):
        return "<Block %d sectors of 512%s, %r>" % (
            self.capacity,
            " read-only" if self.read_only else "",
            self.transport,
        )

    def _setup(self):
        self.read_only = bool(self.features & _F_RO)
        # Noted here, since looking at 64 feature bits takes an object on the heap.
        self._flushes = bool(self.features & _F_FLUSH) and not self.read_only
        self.block_size = _SECTOR
        if self.features & _F_BLK_SIZE:
            self.capacity, self.block_size = self.transport.read_config(_CAPACITY, _BLK_SIZE)
        else:
            (self.capacity,) = self.transport.read_config(_CAPACITY)
        if self.block_size < _SECTOR or self.block_size & (self.block_size - 1):
            raise DeviceFault("blocks of %d bytes" % self.block_size)
        self._queue = self.queue(0, _QUEUE_SIZE)
        # Requests that are not under way. One whose wait was broken off does not come back
        # here: its header and status are the device's, the queue holds them as long.
        self._idle = []
        # One block, where only a part of it is wanted or written.
        self._bounce = bytearray(self.block_size)

    @property
    def block_count(self):
        """The number of blocks of `block_size` bytes."""
        return self.capacity // (self.block_size // _SECTOR)

    def readblocks(self, block_num, buf, offset=None):
        """Read into all of *buf* from block *block_num* on.

        Without an offset the buffer is whole blocks. With one, reading starts that many
        bytes into the block and a buffer of bytes may have any length.

        Raises `InvalidParam` (a `ValueError`) for a block or a length out of range, with
        nothing sent to the device; `IoError` when the device cannot read, `TypeError` for a
        read-only buffer, `Timeout` after which the buffer still belongs to the device.
        """
        self._blocks(_IN, block_num, buf, offset)

    def writeblocks(self, block_num, buf, offset=None):
        """Write all of *buf* from block *block_num* on; with an offset as in `readblocks`.

        A block that is written in part is read first and written back whole.

        Raises what `readblocks` does, and `OSError(EROFS)` for a read-only disk.
        """
        if self.read_only:
            raise OSError(_EROFS)
        self._blocks(_OUT, block_num, buf, offset)

    def flush(self):
        """Return when all that was written is on stable storage.

        A device that does not offer the command has no volatile cache (section 5.2.6.2).
        """
        if self._flushes:
            self._command(_FLUSH, 0)

    def ioctl(self, op, arg):
        """The operations of `vfs.AbstractBlockDev`; an unknown one returns None."""
        if op in (_IOCTL_DEINIT, _IOCTL_SYNC):
            self.flush()
            return 0
        if op == _IOCTL_BLOCK_COUNT:
            return self.block_count
        if op == _IOCTL_BLOCK_SIZE:
            return self.block_size
        if op in (_IOCTL_INIT, _IOCTL_ERASE):  # a block need not be erased to be written
            return 0
        return None

    def _blocks(self, kind, block_num, buf, offset):
        size = self.block_size
        length = byte_length(buf)
        start, end = offset or 0, (offset or 0) + length
        if length == 0 or (offset is None and length % size):
            raise InvalidParam("%d bytes, in blocks of %d" % (length, size))
        if block_num < 0 or start < 0 or block_num + (end + size - 1) // size > self.block_count:
            raise InvalidParam("%d bytes at block %d" % (length, block_num))
        if start % size or end % size:
            self._pieces(kind, block_num + start // size, start % size, memoryview(buf))
        else:
            self._transfer(kind, block_num + start // size, buf)

    def _pieces(self, kind, block_num, offset, view):
        """Read or write a range that neither begins nor ends as the blocks do."""
        if view.itemsize != 1:
            raise TypeError("an offset needs a buffer of bytes")
        size = self.block_size
        at = 0
        while at < len(view):
            count = min(size - offset, len(view) - at)
            if count < size:
                self._piece(kind, block_num, offset, view[at : at + count])
            else:
                count = (len(view) - at) // size * size
                self._transfer(kind, block_num, view[at : at + count])
            at += count
            block_num += (offset + count) // size
            offset = 0

    def _piece(self, kind, block_num, offset, view):
        """Read or write a part of one block."""
        whole = memoryview(self._bounce)
        part = whole[offset : offset + len(view)]
        try:
            self._transfer(_IN, block_num, whole)
            if kind == _IN:
                view[:] = part
            else:
                part[:] = view
                self._transfer(_OUT, block_num, whole)
        except:
            self._bounce = bytearray(self.block_size)  # the device may have the other one still
            raise

    def _transfer(self, kind, block_num, buf):
        request = self._idle.pop() if self._idle else _Request()
        if kind == _IN:
            inputs, outputs = request.read
            outputs[0] = buf
        else:
            inputs, outputs = request.write
            inputs[1] = buf
        self._run(request, kind, block_num * (self.block_size // _SECTOR), inputs, outputs)
        if kind == _IN:
            outputs[0] = None
        else:
            inputs[1] = None
        self._finish(request)

    def _command(self, kind, sector):
        request = self._idle.pop() if self._idle else _Request()
        inputs, outputs = request.command
        self._run(request, kind, sector, inputs, outputs)
        self._finish(request)

    def _run(self, request, kind, sector, inputs, outputs):
        pack_into("<IIQ", request.header, 0, kind, 0, sector)
        request.status[0] = _PENDING
        self._queue.add_notify_wait_pop(inputs, outputs, None, self.timeout_ms)

    def _finish(self, request):
        status = request.status[0]
        self._idle.append(request)
        if status == _OK:
            return
        if status == _IOERR:
            raise IoError("the disk cannot do it")
        if status == _UNSUPP:
            raise Unsupported("the disk does not know this request")
        self.transport.fail()
        raise DeviceFault("status %d" % status)
