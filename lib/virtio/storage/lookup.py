"""Where the cache has blocks: the part of it that every call of a filesystem runs through.

The cache's memory is the run, the window and the lines, one after the other; `cache.py` says what
they are for. What is in them stands in an array of words, the state.
"""

# SPDX-License-Identifier: MIT

from array import array

from micropython import const

from ..platform.processor import forget

_ENDS = const(8)  # reads that are remembered

# From layout.py, by `make layout`.

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

# End of layout.py.


def new_state(unit, block_size, blocks, room, most):
    """The state of a cache that has nothing yet, for a disk of so many blocks of *unit* bytes."""
    state = array("i", [0] * _FIRST_END + [-1] * (_CACHE_WORDS - _FIRST_END))
    while unit >> state[_UNIT_SHIFT] > 1:
        state[_UNIT_SHIFT] += 1
    while block_size >> state[_RATIO_SHIFT] > unit:
        state[_RATIO_SHIFT] += 1
    state[_DISK_BLOCKS] = blocks
    state[_ROOM] = room
    state[_MOST] = most
    return state


@micropython.viper
def find(state: ptr32, block: int, offset: int, length: int) -> int:
    """Where in the memory these bytes are; -1 if they are not."""
    shift = state[_UNIT_SHIFT]
    if length == 0 or (offset | length) & ((1 << shift) - 1):
        return -1
    pos = (block << state[_RATIO_SHIFT]) + (offset >> shift)
    if pos < 0:
        return -1
    n = length >> shift
    at = pos - state[_RUN]
    if at >= 0 and at + n <= state[_RUN_BLOCKS]:
        return at << shift
    at = pos - state[_WINDOW]
    if at >= 0 and at + n <= state[_AHEAD]:
        return (state[_ROOM] + at) << shift
    if n == 1:
        for i in range(_CACHE_LINES):
            if state[_FIRST_LINE + i] == pos:
                return (state[_ROOM] + state[_MOST] + i) << shift
    return -1


@micropython.viper
def append(state, block: int, offset: int, length: int) -> int:
    """Where in the memory these bytes belong if they continue the run, or begin one; or -1."""
    words = ptr32(state)
    shift = words[_UNIT_SHIFT]
    if length == 0 or (offset | length) & ((1 << shift) - 1):
        return -1
    pos = (block << words[_RATIO_SHIFT]) + (offset >> shift)
    n = length >> shift
    room = words[_ROOM]
    if n + n > room or pos < 0 or pos + n > words[_DISK_BLOCKS]:
        return -1
    pending = words[_RUN_BLOCKS]
    if pending == 0:
        words[_RUN] = pos
        words[_MARK] = 0
    elif pos != words[_RUN] + pending or pending + n > room:
        return -1
    forget(state, pos, n)
    words[_RUN_BLOCKS] = pending + n
    return pending << shift


@micropython.viper
def continues(state: ptr32, pos: int, n: int) -> int:
    """Whether this read goes on where a recent one ended. Remembers where it ends itself."""
    at = pos - state[_WINDOW]
    found = int(at >= 0 and at <= state[_AHEAD] and state[_AHEAD] > 0)
    for i in range(_ENDS):
        if state[_FIRST_END + i] == pos:
            found = 1
    end = state[_NEXT_END]
    state[_FIRST_END + end] = pos + n
    state[_NEXT_END] = (end + 1) & (_ENDS - 1)
    return found


@micropython.viper
def new_line(state: ptr32, pos: int) -> int:
    """Where in the memory that single block belongs now."""
    line = state[_NEXT_LINE]
    state[_NEXT_LINE] = (line + 1) & (_CACHE_LINES - 1)
    state[_FIRST_LINE + line] = pos
    return (state[_ROOM] + state[_MOST] + line) << state[_UNIT_SHIFT]
