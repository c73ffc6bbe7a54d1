"""The numbers that more than one module goes by: where words lie, and what their bits mean.

MicroPython folds no constant of another module, and viper takes none for an index. So each module
has a copy of those that it names, in a block between two marked lines, and `make layout` writes
the blocks from this table. It is never imported.
"""

# SPDX-License-Identifier: MIT

from micropython import const

# The device status (2.1), and why a device interrupts (4.2.2).
_ACKNOWLEDGE = const(1)
_DRIVER = const(2)
_DRIVER_OK = const(4)
_FEATURES_OK = const(8)
_FAILED = const(128)
_USED_BUFFER = const(1)
_CONFIG_CHANGE = const(2)

# The MMIO transport (4.2.2, 4.2.4).
_CONFIG = const(0x100)  # where the configuration space begins
_PAGE = const(4096)  # the unit in which a legacy device is told where a queue is

# Feature bits of the queue and the transport (6), which features.py tells by their names.
_F_ANY_LAYOUT = const(1 << 27)  # of the legacy interface only (6.3)
_F_INDIRECT_DESC = const(1 << 28)
_F_EVENT_IDX = const(1 << 29)
_F_VERSION_1 = const(1 << 32)
_F_ACCESS_PLATFORM = const(1 << 33)
_F_RING_PACKED = const(1 << 34)
_F_IN_ORDER = const(1 << 35)
_F_ORDER_PLATFORM = const(1 << 36)
_F_RING_RESET = const(1 << 40)

# What a queue may be (2.7).
_MAX_SIZE = const(32768)
_LEGACY_ALIGN = const(4096)  # of the used ring, and of the whole, for a legacy device

# A descriptor, split or packed, or an entry of an indirect table, in words (2.7.5, 2.8.13).
_ADDR = const(0)
_ADDR_HIGH = const(1)  # addresses have 64 bits; RAM ends below 2^32
_LENGTH = const(2)
_FLAGS_NEXT = const(3)  # split: flags, and in the upper half the index of the next one
_ID_FLAGS = const(3)  # packed: the buffer id, and in the upper half the flags
_ID_HALF = const(6)  # packed, in halfwords
_FLAGS_HALF = const(7)
_DESC_SIZE = const(16)  # bytes

# Its flags, sections 2.7.5, 2.8.1 and 2.8.6.
_NEXT = const(1)
_WRITE = const(2)  # the device writes there
_INDIRECT = const(4)
_AVAIL_FLAG = const(0x80)  # packed: whose it is, by the wrap counter
_USED_FLAG = const(0x8000)

# Available and used ring (2.7.6, 2.7.8).
_RING_FLAGS = const(0)  # in halfwords, of both rings
_RING_ENTRIES = const(2)  # in halfwords, of the available ring; behind them is used_event
_USED_ENTRIES = const(4)  # in bytes, of the used ring; behind them is avail_event
_USED_SIZE = const(8)  # of an entry, in bytes
_USED_ID = const(0)  # of an entry, in words
_USED_LENGTH = const(1)
_NO_INTERRUPT = const(1)  # ring flags: the one asks the other side to stay silent
_NO_NOTIFY = const(1)

# An event suppression structure of a packed ring, in halfwords (2.8.14), and its flags (2.8.10).
_EVENT_PLACE = const(0)
_EVENT_FLAGS = const(1)
_WRAP = const(0x8000)  # of the place: the wrap counter
_ENABLE = const(0)
_DISABLE = const(1)
_AT_DESCRIPTOR = const(2)

# The private array of a queue, in words. First what is one of a queue …
_DESC = const(0)  # address of the descriptor table, or of the packed ring
_AVAIL = const(1)  # address of the available ring; packed: of the driver's event suppression
_USED = const(2)  # address of the used ring; packed: of the device's event suppression
_MASK = const(3)  # size - 1; ring indices run freely modulo 2^16
_FREE = const(4)  # first free descriptor
_FREE_COUNT = const(5)
_AVAIL_IDX = const(6)  # what was last published as avail.idx; packed: as in packed.py
_USED_IDX = const(7)  # how far the device's answers were read
_IN_FLIGHT_COUNT = const(8)  # chains that the device owns
_TABLES = const(9)  # address of the indirect tables, one for each descriptor
_TABLE_LEN = const(10)  # entries in each; 0 when chains are never indirect
_ADDED = const(11)  # index steps added in the range that `should_notify` decides over
_DECIDED = const(12)  # 1 when that was carried out; the next add begins a new range
_EVENT_IDX = const(13)  # 1 when event indices were negotiated
_SILENT = const(14)  # 1 when the driver wants no interrupts
_EPOCH = const(15)  # address of the transport's epoch
_BORN = const(16)  # its value when the queue was set up
_DONE_HEAD = const(17)  # the completed chains, in order: a ring of size entries, 16 bits each
_DONE_COUNT = const(18)
_FRAMES = const(19)  # address of the frames, one for each descriptor; 0 where there are none
_HELD = const(20)  # address of the array of references
_NONE = const(21)  # what None looks like there
_STRIDE = const(22)  # places in it for each descriptor
_COMPLETED = const(23)  # address of the ring of completed chains
_IN_HAND = const(24)  # 1 + the token of a chain added to be waited for, until it is; or -1
_PLAIN = const(25)  # 1 for a split ring's own look: found in half the time by its name
_IDX = const(26)  # which of the device's queues it is
_BYTEARRAY = const(27)  # what a bytearray begins with, its type; 0 where that is not known
_HEADER_WORDS = const(28)
# … then three for each descriptor …
_SHADOW = const(28)
_SHADOW_WORDS = const(3)
_SHADOW_SIZE = const(12)  # the same in bytes
_CHAIN_NEXT = const(0)  # the next free one, or the next in the chain
_CHAIN_STATE = const(1)  # of the chain that begins here
_CHAIN_BYTES = const(2)  # that the device may write; when it is done, that it has written
# … then the ring of completed chains.

