"""Where QEMU's machine `virt` for RISC-V has its slots; this port hears no interrupts."""

# SPDX-License-Identifier: MIT

SLOTS = [(0x10001000 + 0x1000 * n, 0x1000, None) for n in range(8)]
