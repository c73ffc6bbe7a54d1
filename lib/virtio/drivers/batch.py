"""Many block requests in one call: all are checked, then as many as fit are under way at a time."""

# SPDX-License-Identifier: MIT

from array import array
from builtins import bytearray, bytes, len, type  # as in ring/split.py

from micropython import const
from uctypes import addressof

from ..errors import BatchError, IoError, Unsupported
from ..platform.buffers import byte_length, checked_length
from ..ring.base import end
from ..ring.framed import end_framed, new_records

# From layout.py, by `make layout`.

# The private array of a queue, in words. First what is one of a queue …
_FREE_COUNT = const(5)
_DECIDED = const(12)  # 1 when that was carried out; the next add begins a new range
_EPOCH = const(15)  # address of the transport's epoch
_BORN = const(16)  # its value when the queue was set up

# … then three for each descriptor …
_SHADOW = const(26)
_SHADOW_WORDS = const(3)
_CHAIN_STATE = const(1)  # of the chain that begins here

# The state word of a chain's first descriptor: the number of its buffers, and these.
_IN_FLIGHT = const(0x10000)
_DONE = const(0x40000)
_AWAITED = const(0x80000)  # somebody waits for just this one: it does not join the completed ring
_ORPHAN = const(0x100000)  # nobody waits any more: taken back as soon as the device lets go

# A record: what a driver says of a framed chain to be added, in words. Four are its header.
_RECORD_ADDRESS = const(4)  # of the buffer
_RECORD_LENGTH = const(5)  # of what the device is to read; of what it is to write, less than 0
_RECORD_BUFFER = const(6)  # the object
_RECORD_TOKEN = const(7)  # filled in when it was added; when it was ended, the byte at its end
_RECORD_WORDS = const(8)

# A request to a disk, in words of its record, and types and statuses (5.2.6).
_REQUEST_TYPE = const(0)
_REQUEST_RESERVED = const(1)
_REQUEST_SECTOR = const(2)
_REQUEST_SECTOR_HIGH = const(3)
_IN = const(0)
_OK = const(0)

# What each request to a disk is checked by: an array that viper reads, at `limits`.
_BLOCK_MASK = const(0)  # block size - 1
_BLOCK_SHIFT = const(1)  # the logarithm of the block size
_SECTOR_SHIFT = const(2)  # of the sectors in a block
_NEAR_BLOCKS = const(3)  # on the disk, as far as they are near
_LONGEST = const(4)  # bytes in a buffer that need not be cut
_REQUEST_ROOM = const(7)  # descriptors that a request with one buffer takes
_SPARE_ROOM = const(8)  # descriptors that awaited requests leave to others
_LAST_BIT = const(31)  # of a word, whose bits RISC-V does not shift by 32
_FAR = const(-(1 << 29))  # the bits of a number that may be an object, or is less than 0

# How far a batch of requests is, in words.
_FIRST_RECORD = const(0)  # its address divided by four
_BATCH_TOTAL = const(1)  # requests
_BATCH_ADDED = const(2)
_BATCH_ENDED = const(3)
_BATCH_SPARE = const(4)  # descriptors to be left free
_BATCH_EACH = const(5)  # that a request takes
_BATCH_WORDS = const(6)

# End of layout.py.


# What `_advance` says, if not the status of the request that was ended last.
_WAIT = const(-1)  # nothing could be done
_OVER = const(-2)

# Objects, which viper makes of no constant.
_half = 32
_far = _FAR


class _Batch:
    """Many requests, some of them under way by one queue. Kept when it is over, for the next one."""

    def __init__(self, size):
        self.size = size
        self.records = new_records(size)
        self.state = array("I", bytes(4 * _BATCH_WORDS))
        self.state[_FIRST_RECORD] = addressof(self.records) >> 2

    def begin(self, queue, total, each, spare):
        self.queue = queue
        state = self.state
        state[_BATCH_EACH] = each
        state[_BATCH_SPARE] = spare
        state[_BATCH_TOTAL] = total
        state[_BATCH_ADDED] = state[_BATCH_ENDED] = 0

    def idle(self):
        """True while none of it is in flight."""
        return self.state[_BATCH_ENDED] == self.state[_BATCH_ADDED]

    def oldest(self):
        """The token of the oldest in flight."""
        return _token(self.state)


