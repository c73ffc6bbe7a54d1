// SPDX-License-Identifier: MIT
// What the assembler files and exceptions.c both must know: only #define lines here.
#pragma once

#define MODE_IRQ 0x12
#define MODE_SVC 0x13
#define MODE_ABT 0x17
#define MODE_HYP 0x1a
#define MODE_UND 0x1b

// The kinds of a fault.
#define FAULT_UNDEFINED 0
#define FAULT_PREFETCH 1
#define FAULT_DATA 2
#define FAULT_SVC 3

// Where a fault's frame (fault_frame_t in exceptions.c) holds what is not pushed with r0 to r12.
#define FAULT_FRAME_SP 52
#define FAULT_FRAME_LR 56
#define FAULT_FRAME_PC 60
