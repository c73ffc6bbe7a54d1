// SPDX-License-Identifier: MIT
// What the firmware needs to know about QEMU's 32-bit `virt` machine.
// Assembler sources include this file too: only #define lines here.

#define MICROPY_HW_BOARD_NAME "QEMU_VIRT_ARM"
#define MICROPY_HW_MCU_NAME "Cortex-A"
#define MICROPY_PY_SYS_PLATFORM "qemu_virt"

// Two flash banks. The CPU starts at the first when there is firmware in it; the
// second is MicroPython's ROM filesystem.
#define BOARD_FLASH_BASE 0x00000000
#define BOARD_FLASH_SIZE 0x08000000
#define BOARD_ROM_BASE 0x04000000
#define BOARD_ROM_SIZE 0x04000000

// Everything the firmware drives, and the virtio slots, lies in three pieces.
// Each is mapped in whole mebibytes; the gaps inside one still fault, because
// the machine answers there with an external abort.
#define BOARD_GIC_REGION 0x08000000
#define BOARD_PERIPHERAL_REGION 0x09000000
#define BOARD_VIRTIO_REGION 0x0a000000

#define BOARD_GICD_BASE 0x08000000
#define BOARD_GICC_BASE 0x08010000
#define BOARD_UART_BASE 0x09000000
#define BOARD_RTC_BASE 0x09010000
#define BOARD_FW_CFG_BASE 0x09020000
#define BOARD_SECURE_GPIO_BASE 0x090b0000
#define BOARD_SECURE_LINE_POWEROFF 0
#define BOARD_SECURE_LINE_RESET 1

// Where PCI's configuration space, which may lie beyond 4 GiB, is mapped: 16 MiB.
#define BOARD_PCI_WINDOW 0x3f000000

// GIC interrupt numbers: 16 + n for the private ones, 32 + n for the shared.
#define BOARD_UART_INTID 33
#define BOARD_VTIMER_INTID 27
#define BOARD_PTIMER_INTID 30
#define BOARD_PTIMER_SECURE_INTID 29

#define BOARD_RAM_BASE 0x40000000
#define BOARD_RAM_SIZE_MIN 0x04000000
#define BOARD_RAM_SIZE_MAX 0xbff00000

// QEMU puts the device tree at the start of RAM, or says where it is: then it is moved there. QEMU
// takes twice the size of a tree, and leaves out one that would reach into the firmware.
#define BOARD_FDT_BASE BOARD_RAM_BASE
#define BOARD_FDT_SIZE_MAX 0x00400000
