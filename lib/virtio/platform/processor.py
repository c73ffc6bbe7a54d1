"""The processor's routines, in assembler: Thumb-2 for ARMv7-A with NEON. Others have `viper`.

The emulator runs a device on another thread of the host, so on a host that reorders memory
accesses a missing barrier is a real bug. Only assembler can say `dmb`, and MicroPython's has
no name for it: `data(2, 0xF3BF, 0x8F5F)` is `dmb sy`. A full one, since the device may be
anything (section 2.7.13.3.1 speaks of the strength).

Where r0 is the private array of `layout.py`, the addresses come from its words: an address passed
as an integer would be an object on the heap, and so would one left in r0 as the result.
"""

# SPDX-License-Identifier: MIT
# ruff: noqa: F821 - mnemonics, registers and labels are no names to ruff

from micropython import const

# From layout.py, by `make layout`.

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


@micropython.asm_thumb
def publish(r0, r1):
    """Have r1 as the new avail.idx.

    Whoever calls this takes note of the chains only then: it is a call, and there may be no stack
    for it.
    """
    lsl(r0, r0, 2)
    movw(r2, 0xFFFF)
    and_(r2, r1)
    str(r2, [r0, 4 * _AVAIL_IDX])
    ldr(r1, [r0, 4 * _AVAIL])
    # Pairs with the device's barrier after reading avail.idx: whoever sees the new index
    # sees the ring entry and the descriptors (section 2.7.13.3).
    data(2, 0xF3BF, 0x8F5F)
    strh(r2, [r1, 2])
    # Pairs with the device's between writing avail_event (or used.flags) and reading
    # avail.idx: one of the two sees what the other wrote, or both (section 2.7.13.4.1).
    data(2, 0xF3BF, 0x8F5F)
    mov(r0, 0)


@micropython.asm_thumb
def used_idx(r0):
    lsl(r0, r0, 2)
    ldr(r1, [r0, 4 * _USED])
    # Pairs with the device's between writing used.idx and reading used_event, which the
    # driver may just have written (section 2.7.7.2): one of the two sees the other's.
    data(2, 0xF3BF, 0x8F5F)
    ldrh(r0, [r1, 2])
    # Pairs with the device's barrier before it writes used.idx: the entries below the index
    # are read after it (section 2.7.14).
    data(2, 0xF3BF, 0x8F5F)


@micropython.asm_thumb
def spin(r0, r1):
    """Look at used.idx until it moves, or r1 times; returns how often it was not looked at."""
    lsl(r0, r0, 2)
    ldr(r2, [r0, 4 * _USED])
    ldr(r3, [r0, 4 * _USED_IDX])
    label(LOOK)
    ldrh(r4, [r2, 2])
    cmp(r4, r3)
    bne(NEWS)
    sub(r1, 1)
    bne(LOOK)
    label(NEWS)
    mov(r0, r1)  # whoever goes by the entry comes through used_idx(), and its barriers


@micropython.asm_thumb
def barrier():
    data(2, 0xF3BF, 0x8F5F)
    mov(r0, 0)


@micropython.asm_thumb
def publish_packed(r0, r1, r2):
    """Write the flags r2 of the packed descriptor at r1, the first of a chain."""
    lsl(r0, r0, 2)
    ldr(r3, [r0, 4 * _DESC])
    lsl(r1, r1, 4)
    add(r3, r3, r1)
    # Pairs with the device's barrier after reading these flags: whoever sees them sees the
    # chain (section 2.8.21).
    data(2, 0xF3BF, 0x8F5F)
    strh(r2, [r3, 14])
    # Pairs with the device's between writing its event structure and reading the flags.
    data(2, 0xF3BF, 0x8F5F)
    mov(r0, 0)


@micropython.asm_thumb
def spin_packed(r0, r1, r2, r3):
    """As `spin`: until AVAIL and USED of the packed descriptor at r1 are r2, or r3 times."""
    lsl(r0, r0, 2)
    ldr(r0, [r0, 4 * _DESC])
    lsl(r1, r1, 4)
    add(r0, r0, r1)
    movw(r5, 0x8080)
    label(LOOK)
    ldrh(r4, [r0, 14])
    and_(r4, r5)
    cmp(r4, r2)
    beq(NEWS)
    sub(r3, 1)
    bne(LOOK)
    label(NEWS)
    mov(r0, r3)


@micropython.asm_thumb
def packed_flags(r0, r1):
    """The flags of the packed descriptor at r1; its other fields are to be read afterwards."""
    lsl(r0, r0, 2)
    ldr(r3, [r0, 4 * _DESC])
    lsl(r1, r1, 4)
    add(r3, r3, r1)
    ldrh(r0, [r3, 14])
    # Pairs with the device's barrier before it writes the flags of a used descriptor.
    data(2, 0xF3BF, 0x8F5F)


# Of the block devices, and the cache.


@micropython.asm_thumb
def words_above_stack_pointer(r0):
    """How far up from here the object in a list is. id() would take memory for an address."""
    ldr(r0, [r0, 0])
    mov(r1, sp)
    sub(r0, r0, r1)
    mov(r1, 2)
    lsr(r0, r1)


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
    mov(r4, _CACHE_LINES)
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