# The state word of a chain's first descriptor: the number of its buffers, and these.
_COUNT_MASK = const(0xFFFF)
_IN_FLIGHT = const(0x10000)
_HAS_TABLE = const(0x20000)
_DONE = const(0x40000)
_AWAITED = const(0x80000)  # somebody waits for just this one: it does not join the completed ring
_ORPHAN = const(0x100000)  # nobody waits any more: taken back as soon as the device lets go
_TASK = const(0x200000)  # a task has it, of the loop that ran last

# A frame: what a framed chain has of its own, in memory that the device sees.
_FRAME_SIZE = const(80)  # bytes
_DIRECT_FRAME_SIZE = const(32)  # the same where chains have no tables
_FRAME_END = const(16)  # behind a header of 16 bytes for the device to read: a byte that it writes
_FRAME_STATUS = const(4)  # the same, in words
_FRAME_TABLE = const(32)  # the chain's indirect table: header, data, end
_FRAME_DATA_ADDR = const(12)  # of the table's second entry, in words of the frame
_FRAME_DATA_LENGTH = const(14)
_FRAME_DATA_FLAGS = const(15)
_FRAMED_MAX = const(3)  # descriptors that a framed chain takes without a table

# A record: what a driver says of a framed chain to be added, in words. Four are its header.
_RECORD_ADDRESS = const(4)  # of the buffer
_RECORD_LENGTH = const(5)  # of what the device is to read; of what it is to write, less than 0
_RECORD_BUFFER = const(6)  # the object
_RECORD_TOKEN = const(7)  # filled in when it was added; when it was ended, the byte at its end
_RECORD_WORDS = const(8)
_PENDING = const(0xFF)  # stands at a frame's end until the device has written there

# Why a viper function of the rings refused …
_NO_BUFFERS = const(-1)
_EMPTY_BUFFER = const(-2)
_FULL = const(-3)
_NOT_READY = const(-4)
_WRONG_TOKEN = const(-5)
_NOT_SUBMITTED = const(-6)
# … and what the device has done wrong.
_BAD_INDEX = const(-1)
_BAD_ID = const(-2)
_NOT_IN_FLIGHT = const(-3)

_NAP_MS = const(500)  # how long a device may be broken before who sleeps or awaits sees it

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

# The state of a cache, in words. Positions and counts are in blocks of the disk.
_UNIT_SHIFT = const(0)  # a disk's block is 1 << this
_RATIO_SHIFT = const(1)  # a block of the filesystem is 1 << this blocks of the disk
_DISK_BLOCKS = const(2)
_ROOM = const(3)  # blocks that the run can have: 0 on a disk that is only read
_MOST = const(4)  # blocks that the window can have
_RUN = const(5)  # the run: where it begins …
_RUN_BLOCKS = const(6)  # … and how long it is
_MARK = const(7)  # blocks of the run that came before the last erase
_WINDOW = const(8)
_AHEAD = const(9)
_NEXT_LINE = const(10)
_NEXT_END = const(11)
_FIRST_END = const(12)
_FIRST_LINE = const(20)
_CACHE_LINES = const(32)  # single blocks that are kept
_CACHE_WORDS = const(52)

# vfs.AbstractBlockDev.ioctl
_IOCTL_INIT = const(1)
_IOCTL_DEINIT = const(2)
_IOCTL_SYNC = const(3)
_IOCTL_BLOCK_COUNT = const(4)
_IOCTL_BLOCK_SIZE = const(5)
_IOCTL_ERASE = const(6)

# 9P: how a session is held, and what firmware/shared_file.c knows of an open file, in words.
_ROOT_FID = const(0)  # of the folder itself
_NAMES_MAX = const(16)  # in one walk
_FILE_FID = const(0)
_FILE_SESSION = const(1)  # in which it was opened
_FILE_OFFSET = const(2)  # of what is read or written; the upper half is behind it
_FILE_CLOSED = const(0x10000)  # no session

# errno
_EIO = const(5)
_EBUSY = const(16)
_ENODEV = const(19)
_EINVAL = const(22)
_EROFS = const(30)
