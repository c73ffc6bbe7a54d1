// SPDX-License-Identifier: MIT
// Power control: the machine's PSCI interface, reached by HVC.

#include <stdint.h>

#include "psci.h"

#define PSCI_SYSTEM_OFF 0x84000008
#define PSCI_SYSTEM_RESET 0x84000009

static _Noreturn void psci_call(uint32_t function) {
    register uint32_t r0 __asm ("r0") = function;
    __asm volatile (".arch_extension virt\n hvc #0" : "+r" (r0) : : "memory");
    for (;;) {
        __asm volatile ("wfi");
    }
}

void psci_system_off(void) {
    psci_call(PSCI_SYSTEM_OFF);
}

void psci_system_reset(void) {
    psci_call(PSCI_SYSTEM_RESET);
}
