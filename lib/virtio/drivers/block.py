"""The block device (virtio 1.2, section 5.2)."""

# SPDX-License-Identifier: MIT

from array import array
from builtins import bytearray, len, list, type  # as in ring/split.py
from struct import pack_into

from micropython import const
from uctypes import addressof

from .. import errors
from ..blockdev import calls
from ..blockdev.owners import close_mounts
from ..device import Device
from ..device.waiting import announce, wait
from ..platform.buffers import byte_length, checked_length, copy
from ..platform.dma import plenty
from ..ring.base import refuse
from ..ring.framed import end_framed

_QUEUE_SIZE = const(64)  # requests in flight; each takes 32 bytes of heap
_DIRECT_QUEUE_SIZE = const(256)  # where each takes three, so that 85 are
_QUEUES_MAX = const(4)  # one CPU keeps no more of them busy
# From layout.py, by `make layout`.

# Feature bits of the queue and the transport (6), which features.py tells by their names.
_F_INDIRECT_DESC = const(1 << 28)

# The private array of a queue, in words. First what is one of a queue …
_IN_HAND = const(24)  # 1 + the token of a chain added to be waited for, until it is; or -1
_BYTEARRAY = const(27)  # what a bytearray begins with, its type; 0 where that is not known

# A frame: what a framed chain has of its own, in memory that the device sees.
_FRAMED_MAX = const(3)  # descriptors that a framed chain takes without a table

# A record: what a driver says of a framed chain to be added, in words. Four are its header.
_RECORD_ADDRESS = const(4)  # of the buffer
_RECORD_LENGTH = const(5)  # of what the device is to read; of what it is to write, less than 0
_RECORD_BUFFER = const(6)  # the object
_RECORD_TOKEN = const(7)  # filled in when it was added; when it was ended, the byte at its end
_PENDING = const(0xFF)  # stands at a frame's end until the device has written there

# Why a viper function of the rings refused …
_FULL = const(-3)

# A request to a disk, in words of its record, and types and statuses (5.2.6).
_REQUEST_TYPE = const(0)
_REQUEST_RESERVED = const(1)
_REQUEST_SECTOR = const(2)
_REQUEST_SECTOR_HIGH = const(3)
_IN = const(0)
_OUT = const(1)
_OK = const(0)
_SECTOR = const(512)  # the unit of capacity and of a request's position, always

# What each request to a disk is checked by: an array that viper reads, at `limits`.
_BLOCK_MASK = const(0)  # block size - 1
_BLOCK_SHIFT = const(1)  # the logarithm of the block size
_SECTOR_SHIFT = const(2)  # of the sectors in a block
_NEAR_BLOCKS = const(3)  # on the disk, as far as they are near
_LONGEST = const(4)  # bytes in a buffer that need not be cut
_QUEUE_COUNT = const(5)
_COUNTED_BLOCKS = const(6)  # on the disk, as far as 32 bits count them
_REQUEST_ROOM = const(7)  # descriptors that a request with one buffer takes
_SPARE_ROOM = const(8)  # descriptors that awaited requests leave to others
_LIMITS = const(9)
_LAST_BIT = const(31)  # of a word, whose bits RISC-V does not shift by 32

# What lies where in MicroPython's objects, in words; behind the type (py/objlist.h, objtuple.h,
# objarray.h, objstr.h).
_OBJECT_TYPE = const(0)
_BUFFER_LENGTH = const(2)  # of a bytearray, or bytes
_BUFFER_ADDRESS = const(3)
_NO_POINTER = const(3)  # the bits of an object that is in the word itself
_NOT_NEAR = const(-0x3FFFFFFF)  # of a number in the word: `_FAR`, and that it is one

# vfs.AbstractBlockDev.ioctl
_IOCTL_ERASE = const(6)

# errno
_EROFS = const(30)

# End of layout.py.

