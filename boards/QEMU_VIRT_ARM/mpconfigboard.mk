# SPDX-License-Identifier: MIT
# Cortex-A15 code runs on a Cortex-A7 as well: both are ARMv7-A with the
# virtualization, integer divide and VFPv4/NEON extensions.
CPU_FLAGS = -mcpu=cortex-a15 -mthumb -mfpu=neon-vfpv4 -mfloat-abi=hard

LD_SCRIPT = $(BOARD_DIR)/qemu_virt_arm.ld

FROZEN_MANIFEST ?= $(BOARD_DIR)/manifest.py
