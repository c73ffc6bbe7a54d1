"""The 9P device: a folder of the host, by the protocol 9P2000.L (virtio 1.2, section 5.9).

A message to the server is a chain of buffers, its answer stands in the same chain. The data that
is read or written is not copied: it lies where the program has it. A fid is the client's number for
what it has found or opened; it is free again when the server has said that it was clunked.
"""

# SPDX-License-Identifier: MIT

from array import array
from builtins import len  # as in ring/split.py
from struct import pack, pack_into, unpack_from
from time import ticks_diff, ticks_ms

from micropython import const
from uctypes import addressof

from ..device import Device
from ..device.waiting import add_and_wait
from ..errors import DeviceFault, IoError, NoDevice, Timeout, Unsupported
from ..platform import board
from ..platform.buffers import byte_length, checked_length
from ..transport.mmio import scan

# From layout.py, by `make layout`.

# The private array of a queue, in words. First what is one of a queue …
_FREE_COUNT = const(5)

# … and what the device has done wrong.
_NAP_MS = const(500)  # how long a device may be broken before who sleeps or awaits sees it

# 9P: how a session is held, and what firmware/shared_file.c knows of an open file, in words.
_ROOT_FID = const(0)  # of the folder itself
_NAMES_MAX = const(16)  # in one walk
_FILE_FID = const(0)
_FILE_SESSION = const(1)  # in which it was opened
_FILE_OFFSET = const(2)  # of what is read or written; the upper half is behind it
_FILE_CLOSED = const(0x10000)  # no session

# End of layout.py.

_QUEUE_SIZE = const(128)  # as many as QEMU has
_MSIZE = const(512 * 1024)  # of a message, the longest
_MSIZE_MIN = const(4096)
_DATA_ROOM = const(24)  # that a message with data has beside it, at most

# Feature bit and configuration, section 5.9.3: the tag's length, then the tag.
_F_MOUNT_TAG = const(1)
_TAG = const(2)

# Messages, by the number of the request; its answer has the next one.
_RLERROR = const(7)
_TSTATFS = const(8)
_TLOPEN = const(12)
_TLCREATE = const(14)
_TREADLINK = const(22)
_TGETATTR = const(24)
_TREADDIR = const(40)
_TFSYNC = const(50)
_TMKDIR = const(72)
_TRENAMEAT = const(74)
_TUNLINKAT = const(76)
_TVERSION = const(100)
_TATTACH = const(104)
_TWALK = const(110)
_TREAD = const(116)
_TWRITE = const(118)
_TCLUNK = const(120)

_DESCRIPTORS = const(4)  # descriptors that a request takes at most

_NO_TAG = const(0xFFFF)
_FIDS = const(1024)
_NO_FID = const(0xFFFFFFFF)
_QID = const(13)  # bytes
_ATTRIBUTES = const(0x7FF)  # all that stat has

# Tags. Whoever waits has the first; one that waits for nobody, or one of many, has a slot.
_WAITED = const(0)
_SLOTS = const(30)  # bits of a small integer
_FIRST_AWAITED = const(64)
_TAGS = const(0x8000)

# A slot's bytes: a request of fixed length, and an answer.
_REQUEST = const(32)
_SLOT = const(256)


# What a driver knows of its session, in words.
_SESSION = const(0)  # how many have begun
_SESSION_EPOCH = const(1)  # the transport's in which this one did
_EPOCH_ADDRESS = const(2)  # where the transport has its own
_DATA_MAX = const(3)  # bytes of data in a message

_EBADF = const(9)
_EMFILE = const(24)
_BAD = const(-1)  # no errno