_LENGTH_MAX = const(0x3FFFFE00)  # bytes in a request: what a small integer holds, in whole sectors
_NEAR = const(1 << 29)  # blocks from which on what is done with their numbers may be an object
_BOUNCES = const(2)
_OTHERS = const(3)  # requests that there is always room for

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
_CAPACITY = const((0, 8))
_SIZE_MAX = const((8, 4))
_SEG_MAX = const((12, 4))
_GEOMETRY = const(((16, 2), (18, 1), (19, 1)))
_BLK_SIZE = const((20, 4))
_TOPOLOGY = const(((24, 1), (25, 1), (26, 2), (28, 4)))
_WRITEBACK = const((32, 1))
_NUM_QUEUES = const((34, 2))
_MAX_DISCARD = const(((36, 4), (40, 4)))  # sectors in a segment, segments in a request
_MAX_WRITE_ZEROES = const(((48, 4), (52, 4)))

# Request types and statuses, section 5.2.6.
_FLUSH = const(4)
_GET_ID = const(8)
_DISCARD = const(11)
_WRITE_ZEROES = const(13)
_UNSUPP = const(2)
_IOERR = const(1)

_ID_LENGTH = const(20)
_UNMAP = const(1)

try:
    from micropython import heap_locked
except ImportError:  # a port where nobody can tell

    def heap_locked():
        return False


# Objects, which viper makes of no constant.
_half = 32  # bits of a sector's number in a word
_word = 0xFFFFFFFF
_zero = 0
_small = 0x3FFFFFFF  # the largest number that is no object on the heap


@micropython.viper
def data_length(kind: int, buf) -> int:
    """The bytes of a buffer that the device is to read; what it is to write, less than 0."""
    reads = kind == _IN or kind == _GET_ID
    if type(buf) is bytearray:
        length = int(len(buf))
    else:
        length = int(checked_length(buf, int(reads)))
    if reads:
        return 0 - length
    return length


@micropython.viper
def _add_request(
    disk, queue, kind: int, block_num, data, at: int, count: int, in_hand: int
) -> int:
    """Add a request with a buffer, or None, for its data; returns its token.

    With a *count*, of the buffer just as many bytes from *at* on. *in_hand* is 1 where it is waited
    for at once, as in ring/split.py; then room for it is waited for as well. Raises what `VirtQueue.add`
    does. Allocates for a block beyond 2^32.
    """
    length = 0
    address = 0
    if data:
        length = int(data_length(kind, data))
        if count:
            length = 0 - count if length < 0 else count
        address = int(ptr8(data)) + at
    shift = ptr32(int(disk.limits) << 2)[_SECTOR_SHIFT]
    block = uint(block_num)  # viper takes the lower 32 bits of a number
    high = block >> uint(1) >> uint(_LAST_BIT - shift)
    if block_num > _word:
        high = high | uint(block_num >> _half) << uint(shift)
    words = int(queue.words)
    records = queue.record
    r = ptr32(records)
    record = int(r) >> 2
    while True:
        # Nothing allocates or raises in between: a collection's finalisers send by the same record.
        r[_REQUEST_TYPE] = kind
        r[_REQUEST_RESERVED] = 0
        r[_REQUEST_SECTOR] = int(block << uint(shift))
        r[_REQUEST_SECTOR_HIGH] = int(high)
        r[_RECORD_ADDRESS] = address
        r[_RECORD_LENGTH] = length
        if data:
            records[_RECORD_BUFFER] = data
        if int(queue.add_framed(words, record, queue, 1)):
            break
        queue.can_pop()  # takes back what was abandoned, and used since
        if int(queue.add_framed(words, record, queue, 1)):
            break
        if in_hand == 0:
            refuse(_FULL)
        queue.wait_for_room(ptr32(int(disk.limits) << 2)[_REQUEST_ROOM], disk.timeout_ms)
    token = r[_RECORD_TOKEN]
    if in_hand:
        ptr32(words << 2)[_IN_HAND] = token + 1
    return token


