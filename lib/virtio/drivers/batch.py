"""Many block requests in one call: all are checked, then as many as fit are under way at a time."""

# SPDX-License-Identifier: MIT

from array import array
from builtins import bytes, len  # as in ring/split.py

from micropython import const
from uctypes import addressof

from ..errors import BatchError, IoError, Unsupported
from ..platform.buffers import byte_length, checked_length
from ..ring.base import end
from ..ring.framed import end_framed, new_records

# From layout.py, by `make layout`.

# The private array of a queue, in words. First what is one of a queue …
_MASK = const(3)  # size - 1; ring indices run freely modulo 2^16
_FREE_COUNT = const(5)
_DECIDED = const(12)  # 1 when that was carried out; the next add begins a new range
_EPOCH = const(15)  # address of the transport's epoch
_BORN = const(16)  # its value when the queue was set up
_IDX = const(26)  # which of the device's queues it is

# … then three for each descriptor …
_SHADOW = const(28)
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
_QUEUE_COUNT = const(5)
_REQUEST_ROOM = const(7)  # descriptors that a request with one buffer takes
_SPARE_ROOM = const(8)  # descriptors that awaited requests leave to others
_LAST_BIT = const(31)  # of a word, whose bits RISC-V does not shift by 32
_FAR = const(-(1 << 29))  # the bits of a number that may be an object, or is less than 0

# What lies where in MicroPython's objects, in words; behind the type (py/objlist.h, objtuple.h,
# objarray.h, objstr.h).
_OBJECT_TYPE = const(0)
_LIST_LENGTH = const(2)
_LIST_ITEMS = const(3)  # address
_TUPLE_LENGTH = const(1)
_TUPLE_ITEMS = const(2)
_BUFFER_LENGTH = const(2)  # of a bytearray, or bytes
_BUFFER_ADDRESS = const(3)
_NO_POINTER = const(3)  # the bits of an object that is in the word itself
_NOT_NEAR = const(-0x3FFFFFFF)  # of a number in the word: `_FAR`, and that it is one
_LIST_TYPE = const(0)  # in an array of types
_TUPLE_TYPE = const(1)
_BYTEARRAY_TYPE = const(2)
_BYTES_TYPE = const(3)

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

# The types of a list, a tuple, a bytearray and bytes, as words of objects. What lies in one is found by
# a load, and by a call of a hundred instructions where it is asked for. Nothing is taken for granted:
# where objects were not seen to lie as the table above says, these are 0, and all is asked for.
_types = array("I", bytes(16))


@micropython.viper
def _look_at(samples, found) -> bool:
    """Find the types, if these objects lie as expected."""
    o = ptr32(samples)
    items = ptr32(o[_LIST_TYPE])
    pair = ptr32(o[_TUPLE_TYPE])
    changeable = ptr32(o[_BYTEARRAY_TYPE])
    fixed = ptr32(o[_BYTES_TYPE])
    if items[_LIST_LENGTH] != 3 or items[_LIST_ITEMS] & _NO_POINTER:
        return False
    # 5, as a number is in a word.
    if ptr32(items[_LIST_ITEMS])[2] != 11 or pair[_TUPLE_LENGTH] != 2 or pair[_TUPLE_ITEMS] != 11:
        return False
    if pair[_TUPLE_ITEMS + 1] != int(changeable) or changeable[_BUFFER_LENGTH] != 9:
        return False
    if changeable[_BUFFER_ADDRESS] != int(ptr8(samples[_BYTEARRAY_TYPE])):
        return False
    if fixed[_BUFFER_LENGTH] != 8 or fixed[_BUFFER_ADDRESS] != int(ptr8(samples[_BYTES_TYPE])):
        return False
    t = ptr32(found)
    t[_LIST_TYPE] = items[_OBJECT_TYPE]
    t[_TUPLE_TYPE] = pair[_OBJECT_TYPE]
    t[_BYTEARRAY_TYPE] = changeable[_OBJECT_TYPE]
    t[_BYTES_TYPE] = fixed[_OBJECT_TYPE]
    return True


_data = bytearray(9)
_look_at(array("O", [[3, 4, 5], (5, _data), _data, bytes(8)]), _types)


class _Batch:
    """Many requests, some of them under way by one queue. Kept when it is over, for the next one."""

    def __init__(self, size):
        self.size = size
        self.queue = None
        self.records = new_records(size)
        self.state = array("I", bytes(4 * _BATCH_WORDS))
        self.state[_FIRST_RECORD] = addressof(self.records) >> 2

    def idle(self):
        """True while none of it is in flight."""
        return self.state[_BATCH_ENDED] == self.state[_BATCH_ADDED]

    def oldest(self):
        """The token of the oldest in flight."""
        return _token(self.state)


@micropython.viper
def _begin(batch, disk, total: int, spare: int):
    """A batch of *total* requests begins; it leaves *spare* descriptors free."""
    limits = ptr32(int(disk.limits) << 2)
    queue = disk.first_queue
    if limits[_QUEUE_COUNT] > 1:
        queue = disk.next_queue()
    batch.queue = queue
    b = ptr32(batch.state)
    b[_BATCH_EACH] = limits[_REQUEST_ROOM]
    b[_BATCH_SPARE] = spare
    b[_BATCH_TOTAL] = total
    b[_BATCH_ADDED] = 0
    b[_BATCH_ENDED] = 0