class P9(Device):
    """A folder of the host. `where` is a transport, a number, or the folder's tag.

    `tag` is the device's name. `timeout_ms` is how long one answer may take, None is for ever. A
    request that gets none, or is ended by Ctrl-C, resets the device: the files that were open are
    closed by that (EBADF), the next request begins anew.

    The server's errors are `OSError`, by the host's number. An answer that breaks the protocol is
    `DeviceFault`, until `reset`.
    """

    TYPE = 9
    FEATURES = _F_MOUNT_TAG

    def __init__(self, where=0, ring=None):
        self.timeout_ms = 30_000
        self.notes = array("I", (0, 0xFFFFFFFF, 0, 0))
        self._lost = False  # a request was left without an answer
        self._slots = bytearray(_SLOT * (_SLOTS + 1))
        view = memoryview(self._slots)
        self._answers = [view[_SLOT * n + _REQUEST : _SLOT * (n + 1)] for n in range(_SLOTS + 1)]
        self._clunks = [(view[_SLOT * n : _SLOT * n + 11],) for n in range(_SLOTS + 1)]
        self._clunked = [(answer[:11],) for answer in self._answers]
        self._fids = array("I", bytes(_FIDS // 8))
        self._by_token = array("I", bytes(4 * _QUEUE_SIZE))  # of clunks: the fid and the slot
        # Of the request that is waited for: lists that are kept, for a new one would be an allocation.
        self._message = [None]
        self._answer = [self._answers[_WAITED]]
        self._request, answer = bytearray(23), bytearray(11)
        self._reading = [self._request], [answer, None]  # None where the data are to be
        self._writing = [self._request, None], [answer]
        self._tag = _FIRST_AWAITED
        self._tags = set()  # of what is awaited
        super().__init__(_tagged(where) if isinstance(where, str) else where, ring)
        try:
            board.undisturbed(P9.begin, self)
        except:
            self.deinit()
            raise

    def _setup(self):
        self.tag = _read_tag(self.transport)
        self._queue = self.queue(0, _QUEUE_SIZE)
        self.notes[_EPOCH_ADDRESS] = addressof(self.transport.epoch)

    @property
    def session(self):
        """How many have begun; what was opened in an earlier one is closed."""
        return self.notes[_SESSION]

    # What is called undisturbed, as a filesystem's functions are, has no other request of these in
    # its middle.

    def begin(self):
        """Have a session with the server: the one that there is, or after a reset a new one."""
        if self._lost:
            self.reset()
            self._lost = False  # not before: there may be no memory to reset it
        if _goes_on(self.notes):
            self.reap()
            return
        epoch = self.transport.epoch[0]  # of the queue, too
        self.notes[_SESSION] = self.session + 1 & 0xFFFF
        for n in range(len(self._fids)):
            self._fids[n] = 0
        self._fids[0] = 1  # the root
        self._free = (1 << _SLOTS) - 1
        self.msize = _MSIZE
        version = b"9P2000.L"
        self._ask(pack("<IBHIH", 21, _TVERSION, _NO_TAG, _MSIZE, 8) + version, _NO_TAG)
        answer = self._answers[_WAITED]
        msize, length = unpack_from("<IH", answer, 7)
        if bytes(answer[13 : 13 + length]) != version:
            raise Unsupported("a server without 9P2000.L")
        if not _MSIZE_MIN <= msize <= _MSIZE:
            self.refuse("messages of %d bytes" % msize)
        self.msize = msize
        self.notes[_DATA_MAX] = msize - _DATA_ROOM
        self._ask(
            pack("<IBHIIHHI", 23, _TATTACH, _WAITED, _ROOT_FID, _NO_FID, 0, 0, 0),
        )
        self.notes[_SESSION_EPOCH] = epoch

    # Fids

    def take_fid(self):
        """A fid that is free, to be given to a request."""
        fid = _take_fid(self._fids, _FIDS // 32)
        if fid < 0:
            self.reap()
            fid = _take_fid(self._fids, _FIDS // 32)
        if fid < 0:
            raise OSError(_EMFILE)
        return fid

    def end_fid(self, fid, known):
        """Have no more of a fid, which the server has got to know or not."""
        if known:
            self.clunk(fid)
        else:
            _give_fid(self._fids, fid)

    @micropython.native
    def clunk(self, fid):
        """Have the server forget a fid. That it has done so is not waited for.

        Allocates nothing.
        """
        if not _goes_on(self.notes):
            return  # it was of a session that is over
        queue = self._queue
        while not self._free or queue.available_desc() < 2:
            self._wait_for_clunks()
        slot = _lowest(self._free)
        _write_clunk(self._slots, slot, fid)
        token = queue.add(self._clunks[slot], self._clunked[slot])
        self._free &= ~(1 << slot - 1)
        self._by_token[token] = fid | slot << 16
        queue.kick()

    @micropython.native
    def reap(self):
        """Look which fids have been clunked meanwhile."""
        queue = self._queue
        while queue.can_pop():
            token = queue.peek_used()
            noted = self._by_token[token]
            length = queue.pop_used(token)
            slot = noted >> 16
            if _verdict(self._answers[slot], length, _TCLUNK, slot) == _BAD:
                self.refuse("an answer that is none")
            self._free |= 1 << slot - 1
            _give_fid(self._fids, noted & 0xFFFF)

    @micropython.native
    def _wait_for_clunks(self):
        """Wait until a fid at least has been clunked."""
        queue = self._queue
        start = ticks_ms()
        queue.set_dev_notify(True)
        try:
            while not queue.can_pop():
                self.transport.check()
                if self.timeout_ms is not None:
                    if ticks_diff(ticks_ms(), start) > self.timeout_ms:
                        raise Timeout("9P: no answer in %d ms" % self.timeout_ms)
                self.transport.wait(_NAP_MS)
        except BaseException as error:
            self._give_up()
            raise error
        queue.set_dev_notify(False)
        self.reap()

    def _wait_for_room(self):
        # Descriptors are of those that are awaited, and of fids that are being clunked.
        if self._free != (1 << _SLOTS) - 1:
            self._wait_for_clunks()
        else:
            self._queue.wait_for_room(_DESCRIPTORS, self.timeout_ms)

    def _give_up(self):
        """A request was left without an answer."""
        if self._queue.alive:
            self._lost = True
            self.transport.reset()

    # Requests

    def refuse(self, why):
        """The server has broken the protocol."""
        self.transport.fail("9P: " + why)
        raise DeviceFault(self.transport.why)

    @micropython.native
    def _transact(self, inputs, outputs):
        """Have a request answered; the length of the answer."""
        queue = self._queue
        while queue.available_desc() < _DESCRIPTORS:
            self._wait_for_room()
        try:
            return queue.add_notify_wait_pop(inputs, outputs, None, self.timeout_ms)
        except BaseException as error:
            # What it was to read or write may be the program's, which knows of no device's buffers.
            self._give_up()
            raise error

    def _ask(self, message, tag=_WAITED, answer=None):
        """Have a whole message answered, into an answer that is kept or given; its length."""
        outputs = self._answer if answer is None else [answer]
        self._message[0] = message
        try:
            length = self._transact(self._message, outputs)
        finally:
            self._message[0] = None
        error = _verdict(outputs[0], length, message[4], tag)
        if error:
            self._refuse(error)
        return length

    def _refuse(self, error):
        if error == _BAD:
            self.refuse("an answer that is none")
        raise OSError(error)

    def walk(self, fid, new, names):
        """Have a new fid, by up to 16 names from another one; the types of what they name.

        There may be fewer than names: then the new fid is none.
        """
        if len(names) > _NAMES_MAX:
            raise ValueError
        # Once the server has the fid, nothing that takes memory keeps the caller from knowing it.
        types = [0] * len(names)
        length = self._ask(_walk(_WAITED, fid, new, names))
        self._read_types(self._answers[_WAITED], length, types)
        return types

    def _read_types(self, answer, length, types):
        """Leave in the list the types of an answer, and no more. Allocates nothing."""
        count = answer[7] | answer[8] << 8
        if count > len(types) or length != 9 + _QID * count:
            self.refuse("a walk of %d names" % count)
        while len(types) > count:
            types.pop()
        for n in range(count):
            types[n] = answer[9 + _QID * n]

    def getattr(self, fid):
        """The attributes, in the order of the message, from the mode on."""
        length = self._ask(pack("<IBHIQ", 19, _TGETATTR, _WAITED, fid, _ATTRIBUTES))
        return self._attributes(self._answers[_WAITED], length)

    def _attributes(self, answer, length):
        if length != 160:
            self.refuse("attributes of %d bytes" % length)
        # inode, mode, uid, gid, nlink, rdev, size, blksize, blocks, atime, mtime, ctime
        return unpack_from("<QIIIQQQQQQ8xQ8xQ", answer, 20)

    def lopen(self, fid, flags):
        self._ask(pack("<IBHII", 15, _TLOPEN, _WAITED, fid, flags))

    def lcreate(self, fid, name, flags, mode):
        """Make a file in a folder and open it; the folder's fid is the file's from then on."""
        message = pack("<BHI", _TLCREATE, _WAITED, fid) + _string(name)
        self._ask(_sized(message + pack("<III", flags, mode, 0)))

    def mkdir(self, fid, name, mode):
        message = pack("<BHI", _TMKDIR, _WAITED, fid) + _string(name)
        self._ask(_sized(message + pack("<II", mode, 0)))

    def unlinkat(self, fid, name, flags):
        message = pack("<BHI", _TUNLINKAT, _WAITED, fid) + _string(name)
        self._ask(_sized(message + pack("<I", flags)))

    def renameat(self, fid, name, new_fid, new_name):
        message = pack("<BHI", _TRENAMEAT, _WAITED, fid) + _string(name)
        self._ask(_sized(message + pack("<I", new_fid) + _string(new_name)))

    def readlink(self, fid):
        """What a symbolic link says, in bytes."""
        answer = bytearray(_MSIZE_MIN + 9)
        length = self._ask(pack("<IBHI", 11, _TREADLINK, _WAITED, fid), _WAITED, answer)
        count = unpack_from("<H", answer, 7)[0]
        if length != 9 + count:
            self.refuse("a link of %d bytes" % count)
        return bytes(answer[9:length])

    def fsync(self, fid):
        self._ask(pack("<IBHII", 15, _TFSYNC, _WAITED, fid, 0))

    def statfs(self, fid):
        """type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen"""
        length = self._ask(pack("<IBHI", 11, _TSTATFS, _WAITED, fid))
        if length != 67:
            self.refuse("a filesystem of %d bytes" % length)
        return unpack_from("<IIQQQQQQI", self._answers[_WAITED], 7)

    def readdir(self, fid, offset, answer):
        """Entries of a folder into a buffer, from the offset on; where they end in there."""
        count = min(len(answer), self.msize) - _DATA_ROOM
        message = pack("<IBHIQI", 23, _TREADDIR, _WAITED, fid, offset, count)
        length = self._ask(message, _WAITED, answer)
        if length < 11 or unpack_from("<I", answer, 7)[0] != length - 11 or length - 11 > count:
            self.refuse("entries of %d bytes" % length)
        return length

    def getattrs(self, fid, names):
        """The attributes of some names in a folder at once; None for one that has none."""
        found = [None] * len(names)
        most = min(_SLOTS, self._queue.size // _DESCRIPTORS)
        for first in range(0, len(names), most):
            part = names[first : first + most]
            for n, attributes in enumerate(self._getattr_some(fid, part)):
                found[first + n] = attributes
        return found

    def _getattr_some(self, fid, names):
        found = [None] * len(names)
        fids = [0] * len(names)
        one = [0]
        count = known = 0  # how many are taken, and a bit for each that the server has
        try:
            try:
                while count < len(names):
                    fids[count] = self.take_fid()
                    count += 1
            except OSError:
                pass  # those that there are
            requests = [_walk(n + 1, fid, fids[n], (names[n],)) for n in range(count)]
            lengths = self._ask_all(requests)
            for n in range(count):
                if lengths[n]:
                    self._read_types(self._answers[n + 1], lengths[n], one)
                    if not one:
                        self.refuse("a walk of 0 names")
                    known |= 1 << n
            there = [n for n in range(count) if known >> n & 1]
            requests = [
                pack("<IBHIQ", 19, _TGETATTR, k + 1, fids[n], _ATTRIBUTES)
                for k, n in enumerate(there)
            ]
            lengths = self._ask_all(requests)
            for k, n in enumerate(there):
                if lengths[k]:
                    found[n] = self._attributes(self._answers[k + 1], lengths[k])
        finally:
            for n in range(count):
                self.end_fid(fids[n], known >> n & 1)
        for n in range(count, len(names)):
            found[n] = self._getattr_one(fid, names[n])
        return found

    def _getattr_one(self, fid, name):
        new = self.take_fid()
        known = False
        try:
            try:
                known = len(self.walk(fid, new, (name,))) == 1
            except OSError:
                pass
            return self.getattr(new) if known else None
        finally:
            self.end_fid(new, known)

    def _ask_all(self, requests):
        """Have messages answered that were given the tags from 1 on; the lengths of their answers.

        A length is 0 where the server refuses.
        """
        queue = self._queue
        while self._free != (1 << _SLOTS) - 1:
            self._wait_for_clunks()
        chains = [((message,), (self._answers[n + 1],)) for n, message in enumerate(requests)]
        tokens = [0] * len(requests)
        lengths = [0] * len(requests)
        try:
            for n in range(len(requests)):
                inputs, outputs = chains[n]
                tokens[n] = queue.submit(inputs, outputs)
            queue.kick()
            for n in range(len(requests)):
                queue.wait(tokens[n], self.timeout_ms)
                answer = self._answers[n + 1]
                error = _verdict(answer, queue.take(tokens[n]), requests[n][4], n + 1)
                if error == _BAD:
                    self.refuse("an answer that is none")
                if not error:
                    lengths[n] = answer[0] | answer[1] << 8
            return lengths
        except BaseException:
            self._give_up()
            raise

    # An open file's bytes: what firmware/shared_file.c calls. These allocate nothing.

    @micropython.native
    def file_read(self, words, buf):
        """Read what is at the offset in *words*; how many bytes there were."""
        try:
            return _move(self, _TREAD, words, buf)
        except BaseException as error:
            self._end_move()
            raise error

    @micropython.native
    def file_write(self, words, buf):
        """Write to the offset in *words*; how many bytes were."""
        try:
            return _move(self, _TWRITE, words, buf)
        except BaseException as error:
            self._end_move()
            raise error

    def _end_move(self):
        """Have no data in the lists; if there are some, the server has not let go of them."""
        read, written = self._reading[1], self._writing[0]
        if read[1] is not None or written[1] is not None:
            read[1] = written[1] = None
            self._give_up()

    @micropython.native
    def _check(self, words):
        if words[_FILE_SESSION] != self.notes[_SESSION] or not _goes_on(self.notes):
            self._stale()

    def _stale(self):
        if self._queue.closed or self.transport.failed:
            self._queue.refuse_dead()
        raise OSError(_EBADF)

    def _refuse_move(self, kind, length, nothing):
        """Raise for what was answered to a read or a write: of *nothing* that was done, perhaps."""
        error = _verdict(self._writing[1][0], length, kind, _WAITED)
        if error:
            self._refuse(error)
        if kind == _TWRITE and length == 11 and nothing:
            raise IoError("9P: nothing was written")  # it would be tried for ever
        self.refuse("an answer of %d bytes" % length)

    def file_size(self, words):
        """Leave the file's size where the offset is."""
        self._check(words)
        size = self.getattr(words[_FILE_FID])[6]
        words[_FILE_OFFSET] = size & 0xFFFFFFFF
        words[_FILE_OFFSET + 1] = size >> 32
        return 0

    @micropython.native
    def file_close(self, words):
        if words[_FILE_SESSION] == self.notes[_SESSION] and _goes_on(self.notes):
            self.clunk(words[_FILE_FID])
        words[_FILE_SESSION] = _FILE_CLOSED
        return 0

    # Awaited

    async def areadinto(self, file, buf):
        """Read from an open file into *buf*, awaited; returns how many bytes, 0 at the end.

        There may be less than the buffer holds. The buffer is the device's until this returns, and
        where the task is cancelled until the server has answered.
        """
        room = checked_length(buf, True)
        words = file.handle()
        self._check(words)
        count = min(room, self.msize - _DATA_ROOM)
        answer = bytearray(11)
        outputs = (answer, memoryview(buf)[: count // _item_size(buf)]) if count else (answer,)
        count = await self._await(words, _TREAD, 23, count, (), outputs, 11)
        file.seek(count, 1)
        return count

    async def awrite(self, file, data):
        """Write all of *data* to an open file, awaited; returns how many bytes.

        Raises `OSError` with the host's number where not all could be written.
        """
        length = byte_length(data)
        view = memoryview(data)
        item = _item_size(data)
        done = 0
        while done < length:
            words = file.handle()
            self._check(words)
            count = min(length - done, (self.msize - _DATA_ROOM) // item * item)
            part = view[done // item : (done + count) // item]
            count = await self._await(
                words, _TWRITE, 23 + count, count, (part,), (bytearray(11),), 0
            )
            if count == 0 or count % item:
                raise IoError("9P: %d bytes were written" % count)
            done += count
            file.seek(count, 1)
        return length

    async def _await(self, words, kind, size, count, data, outputs, head):
        request = bytearray(23)
        tag = self._take_tag()
        pack_into("<IBHIIII", request, 0, size, kind, tag, *_where(words), count)
        try:
            length = await self.complete(self._queue, (request,) + data, outputs)
        except DeviceFault:
            self._tags.discard(tag)  # none is in flight
            raise
        # Not where the task was cancelled: the tag is the server's until it has answered.
        self._tags.discard(tag)
        error = _verdict(outputs[0], length, kind, tag)
        if error:
            self._refuse(error)
        told = unpack_from("<I", outputs[0], 7)[0]
        if told > count or length != (head + told if head else 11):
            self.refuse("an answer of %d bytes" % length)
        return told

    def _take_tag(self):
        if len(self._tags) > _QUEUE_SIZE:
            self._tags.clear()  # no more can be in flight: the others were answered long ago
        while self._tag in self._tags:
            self._tag = self._next_tag()
        tag = self._tag
        self._tags.add(tag)
        self._tag = self._next_tag()
        return tag

    def _next_tag(self):
        return self._tag + 1 if self._tag + 1 < _TAGS else _FIRST_AWAITED


def _tagged(tag):
    for transport in scan():
        if transport.device_type == P9.TYPE and _read_tag(transport) == tag:
            return transport
    raise NoDevice("no folder with the tag %r" % tag)


def _read_tag(transport):
    (length,) = transport.read_config((0, 2))
    tag = bytes(transport.read_config(*[(_TAG + n, 1) for n in range(length)]))
    return tag.decode()


def _item_size(buf):
    view = memoryview(buf)
    return byte_length(view) // max(len(view), 1) or 1


def _where(words):
    return words[_FILE_FID], words[_FILE_OFFSET], words[_FILE_OFFSET + 1]


def _string(name):
    return pack("<H", len(name)) + name


def _sized(message):
    return pack("<I", len(message) + 4) + message


def _walk(tag, fid, new, names):
    message = pack("<BHIIH", _TWALK, tag, fid, new, len(names))
    return _sized(message + b"".join([_string(name) for name in names]))


@micropython.viper
def _take_fid(fids: ptr32, count: int) -> int:
    n = 0
    while n < count:
        word = fids[n]
        if word != -1:
            bit = 0
            while word >> bit & 1:
                bit = bit + 1
            fids[n] = word | 1 << bit
            return 32 * n + bit
        n = n + 1
    return -1


@micropython.viper
def _give_fid(fids: ptr32, fid: int):
    fids[fid >> 5] = fids[fid >> 5] & ~(1 << (fid & 31))


@micropython.viper
def _lowest(free: int) -> int:
    """The first slot that is free, counted from 1."""
    slot = 1
    while not free & 1:
        free = free >> 1
        slot = slot + 1
    return slot


@micropython.viper
def _write_clunk(slots, slot: int, fid: int):
    # An address is not always aligned in a bytearray's middle, and need not be here.
    to = ptr8(int(ptr8(slots)) + _SLOT * slot)
    to[0] = 11
    to[1] = 0
    to[2] = 0
    to[3] = 0
    to[4] = _TCLUNK
    to[5] = slot
    to[6] = 0
    to[7] = fid
    to[8] = fid >> 8
    to[9] = 0
    to[10] = 0


@micropython.viper
def _goes_on(notes: ptr32) -> bool:
    """Whether the session is one of the device as it is, not reset since."""
    return ptr32(notes[_EPOCH_ADDRESS])[0] == notes[_SESSION_EPOCH]


@micropython.viper
def _move(p9, kind: int, words, buf) -> int:
    """Read into a buffer or write it, at the offset of an open file; how many bytes.

    The server has the buffer as long as it stands in `p9`'s lists.
    """
    w = ptr32(words)
    notes = ptr32(p9.notes)
    epoch = ptr32(notes[_EPOCH_ADDRESS])[0]
    if w[_FILE_SESSION] != notes[_SESSION] or epoch != notes[_SESSION_EPOCH]:
        p9._stale()
    count = int(len(buf))
    if count > notes[_DATA_MAX]:
        count = notes[_DATA_MAX]
        if kind == _TWRITE:
            buf = _beginning(buf, count)
    queue = p9._queue
    s = ptr32(int(queue.words) << 2)
    while s[_FREE_COUNT] < _DESCRIPTORS:
        p9._wait_for_room()
    size = 23
    if kind == _TWRITE:
        size = size + count
        inputs, outputs = p9._writing
        inputs[1] = buf
    else:
        inputs, outputs = p9._reading
        outputs[1] = buf
    # Byte by byte, and all in here: a word that is passed on may be an object on the heap.
    to = ptr8(p9._request)
    to[4] = kind
    to[5] = _WAITED
    to[6] = 0
    shift = 0
    while shift < 32:
        to[0] = size >> shift
        to[7] = w[_FILE_FID] >> shift
        to[11] = w[_FILE_OFFSET] >> shift
        to[15] = w[_FILE_OFFSET + 1] >> shift
        to[19] = count >> shift
        to = ptr8(int(to) + 1)
        shift = shift + 8
    # Less than the buffer is asked for where that is longer than a message.
    length = int(add_and_wait(queue, inputs, outputs, p9.transport, p9.timeout_ms))
    a = ptr8(outputs[0])
    if kind == _TWRITE:
        inputs[1] = None
    else:
        outputs[1] = None
    size = a[0] | a[1] << 8 | a[2] << 16 | a[3] << 24
    done = a[7] | a[8] << 8 | a[9] << 16 | a[10] << 24
    if a[4] == kind + 1 and a[5] | a[6] == _WAITED and size == length and 0 <= done <= count:
        if kind == _TWRITE:
            if length == 11 and done:
                return done
        elif length == 11 + done:
            return done
    p9._refuse_move(kind, length, done == 0)
    return 0


def _beginning(buf, count):
    return memoryview(buf)[:count]


@micropython.viper
def _verdict(answer, length: int, kind: int, tag: int) -> int:
    """0 for an answer to what was asked, the number of an error, or _BAD."""
    a = ptr8(answer)
    size = a[0] | a[1] << 8 | a[2] << 16 | a[3] << 24
    if length < 7 or size != length or (a[5] | a[6] << 8) != tag:
        return _BAD
    if a[4] == kind + 1:
        return 0
    if a[4] == _RLERROR and length == 11:
        error = a[7] | a[8] << 8 | a[9] << 16 | a[10] << 24
        if 0 < error < 4096:
            return error
    return _BAD