@micropython.viper
def _try_one_request(disk, kind: int, block_num, buf) -> int:
    """Read or write whole blocks by one request; returns its status.

    -1 where that cannot be: nothing was sent, and `_transfer_range` knows what to do or to raise.
    """
    limits = ptr32(int(disk.limits) << 2)
    queue = disk.first_queue
    records = queue.record
    r = ptr32(records)
    records[_REQUEST_SECTOR] = block_num
    block = r[_REQUEST_SECTOR]  # as it lies there: a number can be an object, and have any size
    if block & _NOT_NEAR ^ 1:
        return -1
    block = block >> 1
    words = queue.words  # an object still, as which it is passed on
    s = ptr32(int(words) << 2)
    records[_RECORD_BUFFER] = buf
    o = ptr32(r[_RECORD_BUFFER])
    if int(o) & _NO_POINTER == 0 and o[_OBJECT_TYPE] == s[_BYTEARRAY]:
        length = o[_BUFFER_LENGTH]
        address = o[_BUFFER_ADDRESS]
    else:
        records[_RECORD_BUFFER] = None  # it may be none
        length = int(checked_length(buf, int(kind == _IN)))
        address = int(ptr8(buf))
        records[_RECORD_BUFFER] = buf
    if (
        length & limits[_BLOCK_MASK]
        or length > limits[_LONGEST]
        or length == 0
        or block + (length >> limits[_BLOCK_SHIFT]) > limits[_NEAR_BLOCKS]
    ):
        records[_RECORD_BUFFER] = None
        return -1
    if limits[_QUEUE_COUNT] > 1:
        records[_RECORD_BUFFER] = None
        queue = disk.next_queue()
        words = queue.words
        s = ptr32(int(words) << 2)
        records = queue.record
        records[_RECORD_BUFFER] = buf
        r = ptr32(records)
    r[_REQUEST_TYPE] = kind
    r[_REQUEST_RESERVED] = 0
    r[_REQUEST_SECTOR] = block << limits[_SECTOR_SHIFT]
    r[_REQUEST_SECTOR_HIGH] = block >> 1 >> (_LAST_BIT - limits[_SECTOR_SHIFT])
    r[_RECORD_ADDRESS] = address
    r[_RECORD_LENGTH] = length if kind else 0 - length
    # No jump of the interpreter from here to the end: the chain is always somebody's.
    if int(queue.add_framed(words, int(r) >> 2, queue, 1)) == 0:
        return -1
    token = r[_RECORD_TOKEN]
    s[_IN_HAND] = token + 1
    announce(queue, words, token, queue.notify)
    wait(queue, words, token, disk.timeout_ms, True)
    # As `_end_request`, whose call is a twentieth of all.
    r[_RECORD_TOKEN] = token
    end_framed(words, int(r) >> 2, 1)
    if s[_IN_HAND] == token + 1:
        s[_IN_HAND] = 0
    return r[_RECORD_TOKEN]


@micropython.viper
def _end_request(queue, words: int, token: int) -> int:
    """End a request that is finished; returns its status."""
    # In a record again, for what has run since may have added others by it.
    r = ptr32(queue.record)
    r[_RECORD_TOKEN] = token
    end_framed(words, int(r) >> 2, 1)
    # Where a task ends it, somebody else may have left his there.
    if ptr32(words << 2)[_IN_HAND] == token + 1:
        ptr32(words << 2)[_IN_HAND] = 0
    return r[_RECORD_TOKEN]


@micropython.viper
def _fits(limits, block_num, count: int) -> bool:
    """Whether that many blocks from there on are on the disk, as far as 32 bits count them.

    Allocates nothing, however large the numbers are.
    """
    if block_num < _zero or block_num > _small:
        return False
    return uint(block_num) + uint(count) <= uint(ptr32(limits)[_COUNTED_BLOCKS])


