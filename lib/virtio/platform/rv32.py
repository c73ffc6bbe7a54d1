"""What only assembler can say, for RISC-V with 32 bits; `viper` has the rest."""

# SPDX-License-Identifier: MIT
# ruff: noqa: F821 - mnemonics and registers are no names to ruff


@micropython.asm_rv32
def barrier():
    data(4, 0x0FF0000F)  # fence iorw, iorw, for which this assembler has no name
    c_li(a0, 0)


@micropython.asm_rv32
def words_above_stack_pointer(a0):
    """How far up from here the object in a list is, as in `processor`."""
    lw(a0, 0(a0))
    sub(a0, a0, sp)
    srli(a0, a0, 2)
