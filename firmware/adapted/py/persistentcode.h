// SPDX-License-Identifier: MIT
// MicroPython takes any double precision FPU for that of a Cortex-M7, whose VSEL, VRINT, VMAXNM
// and VMINNM an ARMv7-A processor does not have. What it runs is code for a Cortex-M4.

#include_next "py/persistentcode.h"

#undef MPY_FEATURE_ARCH
#define MPY_FEATURE_ARCH (MP_NATIVE_ARCH_ARMV7EMSP)
