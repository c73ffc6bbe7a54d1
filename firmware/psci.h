// SPDX-License-Identifier: MIT
// Assembler sources include this file too.
#pragma once

#define PSCI_SYSTEM_OFF 0x84000008
#define PSCI_SYSTEM_RESET 0x84000009

#ifndef __ASSEMBLER__
_Noreturn void psci_system_off(void);
_Noreturn void psci_system_reset(void);
#endif
