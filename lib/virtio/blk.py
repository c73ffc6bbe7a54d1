"""The block device (virtio 1.2, section 5.2)."""

# SPDX-License-Identifier: MIT

from builtins import bytearray, len, list, type  # as in queue.py
from collections import namedtuple
from struct import pack_into

from micropython import const, stack_use

from .device import Device
from .dma import byte_length
from .errors import BatchError, DeviceFault, InvalidParam, IoError, Timeout, Unsupported

_QUEUE_SIZE = const(64)  # requests in flight; each takes 32 bytes of heap
_QUEUES_MAX = const(4)  # one CPU keeps no more of them busy
_SECTOR = const(512)  # the unit of capacity and of a request's position, always
_FLIGHT = const(32)  # requests of an awaited batch that are in flight at a time
_LENGTH_MAX = const(0x3FFFFE00)  # bytes in a request: what a small integer holds, in whole sectors
_EINVAL = const(22)
_EROFS = const(30)

# Feature bits, section 5.2.3.
_F_SIZE_MAX = const(1 << 1)
_F_SEG_MAX = const(1 << 2)
_F_GEOMETRY = const(1 << 4)
_F_RO = const(1 << 5)
_F_BLK_SIZE = const(1 << 6)
_F_FLUSH = const(1 << 9)
_F_TOPOLOGY = const(1 << 10)
_F_CONFIG_WCE = const(1 << 11)
_F_MQ = const(1 << 12)
_F_DISCARD = const(1 << 13)
_F_WRITE_ZEROES = const(1 << 14)

# Configuration fields, section 5.2.4: (offset, width).
_CAPACITY = (0, 8)
_SIZE_MAX = (8, 4)
_SEG_MAX = (12, 4)
_GEOMETRY = ((16, 2), (18, 1), (19, 1))
_BLK_SIZE = (20, 4)
_TOPOLOGY = ((24, 1), (25, 1), (26, 2), (28, 4))
_WRITEBACK = (32, 1)
_NUM_QUEUES = (34, 2)
_MAX_DISCARD = (36, 4)
_MAX_WRITE_ZEROES = (48, 4)

# Request types and statuses, section 5.2.6.
_IN = const(0)
_OUT = const(1)
_FLUSH = const(4)
_GET_ID = const(8)
_DISCARD = const(11)
_WRITE_ZEROES = const(13)
_OK = const(0)
_UNSUPP = const(2)
_IOERR = const(1)
_PENDING = const(0xFF)  # no device says this; it is what stands there until one has spoken

_ID_LENGTH = const(20)
_UNMAP = const(1)

# vfs.AbstractBlockDev.ioctl
_IOCTL_INIT = const(1)
_IOCTL_DEINIT = const(2)
_IOCTL_SYNC = const(3)
_IOCTL_BLOCK_COUNT = const(4)
_IOCTL_BLOCK_SIZE = const(5)
_IOCTL_ERASE = const(6)

Geometry = namedtuple("Geometry", ("cylinders", "heads", "sectors"))
Topology = namedtuple(
    "Topology", ("physical_block_size", "alignment_offset", "min_io_size", "opt_io_size")
)


class _Request:
    """Header, status, and the buffer lists around a request's data (section 5.2.6).

    `inputs` and `outputs` are what the queue is given. The lists are made once: a new list
    for each request would be an allocation.
    """

    def __init__(self):
        self.header = bytearray(16)
        self.status = bytearray(1)
        self.header_only = (self.header,)
        self.status_only = (self.status,)
        self.read = [None, self.status]
        self.write = [self.header, None]
        self.inputs = self.outputs = None
        self.index = self.token = 0  # in a batch
        self.next = None  # of those that are idle


@micropython.viper
def _fill(header: ptr32, status: ptr8, kind: int, low: int, high: int):
    header[0] = kind
    header[1] = 0
    header[2] = low  # viper takes the lower 32 bits of a number
    header[3] = high
    status[0] = _PENDING


