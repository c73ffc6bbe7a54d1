"""Where the cache has blocks: the part of it that every call of a filesystem runs through.

The cache's memory is the run, the window and the lines, one after the other; `cache.py` says what
they are for. What is in them stands in an array of words, the state.
"""

# SPDX-License-Identifier: MIT

from array import array

from micropython import const

LINES = 32  # single blocks that are kept
_LINES = const(32)
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


# ruff: disable[F821]


@micropython.asm_thumb
def copy_out(r0, r1, r2, r3):
    """Copy r3 bytes, a multiple of 32, to r0 from offset r2 of r1. False for r2 < 0: nothing."""
    cmp(r2, 0)
    blt(NOTHING)
    add(r1, r1, r2)
    label(LOOP)
    data(2, 0xF921, 0x020D)  # vld1.8 {d0-d3}, [r1]!
    data(2, 0xF900, 0x020D)  # vst1.8 {d0-d3}, [r0]!
    sub(r3, 32)
    bgt(LOOP)
    mov(r0, 1)
    b(END)
    label(NOTHING)
    mov(r0, 0)
    label(END)


@micropython.asm_thumb
def copy_in(r0, r1, r2, r3):
    """The other way: from r0 to offset r2 of r1."""
    cmp(r2, 0)
    blt(NOTHING)
    add(r1, r1, r2)
    label(LOOP)
    data(2, 0xF920, 0x020D)  # vld1.8 {d0-d3}, [r0]!
    data(2, 0xF901, 0x020D)  # vst1.8 {d0-d3}, [r1]!
    sub(r3, 32)
    bgt(LOOP)
    mov(r0, 1)
    b(END)
    label(NOTHING)
    mov(r0, 0)
    label(END)


@micropython.asm_thumb
def forget(r0, r1, r2):
    """Let go of what window and lines have of r2 blocks from block r1 on: it is out of date."""
    ldr(r3, [r0, 4 * _WINDOW])
    sub(r3, r1, r3)
    ldr(r4, [r0, 4 * _AHEAD])
    cmp(r3, r4)
    bge(LINES)
    add(r5, r3, r2)
    cmp(r5, 0)
    ble(LINES)
    cmp(r3, 0)
    bge(CUT)
    mov(r3, 0)
    label(CUT)
    str(r3, [r0, 4 * _AHEAD])
    label(LINES)
    add(r0, 4 * _FIRST_LINE)
    mov(r4, _LINES)
    mov(r5, 0)
    sub(r5, 1)
    label(LOOP)
    ldr(r3, [r0, 0])
    sub(r3, r3, r1)
    cmp(r3, r2)
    bcs(NEXT)  # unsigned: before the first as well as after the last
    str(r5, [r0, 0])
    label(NEXT)
    add(r0, 4)
    sub(r4, 1)
    bgt(LOOP)
    mov(r0, 0)


# ruff: enable[F821]


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
        for i in range(_LINES):
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
    state[_NEXT_LINE] = (line + 1) & (_LINES - 1)
    state[_FIRST_LINE + line] = pos
    return (state[_ROOM] + state[_MOST] + line) << state[_UNIT_SHIFT]