@micropython.viper
def _token(state) -> int:
    b = ptr32(state)
    return ptr32(b[_FIRST_RECORD] + _RECORD_WORDS * b[_BATCH_ENDED] << 2)[_RECORD_TOKEN]


@micropython.viper
def _plan(batches, kind: int, requests, batch) -> int:
    """Write the records of a batch; returns how many buffers need cutting.

    Raises for arguments that are wrong.
    """
    limits = ptr32(int(batches.disk.limits) << 2)
    records = batch.records
    r = ptr32(records)
    type_of = type
    length_of = len
    changeable = bytearray
    far = _far
    high = _LAST_BIT - limits[_SECTOR_SHIFT]
    count = ptr32(batch.state)[_BATCH_TOTAL]  # not the list's length, which may have changed since
    large = 0
    i = 0
    while i < count:
        request = requests[i]
        buf = request[1]
        if type_of(buf) is changeable:
            length = int(length_of(buf))
        else:
            length = int(checked_length(buf, int(kind == _IN)))
        block_num = request[0]
        last = -1
        if not block_num & far:  # as in block.py
            block = int(block_num)
            if length & limits[_BLOCK_MASK] == 0 and 0 < length <= limits[_LONGEST]:
                last = block + (length >> limits[_BLOCK_SHIFT])
        if 0 < last <= limits[_NEAR_BLOCKS]:
            r[_REQUEST_SECTOR] = block << limits[_SECTOR_SHIFT]
            r[_REQUEST_SECTOR_HIGH] = block >> 1 >> high
        else:
            sector = batches.sector(block_num, buf)
            r[_REQUEST_SECTOR] = int(sector)
            r[_REQUEST_SECTOR_HIGH] = int(sector >> _half)
            if length > limits[_LONGEST]:
                large = large + 1
        r[_REQUEST_TYPE] = kind
        r[_REQUEST_RESERVED] = 0
        r[_RECORD_ADDRESS] = int(ptr8(buf))
        r[_RECORD_LENGTH] = 0 - length if kind == _IN else length
        records[_RECORD_WORDS * i + _RECORD_BUFFER] = buf
        r = ptr32(int(r) + 4 * _RECORD_WORDS)
        i = i + 1
    return large


@micropython.viper
def _advance(batch) -> int:
    """Add of a batch what fits, notify, end what the device has used up to a failure.

    Returns the status of the request that was ended last, 0 where some were added and none were
    ended, _WAIT or _OVER.
    """
    queue = batch.queue
    words = int(queue.words)
    b = ptr32(batch.state)
    records = b[_FIRST_RECORD]
    total = b[_BATCH_TOTAL]
    added = b[_BATCH_ADDED]
    if b[_BATCH_ENDED] == total:
        return _OVER
    status = _WAIT
    if added < total:
        if added == b[_BATCH_ENDED]:
            queue._look(queue, words)  # takes back what was abandoned, and used since
        left = (ptr32(words << 2)[_FREE_COUNT] - b[_BATCH_SPARE]) // b[_BATCH_EACH]
        if left > total - added:
            left = total - added
        count = 0
        if left > 0:
            count = int(queue.add_framed(queue, words, records + _RECORD_WORDS * added, left))
        if count:
            added = added + count
            b[_BATCH_ADDED] = added
            status = _OK
            if queue._wanted(words):
                queue.notify(queue.idx)
            ptr32(words << 2)[_DECIDED] = 1  # as in `VirtQueue.kick`
    queue._look(queue, words)
    ended = b[_BATCH_ENDED]
    count = int(end_framed(words, records + _RECORD_WORDS * ended, added - ended))
    if count:
        b[_BATCH_ENDED] = ended + count
        status = ptr32(records + _RECORD_WORDS * (ended + count - 1) << 2)[_RECORD_TOKEN]
    return status