@micropython.viper
def _token(state) -> int:
    b = ptr32(state)
    return ptr32(b[_FIRST_RECORD] + _RECORD_WORDS * b[_BATCH_ENDED] << 2)[_RECORD_TOKEN]


@micropython.viper
def _plan(batches, kind: int, requests, batch) -> int:
    """Write the records of a batch; returns how many buffers need cutting.

    Raises for arguments that are wrong.
    """
    disk_limits = int(batches.disk.limits)
    limits = ptr32(disk_limits << 2)
    records = batch.records
    r = ptr32(records)
    known = _types
    t = ptr32(known)
    far = _far
    high = _LAST_BIT - limits[_SECTOR_SHIFT]
    total = ptr32(batch.state)[_BATCH_TOTAL]  # not the list's length, which may have changed since
    large = 0
    i = 0
    while True:
        # Those that are as most are. The list is looked up in each round, for a call may change it.
        records[_RECORD_WORDS * i + _RECORD_BUFFER] = requests
        items = ptr32(r[_RECORD_BUFFER])
        if int(items) & _NO_POINTER == 0 and items[_OBJECT_TYPE] == t[_LIST_TYPE]:
            count = items[_LIST_LENGTH]
            if count > total:
                count = total
            item = (items[_LIST_ITEMS] >> 2) + i
            count = int(_plan_plain(int(r) >> 2, item, count - i, kind, disk_limits, known))
            i = i + count
            r = ptr32(int(r) + 4 * _RECORD_WORDS * count)
        if i >= total:
            return large
        # One that is not.
        request = requests[i]
        buf = request[1]
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
        if i >= total:
            return large


@micropython.viper
def _plan_plain(record: int, item: int, count: int, kind: int, limits: int, known) -> int:
    """Write the records of requests as far as nothing needs to be asked; returns how many.

    Of a tuple in the list from *item* on that is a near block and a bytearray, or bytes to be written,
    all is read where it lies. Nothing is called, so nothing changes meanwhile.
    """
    record = record << 2  # addresses from here on, as in `add_framed`
    item = item << 2
    limit = ptr32(limits << 2)
    block_mask = limit[_BLOCK_MASK]
    block_shift = limit[_BLOCK_SHIFT]
    sector_shift = limit[_SECTOR_SHIFT]
    near = limit[_NEAR_BLOCKS]
    longest = limit[_LONGEST]
    high = _LAST_BIT - sector_shift
    t = ptr32(known)
    pair_type = t[_TUPLE_TYPE]
    changeable = t[_BYTEARRAY_TYPE]
    fixed = changeable if kind == _IN else t[_BYTES_TYPE]
    left = count
    while left > 0:
        pair = ptr32(ptr32(item)[0])
        if int(pair) & _NO_POINTER:
            break
        if pair[_OBJECT_TYPE] ^ pair_type | pair[_TUPLE_LENGTH] ^ 2:
            break
        block = pair[_TUPLE_ITEMS]
        if block & _NOT_NEAR ^ 1:
            break
        block = block >> 1
        buf = ptr32(pair[_TUPLE_ITEMS + 1])
        if int(buf) & _NO_POINTER:
            break
        buffer_type = buf[_OBJECT_TYPE]
        if buffer_type ^ changeable:
            if buffer_type ^ fixed:
                break
        length = buf[_BUFFER_LENGTH]
        if length & block_mask:
            break
        if length:
            pass
        else:
            break
        if length > longest:
            break
        if block + (length >> block_shift) > near:
            break
        ptr32(record)[_REQUEST_TYPE] = kind
        ptr32(record)[_REQUEST_RESERVED] = 0
        ptr32(record)[_REQUEST_SECTOR] = block << sector_shift
        ptr32(record)[_REQUEST_SECTOR_HIGH] = block >> 1 >> high
        ptr32(record)[_RECORD_ADDRESS] = buf[_BUFFER_ADDRESS]
        ptr32(record)[_RECORD_LENGTH] = length if kind else 0 - length
        ptr32(record)[_RECORD_BUFFER] = int(buf)
        record = record + 4 * _RECORD_WORDS
        item = item + 4
        left = left - 1
    return count - left


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
        if left >= total - added:
            left = total - added
        elif (
            added > b[_BATCH_ENDED]
            and 2 * ptr32(words << 2)[_FREE_COUNT] < ptr32(words << 2)[_MASK]
        ):
            left = 0  # more at a time take fewer notifications; half of the queue keeps it busy
        count = 0
        if left > 0:
            count = int(queue.add_framed(words, records + _RECORD_WORDS * added, queue, left))
        if count:
            added = added + count
            b[_BATCH_ADDED] = added
            status = _OK
            if queue._wanted(words):
                queue.notify(ptr32(words << 2)[_IDX])
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
        over = self.over
        batch = over.pop() if over else None
        if batch is None or batch.size < total:
            batch = _Batch(max(total, self.disk.first_queue.size))
        _begin(batch, self.disk, total, spare)
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
