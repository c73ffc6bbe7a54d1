"""Where QEMU's machine `virt` for ARM has its slots, should its device tree not say so."""

# SPDX-License-Identifier: MIT

SLOTS = [(0x0A000000 + 0x200 * n, 0x200, 48 + n) for n in range(32)]