# ruff: disable[F821]
@micropython.asm_thumb
def _stack_pointer():
    mov(r0, sp)


# ruff: enable[F821]


def _is_on_stack(buf):
    """True for the buffer objects that MicroPython's filesystems make: they live on C's stack."""
    # id() has 31 bits of an address, so that is what is compared.
    return (id(buf) - _stack_pointer()) & 0x7FFFFFFF <= stack_use()


class Block(Device):
    """A disk, in both forms of `vfs.AbstractBlockDev`, so that a filesystem mounts on it.

    `capacity` is in sectors of 512 bytes, `block_size` in bytes, `block_count` in blocks
    of that size, `read_only` a flag. `geometry` and `topology` are what the device says of
    itself, or None; sizes in bytes. `timeout_ms` is how long one request may take; None is
    for ever. `on_resize` is called with the disk when its capacity has changed, as a scheduled
    function. A request of a disk whose capacity or position is beyond 2^30 allocates
    integers; others allocate nothing where that is said below.
    """

    TYPE = 2
    FEATURES = (
        _F_SIZE_MAX
        | _F_SEG_MAX
        | _F_GEOMETRY
        | _F_RO
        | _F_BLK_SIZE
        | _F_FLUSH
        | _F_TOPOLOGY
        | _F_CONFIG_WCE
        | _F_MQ
        | _F_DISCARD
        | _F_WRITE_ZEROES
    )

    def __init__(self, where=0, ring=None):
        self.timeout_ms = 30_000
        self.on_resize = None
        super().__init__(where, ring)

    def __repr__(self):
        return "<Block %d sectors of 512%s, %r>" % (
            self.capacity,
            " read-only" if self.read_only else "",
            self.transport,
        )

    def _setup(self):
        self.read_only = self._has(_F_RO)
        # Noted here, since looking at 64 feature bits takes an object on the heap.
        self._flushes = self._has(_F_FLUSH) and not self.read_only
        self.block_size = self._config(_F_BLK_SIZE, _BLK_SIZE, _SECTOR)
        if self.block_size < _SECTOR or self.block_size & (self.block_size - 1):
            raise DeviceFault("blocks of %d bytes" % self.block_size)
        self._sectors = self.block_size // _SECTOR  # in a block
        self._read_capacity()
        self.geometry = Geometry(*self._read(*_GEOMETRY)) if self._has(_F_GEOMETRY) else None
        self.topology = self._read_topology() if self._has(_F_TOPOLOGY) else None
        self._max_discard = self._config(_F_DISCARD, _MAX_DISCARD, 0)
        self._max_write_zeroes = self._config(_F_WRITE_ZEROES, _MAX_WRITE_ZEROES, 0)
        for idx in range(min(self._config(_F_MQ, _NUM_QUEUES, 1), _QUEUES_MAX)):
            self.queue(idx, _QUEUE_SIZE)
        self._only_queue = self.queues[0] if len(self.queues) == 1 else None
        self._turn = 0
        # What every request calls is found in the disk itself, not in the second of its classes.
        for name in ("readblocks", "writeblocks", "_blocks", "_run", "_prepare", "_finish"):
            setattr(self, name, getattr(self, name))
        self._limit_requests()
        # Requests that are not under way. One whose wait was broken off does not come back
        # here: its header and status are the device's, the queue holds them as long.
        # A chain of them, because a list that grows and shrinks allocates.
        # The chain begins in a list: to store into an attribute of a class that has properties
        # costs a search through all its classes.
        self._idle = [None]
        self._flights = []
        # One block, where only a part of it is wanted or written.
        self._bounce = bytearray(self.block_size)

    def _has(self, feature):
        return bool(self.features & feature)

    def _read(self, *fields):
        return self.transport.read_config(*fields)

    def _config(self, feature, field, default):
        """The value of a field that exists only with a feature."""
        return self._read(field)[0] if self._has(feature) else default

    def _read_topology(self):
        exponent, offset, least, best = self._read(*_TOPOLOGY)
        size = self.block_size
        return Topology(size << exponent, size * offset, size * least, size * best)

    def _limit_requests(self):
        """How long a segment and a request may be: section 5.2.4, size_max and seg_max."""
        self._segment_max = min(_LENGTH_MAX, self._config(_F_SIZE_MAX, _SIZE_MAX, _LENGTH_MAX))
        segments = self._config(_F_SEG_MAX, _SEG_MAX, 1)
        # Header and status take a descriptor each.
        self._segments_max = max(1, min(segments, self.queues[0].size - 2))
        self._request_max = min(_LENGTH_MAX, self._segment_max * self._segments_max)
        self._request_max -= self._request_max % self.block_size
        if self._request_max == 0:
            raise Unsupported("a block does not fit into a request")

    def _read_capacity(self):
        (self.capacity,) = self._read(_CAPACITY)
        self.block_count = self.capacity // self._sectors

    def config_changed(self):
        """The device says that its configuration has changed, as it does when it is resized."""
        before = self.capacity
        self._read_capacity()
        if self.capacity != before and self.on_resize:
            self.on_resize(self)

    @property
    def write_cache(self):
        """True while what was written may be lost until the next flush.

        Setting it to False makes every write go to stable storage before it is done.
        Raises `Unsupported` where the device does not let the driver choose.
        """
        if self._has(_F_CONFIG_WCE):
            return bool(self._read(_WRITEBACK)[0])
        return self._has(_F_FLUSH)  # section 5.2.6.2: who can flush has something to flush

    @write_cache.setter
    def write_cache(self, enable):
        if not self._has(_F_CONFIG_WCE):
            raise Unsupported("the write cache cannot be set")
        self.transport.write_config(_WRITEBACK[0], _WRITEBACK[1], 1 if enable else 0)

    @property
    def serial(self):
        """The device's id string, at most 20 bytes. Raises `Unsupported` where it has none."""
        data = bytearray(_ID_LENGTH)
        self._run(_GET_ID, 0, data)
        return data.split(b"\0")[0].decode()

    # Reading and writing

    def readblocks(self, block_num, buf, offset=None):
        """Read into all of *buf* from block *block_num* on.

        Without an offset the buffer is whole blocks. With one, reading starts that many
        bytes into the block and a buffer of bytes may have any length. Whole blocks
        allocate nothing.

        Raises `InvalidParam` (a `ValueError`) for a block or a length out of range, with
        nothing sent to the device; `IoError` when the device cannot read, `TypeError` for a
        read-only buffer, `Timeout` after which the buffer still belongs to the device.
        Called by a filesystem it returns a negative errno instead.
        """
        try:
            self._blocks(_IN, block_num, buf, offset)
        except BaseException as error:
            return self._failed(error, buf)

    def writeblocks(self, block_num, buf, offset=None):
        """Write all of *buf* from block *block_num* on; with an offset as in `readblocks`.

        A block that is written in part is read first and written back whole.

        Raises what `readblocks` does, and `OSError(EROFS)` for a read-only disk.
        """
        try:
            self._check_writable()
            self._blocks(_OUT, block_num, buf, offset)
        except BaseException as error:
            return self._failed(error, buf)

    def readmany(self, requests):
        """Read a list of (block, buffer), each buffer whole blocks; return when all are done.

        As many as fit are under way at a time. They are done in no certain order. Allocates
        nothing when it was called before.

        Raises `BatchError` (an `IoError`) when some failed, whose `failed` says which; the
        others were done. What `readblocks` raises for its arguments is raised before
        anything is sent. After `Timeout`, and after Ctrl-C, buffers still belong to the device.
        """
        self._batch(_IN, requests)

    def writemany(self, requests):
        """Write a list of (block, buffer), each buffer whole blocks; otherwise as `readmany`.

        Which of two that overlap is written last is not certain.
        """
        self._check_writable()
        self._batch(_OUT, requests)

    def readv(self, block_num, bufs):
        """Read blocks that follow each other into several buffers, if possible in one request.

        Together they are whole blocks. Raises what `readblocks` does, and `InvalidParam` for
        more buffers than a request can have where one of them is not whole blocks.
        """
        self._vector(_IN, block_num, bufs)

    def writev(self, block_num, bufs):
        """Write several buffers to blocks that follow each other; otherwise as `readv`."""
        self._check_writable()
        self._vector(_OUT, block_num, bufs)

    def flush(self):
        """Return when all that was written is on stable storage.

        A device that does not offer the command has no volatile cache (section 5.2.6.2).
        """
        if self._flushes:
            self._run(_FLUSH, 0, None)

    def discard(self, block_num, count):
        """Tell the device that *count* blocks are not needed; what they hold then is anything.

        Raises `Unsupported`, `InvalidParam`, `IoError`, and `OSError(EROFS)`.
        """
        self._clear(_DISCARD, block_num, count, 0, self._max_discard)

    def write_zeroes(self, block_num, count, unmap=False):
        """Make *count* blocks read as zeros; with *unmap* the device may give their space back.

        Raises what `discard` does.
        """
        flags = _UNMAP if unmap else 0
        self._clear(_WRITE_ZEROES, block_num, count, flags, self._max_write_zeroes)

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

    def _failed(self, error, buf):
        """Pass an error on to the caller, in the way the caller can bear.

        An exception would jump over the C code of a filesystem, which then believes in a
        buffer that was never read, or keeps a pointer to a stack that is gone. A number is
        what it expects. And it does not know that a buffer may stay the device's: where the
        device has not answered, only a reset makes sure that it will not write any more.
        """
        if not _is_on_stack(buf):
            raise error
        if isinstance(error, ValueError):
            return -_EINVAL
        answered = isinstance(error, OSError) and not isinstance(error, (Timeout, DeviceFault))
        if not answered:
            self.reset()
        if not isinstance(error, OSError):
            raise error  # Ctrl-C, which has no number
        return -error.errno

    # From a range of bytes to requests

    def _check_writable(self):
        if self.read_only:
            raise OSError(_EROFS)

    def _blocks(self, kind, block_num, buf, offset):
        length = len(buf) if type(buf) is bytearray else byte_length(buf)
        size = self.block_size
        if (
            offset is None
            and block_num >= 0
            and block_num + length // size <= self.block_count
            and 0 < length <= self._segment_max
            and length % size == 0
        ):
            self._run(kind, block_num * self._sectors, buf)
        else:
            self._range(kind, block_num, buf, length, offset)

    def _range(self, kind, block_num, buf, length, offset):
        """What is not whole blocks in one request, or not possible at all."""
        size = self.block_size
        start = offset or 0
        end = start + length
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
        """Read or write whole blocks that are known to exist."""
        if byte_length(buf) <= self._segment_max:
            self._run(kind, block_num * self._sectors, buf)
            return
        view = memoryview(buf)
        step = self._request_max // view.itemsize
        for at in range(0, len(view), step):
            piece = view[at : at + step]
            self._run(kind, block_num * self._sectors, self._segments([piece]))
            block_num += byte_length(piece) // self.block_size

    def _segments(self, views):
        """The same bytes, cut into as many buffers as the device's size_max asks for."""
        cut = []
        for view in views:
            step = self._segment_max // view.itemsize
            cut += [view[at : at + step] for at in range(0, len(view), step)]
        return cut

    def _check_blocks(self, block_num, length):
        """Raise `InvalidParam` unless *length* bytes are whole blocks of the disk."""
        size = self.block_size
        if length == 0 or length % size:
            raise InvalidParam("%d bytes, in blocks of %d" % (length, size))
        if block_num < 0 or block_num + length // size > self.block_count:
            raise InvalidParam("%d bytes at block %d" % (length, block_num))

    def _vector(self, kind, block_num, bufs):
        views = [memoryview(buf) for buf in bufs]
        length = sum(byte_length(view) for view in views)
        self._check_blocks(block_num, length)
        segments = self._segments(views)
        if len(segments) <= self._segments_max:
            self._run(kind, block_num * self._sectors, segments)
            return
        if any(byte_length(view) % self.block_size for view in views):
            raise InvalidParam("%d buffers, in requests of %d" % (len(views), self._segments_max))
        for view in views:
            self._transfer(kind, block_num, view)
            block_num += byte_length(view) // self.block_size

    def _clear(self, kind, block_num, count, flags, most):
        """Discard or write zeros (section 5.2.6: struct virtio_blk_discard_write_zeroes)."""
        self._check_writable()
        most -= most % self._sectors
        if most == 0:
            raise Unsupported("the disk does not offer request %d" % kind)
        if count <= 0 or block_num < 0 or block_num + count > self.block_count:
            raise InvalidParam("%d blocks at block %d" % (count, block_num))
        sector, left = block_num * self._sectors, count * self._sectors
        while left:
            sectors = min(left, most)
            data = bytearray(16)
            pack_into("<QII", data, 0, sector, sectors, flags)
            self._run(kind, 0, data)
            sector += sectors
            left -= sectors

    # A request's way: prepared, run by a queue, finished

    def _prepare(self, kind, sector, data):
        """A request that is ready for a queue, by its `inputs` and `outputs`.

        *data* is a buffer, a list of buffers, or None.
        """
        idle = self._idle
        request = idle[0]
        if request is None:
            request = _Request()
        else:
            idle[0] = request.next
        _fill(request.header, request.status, kind, sector, sector >> 32)
        inputs, outputs = request.header_only, request.status_only
        if kind == _IN or kind == _GET_ID:
            outputs = request.read
            outputs[0] = data
            if type(data) is list:
                outputs = data + [request.status]
        elif data is not None:
            inputs = request.write
            inputs[1] = data
            if type(data) is list:
                inputs = [request.header] + data
        request.inputs = inputs
        request.outputs = outputs
        return request

    def _next_queue(self):
        """The queue whose turn it is."""
        self._turn += 1
        if self._turn >= len(self.queues):
            self._turn = 0
        return self.queues[self._turn]

    def _run(self, kind, sector, data):
        request = self._prepare(kind, sector, data)
        queue = self._only_queue
        if queue is None:
            queue = self._next_queue()
        queue.add_notify_wait_pop(request.inputs, request.outputs, None, self.timeout_ms)
        self._finish(request)

    def _finish(self, request):
        """Take back a request that the device has used; raises what its status says."""
        status = request.status[0]
        request.read[0] = request.write[1] = None
        idle = self._idle
        request.next = idle[0]
        idle[0] = request
        if status == _OK:
            return
        if status == _IOERR:
            raise IoError("the disk cannot do it")
        if status == _UNSUPP:
            raise Unsupported("the disk does not know this request")
        self.transport.fail()
        raise DeviceFault("status %d" % status)

    # Awaitable forms

    async def aread(self, block_num, buf):
        """`readblocks` of whole blocks, awaited. The buffer is the device's until it returns.

        A task that is cancelled, or whose time is up, leaves the buffer with the device: it is
        not to be touched before the device has used it, which it may still do, or was reset.
        """
        await self._atransfer(_IN, block_num, buf)

    async def awrite(self, block_num, buf):
        """`writeblocks` of whole blocks, awaited; as `aread`."""
        self._check_writable()
        await self._atransfer(_OUT, block_num, buf)

    async def aflush(self):
        """`flush`, awaited."""
        if self._flushes:
            await self._arun(_FLUSH, 0, None)

    async def areadmany(self, requests):
        """`readmany`, awaited; other tasks run meanwhile. The buffers are as in `aread`."""
        await self._abatch(_IN, requests)

    async def awritemany(self, requests):
        """`writemany`, awaited; as `areadmany`."""
        self._check_writable()
        await self._abatch(_OUT, requests)

    async def _abatch(self, kind, requests):
        import asyncio  # only for those who use it

        self._check_batch(kind, requests)
        failed = []
        left = iter(enumerate(requests))

        async def work():
            for index, (block_num, buf) in left:
                try:
                    await self._atransfer(kind, block_num, buf)
                except (IoError, Unsupported) as error:
                    failed.append((index, error))

        # A task for each request that is in flight at a time.
        count = min(len(requests), _FLIGHT, self.queues[0].size // 4)
        await asyncio.gather(*[work() for _ in range(count)])
        if failed:
            raise BatchError(sorted(failed, key=lambda entry: entry[0]))

    async def _atransfer(self, kind, block_num, buf):
        self._check_blocks(block_num, byte_length(buf))
        sector = block_num * self._sectors
        if byte_length(buf) <= self._segment_max:
            await self._arun(kind, sector, buf)
            return
        view = memoryview(buf)
        step = self._request_max // view.itemsize
        for at in range(0, len(view), step):
            piece = view[at : at + step]
            await self._arun(kind, sector, self._segments([piece]))
            sector += byte_length(piece) // _SECTOR

    async def _arun(self, kind, sector, data):
        request = self._prepare(kind, sector, data)
        await self.complete(self._next_queue(), request.inputs, request.outputs)
        self._finish(request)

    # Batches

    def _check_batch(self, kind, requests):
        """Raise for arguments that are wrong, before anything is sent."""
        for block_num, buf in requests:
            length = byte_length(buf)
            if length % self.block_size or not 0 < length <= self._request_max or block_num < 0:
                self._check_blocks(block_num, length)
            if block_num + length // self.block_size > self.block_count:
                self._check_blocks(block_num, length)
            if kind == _IN:
                pack_into("", buf, 0)  # writes nothing, raises TypeError for a read-only buffer

    def _batch(self, kind, requests):
        self._check_batch(kind, requests)
        queue = self._only_queue
        if queue is None:
            queue = self._next_queue()
        # What is in flight, a ring in the order it was added. Kept, as it would be allocated.
        flight = self._flights.pop() if self._flights else [None] * queue.size
        try:
            failed = self._run_batch(kind, requests, queue, flight)
        except:
            # Whatever is still in flight stays the device's until it has used it.
            for request in flight:
                if request:
                    queue.abandon(request.token)
            raise
        self._flights.append(flight)
        if failed:
            raise BatchError(failed)

    def _run_batch(self, kind, requests, queue, flight):
        """Keep the queue full until all are done; returns what failed, or None."""
        total, size = len(requests), len(flight)
        sectors, segment_max = self._sectors, self._segment_max
        added = done = first = last = 0
        failed = None
        queue.can_pop()  # takes back what was abandoned earlier and has been used since
        while done < total:
            while added < total and (flight[first] is None or queue.available_desc() > 2):
                block_num, buf = requests[added]
                if byte_length(buf) > segment_max:
                    failed = self._note(failed, added, self._transfer, kind, block_num, buf)
                    done += 1
                else:
                    request = self._prepare(kind, block_num * sectors, buf)
                    request.index = added
                    # Without a jump between: Ctrl-C cannot part the chain from its owner.
                    request.token = queue.submit(request.inputs, request.outputs)
                    flight[last] = request
                    last = last + 1 if last + 1 < size else 0
                added += 1
            if queue.should_notify():
                self.transport.notify(queue.idx)
            request = flight[first]
            if request:
                queue.wait(request.token, self.timeout_ms)
            while request and queue.finished(request.token):
                flight[first] = None
                queue.take(request.token)
                first = first + 1 if first + 1 < size else 0
                if request.status[0] == _OK:
                    self._finish(request)
                else:
                    failed = self._note(failed, request.index, self._finish, request)
                done += 1
                request = flight[first]
        return failed

    def _note(self, failed, index, function, *args):
        """Call the function; an error that the device reports joins those that failed."""
        try:
            function(*args)
        except (IoError, Unsupported) as error:
            failed = failed or []
            failed.append((index, error))
        return failed