class Block(Device):
    """A disk, in both forms of `vfs.AbstractBlockDev`, so that a filesystem mounts on it.

    `capacity` is in sectors of 512 bytes, `block_size` in bytes, `block_count` in blocks
    of that size, `read_only` a flag. `num_queues` is how many queues the driver can use of the
    device; it has fewer (`queues`) where DMA memory is short. `geometry` and `topology` are what the device says of
    itself, or None; sizes in bytes. `timeout_ms` is how long one request may take; None is
    for ever. `on_resize` is called with the disk when its capacity has changed, as a scheduled
    function. A request of a disk whose capacity or position is beyond 2^30 allocates
    integers; others allocate nothing where that is said below.
    """

    littlefs = False  # whether one mounted this last
    _batches = None  # for those who use them

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
        self._write_cache = None  # what was asked for, if anything was
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
            raise errors.DeviceFault("blocks of %d bytes" % self.block_size)
        self.sectors = self.block_size // _SECTOR  # in a block
        self._limits = array("I", bytes(4 * _LIMITS))
        self.limits = addressof(self._limits) >> 2  # as an address for viper, see VirtQueue.words
        self._read_capacity()
        self.num_queues = min(self._config(_F_MQ, _NUM_QUEUES, 1), _QUEUES_MAX)
        if self.num_queues == 0:
            raise errors.DeviceFault("a disk of no queues")
        size = _QUEUE_SIZE if self._has(_F_INDIRECT_DESC) else _DIRECT_QUEUE_SIZE
        for idx in range(self.num_queues):
            if idx == 0 or plenty():
                self.queue(idx, size, True)
        self.first_queue = self.queues[0]
        self._divide_queues()
        self._turn = 0
        # What every request calls is found in the disk itself, not in the second of its classes.
        for name in ("readblocks", "writeblocks"):
            setattr(self, name, getattr(self, name))
        self._limit_requests()
        if self._write_cache is not None:
            self.write_cache = self._write_cache  # a reset has put back the device's own
        if self._batches:
            self._batches = None
        # One block, where only a part of it is wanted or written. See `_take_bounce`: a second one
        # comes with the first such request.
        self._bounces = [bytearray(self.block_size)]

    def queue(self, idx, size, frames):
        # Legacy devices may tell other lengths (section 5.2.6.3), and none is gone by.
        return super().queue(idx, size, frames, not self.transport.legacy)

    def _divide_queues(self):
        """How many descriptors a request takes, and how many awaited ones leave to others.

        Those others are a request that is not awaited, one in a scheduled function, and one of a
        collection: none of them can wait for a task to end what it has in the queue.
        """
        size = min([queue.size for queue in self.queues])
        if size < _FRAMED_MAX:  # section 2.7.5.3.1: nor may a table be longer than the queue
            raise errors.Unsupported("requests of 3 descriptors on a queue of %d" % size)
        room = 1 if self._has(_F_INDIRECT_DESC) else _FRAMED_MAX
        self._limits[_REQUEST_ROOM] = room
        self._limits[_SPARE_ROOM] = min(_OTHERS * room, size - room)

    def _has(self, feature):
        return bool(self.features & feature)

    def _read(self, *fields):
        return self.transport.read_config(*fields)

    def _config(self, feature, field, default):
        """The value of a field that exists only with a feature."""
        return self._read(field)[0] if self._has(feature) else default

    def _most(self, feature, sectors, segments):
        """The sectors that a request may clear, which here has one segment."""
        return self._config(feature, sectors, 0) if self._config(feature, segments, 0) else 0

    @property
    def geometry(self):
        """The cylinders, heads and sectors that the device claims to have, or None."""
        if self._has(_F_GEOMETRY):
            from .geometry import geometry  # for those only who ask

            return geometry(*self._read(*_GEOMETRY))

    @property
    def topology(self):
        """What requests the device does best, in bytes, or None."""
        if self._has(_F_TOPOLOGY):
            from .geometry import topology

            return topology(self.block_size, *self._read(*_TOPOLOGY))

    def _limit_requests(self):
        """How long a segment and a request may be: section 5.2.4, size_max and seg_max."""
        longest = min(_LENGTH_MAX, self._config(_F_SIZE_MAX, _SIZE_MAX, _LENGTH_MAX))
        segments = self._config(_F_SEG_MAX, _SEG_MAX, 1)
        # Header and status take a descriptor each.
        self._segments_max = max(1, min(segments, self.queues[0].size - 2))
        if longest * self._segments_max < self.block_size:
            raise errors.Unsupported("a block does not fit into a request")
        limits = self._limits
        limits[_BLOCK_MASK] = self.block_size - 1
        limits[_BLOCK_SHIFT] = _logarithm(self.block_size)
        limits[_SECTOR_SHIFT] = _logarithm(self.sectors)
        limits[_LONGEST] = longest
        limits[_QUEUE_COUNT] = len(self.queues)

    def _read_capacity(self):
        (self.capacity,) = self._read(_CAPACITY)
        self.block_count = self.capacity // self.sectors
        self._limits[_NEAR_BLOCKS] = min(self.block_count, _NEAR)
        self._limits[_COUNTED_BLOCKS] = min(self.block_count, 0xFFFFFFFF)

    def config_changed(self):
        """The device says that its configuration has changed, as it does when it is resized."""
        before = self.capacity
        self._read_capacity()
        if self.capacity != before and self.on_resize:
            self.on_resize(self)

    @property
    def write_cache(self):
        """True while what was written may be lost until the next flush.

        Setting it to False makes every write go to stable storage before it is done, and holds
        over `reset`. Raises `Unsupported` where the device does not let the driver choose.
        """
        if self._has(_F_CONFIG_WCE):
            return bool(self._read(_WRITEBACK)[0])
        return self._has(_F_FLUSH)  # section 5.2.6.2: who can flush has something to flush

    @write_cache.setter
    def write_cache(self, enable):
        if not self._has(_F_CONFIG_WCE):
            raise errors.Unsupported("the write cache cannot be set")
        self.transport.write_config(_WRITEBACK[0], _WRITEBACK[1], 1 if enable else 0)
        self._write_cache = enable

    @property
    def serial(self):
        """The device's id string, at most 20 bytes. Raises `Unsupported` where it has none."""
        data = bytearray(_ID_LENGTH)
        self._send_and_wait(_GET_ID, 0, data)
        return data.split(b"\0")[0].decode()

    # Reading and writing

    @micropython.native
    def readblocks(self, block_num, buf, offset=None):
        """Read into all of *buf* from block *block_num* on.

        Without an offset the buffer is whole blocks. With one, reading starts that many
        bytes into the block and the buffer may have any length. Neither allocates anything.

        Raises `InvalidParam` (a `ValueError`) for a block or a length out of range, with
        nothing sent to the device; `IoError` when the device cannot read, `TypeError` for a
        read-only buffer, `Timeout` after which the buffer still belongs to the device.
        Called by a filesystem it returns a negative errno instead.
        """
        try:
            status = -1
            if not offset:
                status = _try_one_request(self, _IN, block_num, buf)
            if status:
                self._raise_or_divide(status, _IN, block_num, buf, offset)
        except BaseException as error:
            return self._failed(error, buf)

    @micropython.native
    def writeblocks(self, block_num, buf, offset=None):
        """Write all of *buf* from block *block_num* on; with an offset as in `readblocks`.

        A block that is written in part is read first and written back whole.

        Raises what `readblocks` does, and `OSError(EROFS)` for a read-only disk.
        """
        try:
            status = -1
            if self.read_only:
                self._check_writable()
            if not offset:
                status = _try_one_request(self, _OUT, block_num, buf)
            if status:
                self._raise_or_divide(status, _OUT, block_num, buf, offset)
        except BaseException as error:
            return self._failed(error, buf)

    def readmany(self, requests):
        """Read a list of (block, buffer), each buffer whole blocks; return when all are done.

        As many as fit are under way at a time, by one of the disk's queues; the next batch goes
        by the next. They are done in no certain order. Allocates nothing when it was called before.

        Raises `BatchError` (an `IoError`) when some failed, whose `failed` says which; the
        others were done. What `readblocks` raises for its arguments is raised before
        anything is sent. After `Timeout`, and after Ctrl-C, buffers still belong to the device.
        """
        batches = self._batches
        if batches is None:
            batches = self._get_batches()
        batches.run(_IN, requests)

    def writemany(self, requests):
        """Write a list of (block, buffer), each buffer whole blocks; otherwise as `readmany`.

        Which of two that overlap is written last is not certain.
        """
        self._check_writable()
        batches = self._batches
        if batches is None:
            batches = self._get_batches()
        batches.run(_OUT, requests)

    def readv(self, block_num, bufs):
        """Read blocks that follow each other into several buffers, in as few requests as possible.

        Together they are whole blocks. Raises what `readblocks` does, `InvalidParam` where a
        block has more buffers than a request can have, and `QueueFull` where the requests of
        others leave it too few descriptors for as long as `timeout_ms`.
        """
        self._transfer_scattered(_IN, block_num, bufs)

    def writev(self, block_num, bufs):
        """Write several buffers to blocks that follow each other; otherwise as `readv`."""
        self._check_writable()
        self._transfer_scattered(_OUT, block_num, bufs)

    def flush(self):
        """Return when all that was written is on stable storage.

        A device that does not offer the command has no volatile cache (section 5.2.6.2).
        """
        if self._flushes:
            self._send_and_wait(_FLUSH, 0, None)

    def discard(self, block_num, count):
        """Tell the device that *count* blocks are not needed; what they hold then is anything.

        Raises `Unsupported`, `InvalidParam`, `IoError`, and `OSError(EROFS)`.
        """
        most = self._most(_F_DISCARD, *_MAX_DISCARD)
        self._discard_or_zero(_DISCARD, block_num, count, 0, most)

    def write_zeroes(self, block_num, count, unmap=False):
        """Make *count* blocks read as zeros; with *unmap* the device may give their space back.

        Raises what `discard` does.
        """
        flags = _UNMAP if unmap else 0
        most = self._most(_F_WRITE_ZEROES, *_MAX_WRITE_ZEROES)
        self._discard_or_zero(_WRITE_ZEROES, block_num, count, flags, most)

    def ioctl(self, op, arg):
        """The operations of `vfs.AbstractBlockDev`; an unknown one returns None.

        A failed sync raises, but is a negative errno for a littlefs that mounted this.
        """
        if op == _IOCTL_ERASE:  # a block need not be erased to be written
            return 0
        return calls.ioctl(self, op, arg)

    def _failed(self, error, buf):
        """Pass an error on to the caller, in the way the caller can bear.

        An exception would jump over the C code of a filesystem, which then believes in a
        buffer that was never read, or keeps a pointer to a stack that is gone. A number is
        what it expects. And it does not know that a buffer may stay the device's: where the
        device has not answered, only a reset makes sure that it will not write any more.
        """
        if not calls.is_on_stack(buf):
            raise error
        if calls.unanswered(error):
            self.reset()
        if not isinstance(error, (OSError, ValueError)):
            raise error  # Ctrl-C, which has no number
        return calls.as_number(error)

    def deinit(self):
        """Reset the device and let it go. All buffers are the program's again.

        A filesystem that is mounted on it gets ENODEV from then on. What was not synced is lost.
        """
        super().deinit()
        close_mounts(self)

    # From a range of bytes to requests

    def _check_writable(self):
        if self.read_only:
            raise OSError(_EROFS)

    def _raise_or_divide(self, status, kind, block_num, buf, offset):
        """What is left where `_try_one_request` was not all: its error, or another way."""
        if status > 0:
            self.check(status)
        else:
            self._transfer_range(kind, block_num, buf, byte_length(buf), offset)

    def _transfer_range(self, kind, block_num, buf, length, offset):
        """What is not whole blocks in one request, or not possible at all."""
        size = self.block_size
        start = offset or 0
        end = start + length
        if length == 0 or (offset is None and length % size):
            raise errors.InvalidParam("%d bytes, in blocks of %d" % (length, size))
        count = (end + size - 1) // size
        # Compared as objects where they are, by what allocates.
        if not _fits(self._limits, block_num, count) or start < 0:
            if block_num < 0 or start < 0 or block_num + count > self.block_count:
                raise errors.InvalidParam("%d bytes at block %d" % (length, block_num))
        if start % size or end % size:
            checked_length(buf, kind == _IN)  # TypeError where it cannot be written
        if start >= size:
            block_num += start // size
        self._transfer_in_pieces(kind, block_num, start % size, buf, length)

    def _transfer_in_pieces(self, kind, block_num, offset, buf, length):
        """Read or write a range in pieces: parts of a block, and as many blocks as a segment has.

        Whole blocks that are more go as several segments, for which objects are needed.
        """
        size = self.block_size
        longest = self._limits[_LONGEST]
        if length > longest and not (offset or length % size):
            if longest < size or not heap_locked():
                self._transfer_scattered(kind, block_num, [buf])
                return
        at = 0
        while at < length:
            count = length - at
            if offset or count < size or longest < size:
                count = min(size - offset, count)
                self._transfer_part_of_block(kind, block_num, offset, buf, at, count)
                offset = 0
                block_num += 1
            else:
                count = min(count, longest) & -size
                self._send_and_wait(kind, block_num, buf, at, count)
                block_num += count // size
            at += count

    def _transfer_part_of_block(self, kind, block_num, offset, buf, at, count):
        """Read or write a part of one block: *count* bytes from *offset*, in *buf* from *at* on."""
        # After an error it is not put back, for the device may have it still.
        bounce = self._take_bounce()
        self.transfer(_IN, block_num, bounce)
        if kind == _IN:
            copy(buf, at, bounce, offset, count)
        else:
            copy(bounce, offset, buf, at, count)
            self.transfer(_OUT, block_num, bounce)
        if len(self._bounces) < _BOUNCES:
            self._bounces.append(bounce)

    def _take_bounce(self):
        """Memory of a block. The last that is kept is for who cannot allocate: the collector."""
        bounces = self._bounces
        if len(bounces) > 1 or (bounces and heap_locked()):
            return bounces.pop()
        return bytearray(self.block_size)

    def transfer(self, kind, block_num, buf):
        """Read or write whole blocks that are known to exist."""
        length = byte_length(buf)
        if length <= self._limits[_LONGEST]:
            self._send_and_wait(kind, block_num, buf)
        else:
            self._transfer_in_pieces(kind, block_num, 0, buf, length)

    def check_blocks(self, block_num, length):
        """Raise `InvalidParam` unless *length* bytes are whole blocks of the disk."""
        size = self.block_size
        if length == 0 or length % size:
            raise errors.InvalidParam("%d bytes, in blocks of %d" % (length, size))
        if block_num < 0 or block_num + length // size > self.block_count:
            raise errors.InvalidParam("%d bytes at block %d" % (length, block_num))

    def _transfer_scattered(self, kind, block_num, bufs):
        views = [memoryview(buf) for buf in bufs]
        length = sum(byte_length(view) for view in views)
        self.check_blocks(block_num, length)
        for request in self._divide_into_requests(views):
            self._send_and_wait(kind, block_num, request)
            block_num += sum(byte_length(segment) for segment in request) // self.block_size

    def _divide_into_requests(self, views):
        """The same bytes as requests, lists of segments: whole blocks, as many as the device allows.

        Its size_max says how long a segment may be, its seg_max how many a request may have.
        """
        requests, request, length, cut = [], [], 0, None
        idx = at = 0  # what comes next: a view, and an item of it
        while idx < len(views) or request:
            if idx < len(views) and len(request) < self._segments_max:
                view = views[idx]
                item = byte_length(view) // max(len(view), 1) or 1
                segment = view[at : at + self._limits[_LONGEST] // item]
                if len(segment) == 0:
                    idx, at = idx + 1, 0
                    continue
                length += byte_length(segment)
                over = length % self.block_size  # is beyond the last block that is whole
                if over < byte_length(segment) and over % item == 0:
                    end = len(segment) - over // item
                    cut = len(request), segment[:end], idx, at + end
                request.append(segment)
                at += len(segment)
            else:
                if cut is None:
                    raise errors.InvalidParam("no end of a block in %d buffers" % len(request))
                count, last, idx, at = cut
                requests.append(request[:count] + [last])
                request, length, cut = [], 0, None
        return requests

    def _discard_or_zero(self, kind, block_num, count, flags, most):
        """Discard or write zeros (section 5.2.6: struct virtio_blk_discard_write_zeroes)."""
        self._check_writable()
        most -= most % self.sectors
        if most == 0:
            raise errors.Unsupported("the disk does not offer request %d" % kind)
        if count <= 0 or block_num < 0 or block_num + count > self.block_count:
            raise errors.InvalidParam("%d blocks at block %d" % (count, block_num))
        sector, left = block_num * self.sectors, count * self.sectors
        while left:
            sectors = min(left, most)
            data = bytearray(16)
            pack_into("<QII", data, 0, sector, sectors, flags)
            self._send_and_wait(kind, 0, data)
            sector += sectors
            left -= sectors

    # A request's way

    def next_queue(self):
        """The queue whose turn it is."""
        if len(self.queues) == 1:  # the next line takes thousands of instructions
            return self.first_queue
        self._turn = (self._turn + 1) % len(self.queues)
        return self.queues[self._turn]

    def _send_and_wait(self, kind, block_num, data, at=0, count=0):
        """Send a request and wait for it. *data* is a buffer, a list of buffers, or None.

        With a *count*, of a buffer just as many bytes from *at* on.
        """
        queue = self.next_queue()
        if type(data) is list:
            inputs, outputs, status = _chain_of_buffers(kind, block_num * self.sectors, data)
            try:
                queue.add_notify_wait_pop(inputs, outputs, None, self.timeout_ms)
            except errors.QueueFull:
                queue.wait_for_room(len(inputs) + len(outputs), self.timeout_ms)
                queue.add_notify_wait_pop(inputs, outputs, None, self.timeout_ms)
            self.check(status[0])
        else:
            # As in _try_one_request(), with no jump between.
            token = _add_request(self, queue, kind, block_num, data, at, count, 1)
            announce(queue, queue.words, token, queue.notify)
            wait(queue, queue.words, token, self.timeout_ms, True)
            self.check(_end_request(queue, queue.words, token))

    def _get_batches(self):
        if self._batches is None:
            from .batch import Batches  # for those only who use them

            self._batches = Batches(self)
        return self._batches

    def check(self, status):
        """Raise what a request's status says."""
        if status == _OK:
            return
        if status == _IOERR:
            raise errors.IoError("the disk cannot do it")
        if status == _UNSUPP:
            raise errors.Unsupported("the disk does not know this request")
        self.transport.fail("status %d" % status)
        raise errors.DeviceFault(self.transport.why)

    # Awaitable forms

    async def aread(self, block_num, buf):
        """`readblocks` of whole blocks, awaited. The buffer is the device's until it returns.

        A task that is cancelled, or whose time is up, leaves the buffer with the device: it is
        not to be touched before the device has used it, which it may still do, or was reset.
        """
        await self.atransfer(_IN, block_num, buf)

    async def awrite(self, block_num, buf):
        """`writeblocks` of whole blocks, awaited; as `aread`."""
        self._check_writable()
        await self.atransfer(_OUT, block_num, buf)

    async def aflush(self):
        """`flush`, awaited."""
        if self._flushes:
            await self._asend_and_wait(_FLUSH, 0, None)

    async def areadmany(self, requests):
        """`readmany`, awaited; other tasks run meanwhile. The buffers are as in `aread`."""
        await self._get_batches().arun(_IN, requests)

    async def awritemany(self, requests):
        """`writemany`, awaited; as `areadmany`."""
        self._check_writable()
        await self._get_batches().arun(_OUT, requests)

    async def atransfer(self, kind, block_num, buf):
        self.check_blocks(block_num, byte_length(buf))
        if byte_length(buf) <= self._limits[_LONGEST]:
            await self._asend_and_wait(kind, block_num, buf)
            return
        for request in self._divide_into_requests([memoryview(buf)]):
            await self._asend_and_wait(kind, block_num, request)
            block_num += sum(byte_length(segment) for segment in request) // self.block_size

    async def _asend_and_wait(self, kind, block_num, data):
        queue = self.next_queue()
        if type(data) is list:
            inputs, outputs, status = _chain_of_buffers(kind, block_num * self.sectors, data)
            await self.complete(queue, inputs, outputs)
            self.check(status[0])
            return
        await self.room(queue, self._limits[_REQUEST_ROOM] + self._limits[_SPARE_ROOM])
        token = _add_request(self, queue, kind, block_num, data, 0, 0, 0)
        try:
            await self.used(queue, token)
            status = _end_request(queue, queue.words, token)  # in here, as `complete`
        except:
            queue.abandon(token)
            raise
        self.check(status)


def _chain_of_buffers(kind, sector, data):
    """Inputs, outputs and status of a request whose data is a list of buffers."""
    header, status = bytearray(16), bytearray((_PENDING,))
    pack_into("<IIQ", header, 0, kind, 0, sector)
    if kind == _IN:
        return [header], data + [status], status
    return [header] + data, [status], status


def _logarithm(power):
    exponent = 0
    while power >> exponent > 1:
        exponent += 1
    return exponent
