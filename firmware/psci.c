// SPDX-License-Identifier: MIT
// Power control: the machine's PSCI interface, reached as the device tree says. Where the firmware
// was started in secure state there is none, but two lines of a GPIO.

#include <stdint.h>

#include "cpu.h"
#include "fdt.h"
#include "mpconfigboard.h"
#include "psci.h"

#define GPIODATA (BOARD_SECURE_GPIO_BASE + 0x000)
#define GPIODIR (BOARD_SECURE_GPIO_BASE + 0x400)

static void set_secure_line(unsigned line) {
    mmio_write(GPIODIR, 1u << line);
    mmio_write(GPIODATA + (1u << line << 2), 1u << line);
}

static _Noreturn void psci_call(uint32_t function, unsigned secure_line) {
    enum psci_method method = fdt_psci_method();
    register uint32_t r0 __asm ("r0") = function;
    if (method == PSCI_HVC) {
        __asm volatile (".arch_extension virt\n hvc #0" : "+r" (r0) : : "memory");
    } else if (method == PSCI_SMC) {
        __asm volatile (".arch_extension sec\n smc #0" : "+r" (r0) : : "memory");
    } else {
        set_secure_line(secure_line);
    }
    for (;;) {
        __asm volatile ("wfi");
    }
}

void psci_system_off(void) {
    psci_call(PSCI_SYSTEM_OFF, BOARD_SECURE_LINE_POWEROFF);
}

void psci_system_reset(void) {
    psci_call(PSCI_SYSTEM_RESET, BOARD_SECURE_LINE_RESET);
}