@micropython.viper
def abandon(batch):
    """Whatever is still in flight stays the device's until it has used it.

    Before all is nobody's nothing is called that could be done without: it may be the end of the
    stack that has ended the batch.
    """
    queue = batch.queue
    words = int(queue.words)
    s = ptr32(words << 2)
    b = ptr32(batch.state)
    first = b[_BATCH_ENDED]
    i = first
    b[_BATCH_ENDED] = b[_BATCH_ADDED]
    r = ptr32(b[_FIRST_RECORD] + _RECORD_WORDS * first << 2)
    while i < b[_BATCH_ADDED]:
        chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * r[_RECORD_TOKEN])
        bits = chain[_CHAIN_STATE]
        if bits & (_IN_FLIGHT | _AWAITED | _ORPHAN | _DONE) == _IN_FLIGHT | _AWAITED:
            chain[_CHAIN_STATE] = bits | _ORPHAN
        r = ptr32(int(r) + 4 * _RECORD_WORDS)
        i = i + 1
    while i > first:
        i = i - 1
        r = ptr32(int(r) - 4 * _RECORD_WORDS)
        chain = ptr32(int(s) + 4 * _SHADOW + 4 * _SHADOW_WORDS * r[_RECORD_TOKEN])
        if chain[_CHAIN_STATE] & (_IN_FLIGHT | _AWAITED | _DONE) == _IN_FLIGHT | _AWAITED | _DONE:
            end(queue, words, r[_RECORD_TOKEN], False)
    if s[_DECIDED] == 0 and ptr32(s[_EPOCH])[0] == s[_BORN]:
        queue.kick()  # as `abandon` of ring/base.py


class Batches:
    """The batches of a disk, `readmany` and its kin."""

    def __init__(self, disk):
        self.disk = disk
        self.over = []

    def sector(self, block_num, buf):
        """The sector of a request; raises for what is wrong with it."""
        self.disk.check_blocks(block_num, byte_length(buf))
        return block_num * self.disk.sectors

    def run(self, kind, requests):
        """Send all, and return when they are done."""
        batch = self._new(len(requests), 0)
        disk = self.disk
        if _plan(self, kind, requests, batch):
            self._one_by_one(kind, requests)
            return
        failed = None
        try:
            status = _advance(batch)
            while status != _OVER:
                if status > 0:
                    failed = self._note(failed, batch, status)
                elif status == _WAIT:
                    if batch.idle():
                        batch.queue.wait_for_room(disk._limits[_REQUEST_ROOM], disk.timeout_ms)
                    else:
                        batch.queue.wait(batch.oldest(), disk.timeout_ms)
                status = _advance(batch)
        except:
            abandon(batch)
            raise
        self._end(batch, failed)

    async def arun(self, kind, requests):
        """`run`, awaited."""
        disk = self.disk
        batch = self._new(len(requests), disk._limits[_SPARE_ROOM])
        if _plan(self, kind, requests, batch):
            await self._aone_by_one(kind, requests)
            return
        from asyncio import sleep_ms  # only for those who use it

        from ..device.awaiting import mark_all

        queue = batch.queue
        room = disk._limits[_REQUEST_ROOM] + disk._limits[_SPARE_ROOM]
        failed = None
        try:
            await disk.room(queue, room)
            status = _advance(batch)
            mark_all(batch)
            while status != _OVER:
                if status == _WAIT:
                    if batch.idle():
                        await disk.room(queue, room)
                    else:
                        await disk.used(queue, batch.oldest())
                else:
                    if status:
                        failed = self._note(failed, batch, status)
                    await sleep_ms(0)  # a device that is quick must not keep the others waiting
                status = _advance(batch)
                mark_all(batch)
        except:
            abandon(batch)
            raise
        self._end(batch, failed)

    def _new(self, total, spare):
        disk = self.disk
        batch = self.over.pop() if self.over else None
        if batch is None or batch.size < total:
            batch = _Batch(max(total, disk.first_queue.size))
        batch.begin(disk.next_queue(), total, disk._limits[_REQUEST_ROOM], spare)
        return batch

    def _end(self, batch, failed):
        self.over.append(batch)
        if failed:
            raise BatchError(failed)

    def _note(self, failed, batch, status):
        """Have the error of the request that was ended last join those that failed."""
        try:
            self.disk.check(status)
        except (IoError, Unsupported) as error:
            failed = failed or []
            failed.append((batch.state[_BATCH_ENDED] - 1, error))
        return failed

    def _one_by_one(self, kind, requests):
        """A batch with buffers that the device's size_max has cut."""
        failed = []
        for index, (block_num, buf) in enumerate(requests):
            try:
                self.disk.transfer(kind, block_num, buf)
            except (IoError, Unsupported) as error:
                failed.append((index, error))
        if failed:
            raise BatchError(failed)

    async def _aone_by_one(self, kind, requests):
        failed = []
        for index, (block_num, buf) in enumerate(requests):
            try:
                await self.disk.atransfer(kind, block_num, buf)
            except (IoError, Unsupported) as error:
                failed.append((index, error))
        if failed:
            raise BatchError(failed)
