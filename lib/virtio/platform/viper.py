"""What `processor` has, for any processor that MicroPython emits code for.

What only assembler can say is in a file an architecture, where there is one: `rv32`. Elsewhere there
is no barrier: then it has to be the host, or the processor, that keeps stores in their order. Even on
one that does, as x86, what is looked at after a store may be older: a notification can be lost, and
whoever waits comes to its `Timeout`. Nor are a filesystem's buffers on C's stack recognized there.
"""

# SPDX-License-Identifier: MIT

from micropython import const

from .buffers import copy

# From layout.py, by `make layout`.

# A descriptor, split or packed, or an entry of an indirect table, in words (2.7.5, 2.8.13).
_FLAGS_HALF = const(7)
_DESC_SIZE = const(16)  # bytes

# Its flags, sections 2.7.5, 2.8.1 and 2.8.6.
_AVAIL_FLAG = const(0x80)  # packed: whose it is, by the wrap counter
_USED_FLAG = const(0x8000)

# The private array of a queue, in words. First what is one of a queue …
_DESC = const(0)  # address of the descriptor table, or of the packed ring
_AVAIL = const(1)  # address of the available ring; packed: of the driver's event suppression
_USED = const(2)  # address of the used ring; packed: of the device's event suppression
_AVAIL_IDX = const(6)  # what was last published as avail.idx; packed: as in packed.py
_USED_IDX = const(7)  # how far the device's answers were read

# The state of a cache, in words. Positions and counts are in blocks of the disk.
_WINDOW = const(8)
_AHEAD = const(9)
_FIRST_LINE = const(20)
_CACHE_LINES = const(32)  # single blocks that are kept

# End of layout.py.

_FAR_ABOVE = const(0x3FFFFFFF)

try:
    from .rv32 import barrier, words_above_stack_pointer
except (ImportError, SyntaxError, ValueError):

    @micropython.viper
    def barrier():
        pass

    @micropython.viper
    def words_above_stack_pointer(held) -> int:
        return _FAR_ABOVE


# Each barrier is where `processor` has it, which says what it pairs with.


@micropython.viper
def publish(words: int, idx: int):
    """Have *idx* as the new avail.idx."""
    s = ptr32(words << 2)
    barrier()  # a call first: there may be no stack for it
    idx = idx & 0xFFFF
    s[_AVAIL_IDX] = idx
    ptr16(s[_AVAIL])[1] = idx
    barrier()


@micropython.viper
def used_idx(words: int) -> int:
    s = ptr32(words << 2)
    barrier()
    idx = ptr16(s[_USED])[1]
    barrier()
    return idx


@micropython.viper
def spin(words: int, rounds: int) -> int:
    """Look at used.idx until it moves, or so many times; returns how often it was not looked at."""
    s = ptr32(words << 2)
    used = ptr16(s[_USED])
    idx = s[_USED_IDX]
    while rounds and used[1] == idx:
        rounds = rounds - 1
    return rounds


@micropython.viper
def publish_packed(words: int, place: int, flags: int):
    """Write the flags of a packed descriptor, the first of a chain."""
    descriptor = ptr16(ptr32(words << 2)[_DESC] + _DESC_SIZE * place)
    barrier()
    descriptor[_FLAGS_HALF] = flags
    barrier()


@micropython.viper
def spin_packed(words: int, place: int, flags: int, rounds: int) -> int:
    """As `spin`: until AVAIL and USED of a packed descriptor are *flags*, or so many times."""
    descriptor = ptr16(ptr32(words << 2)[_DESC] + _DESC_SIZE * place)
    while rounds and descriptor[_FLAGS_HALF] & (_AVAIL_FLAG | _USED_FLAG) != flags:
        rounds = rounds - 1
    return rounds


@micropython.viper
def packed_flags(words: int, place: int) -> int:
    """The flags of a packed descriptor; its other fields are to be read afterwards."""
    flags = ptr16(ptr32(words << 2)[_DESC] + _DESC_SIZE * place)[_FLAGS_HALF]
    barrier()
    return flags


@micropython.viper
def copy_out(to, memory, at: int, count: int) -> bool:
    """Copy so many bytes from an offset of the memory. False for one less than 0: nothing."""
    if at < 0:
        return False
    copy(to, 0, memory, at, count)
    return True


@micropython.viper
def copy_in(source, memory, at: int, count: int) -> bool:
    """The other way: to an offset of the memory."""
    if at < 0:
        return False
    copy(memory, at, source, 0, count)
    return True


@micropython.viper
def forget(state: ptr32, block: int, count: int):
    """Let go of what window and lines have of so many blocks: it is out of date."""
    at = block - state[_WINDOW]
    if at < state[_AHEAD] and at + count > 0:
        state[_AHEAD] = 0 if at < 0 else at
    for i in range(_CACHE_LINES):
        # Unsigned: before the first as well as after the last.
        if uint(state[_FIRST_LINE + i] - block) < uint(count):
            state[_FIRST_LINE + i] = -1
