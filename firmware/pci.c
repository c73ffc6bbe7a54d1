// SPDX-License-Identifier: MIT
// The board drives virtio-mmio. What QEMU puts on PCI instead (-drive if=virtio, -nic) is only named.

#include "py/mphal.h"
#include "py/mpprint.h"
#include "py/runtime.h"

#include "cpu.h"
#include "fdt.h"
#include "mmu.h"
#include "mpconfigboard.h"
#include "pci.h"

#define SLOTS 32
#define SLOT_SIZE 0x8000 // of the configuration space, with its eight functions
#define VENDOR_VIRTIO 0x1af4

// By the device's type; the older PCI identities have numbers of their own.
#define TYPE_BASE 0x1040u
static const struct {
    uint32_t type;
    uint32_t older;
    const char *name;
} kinds[] = {
    { 1, 0x1000, "net" },
    { 2, 0x1001, "blk" },
    { 3, 0x1003, "serial" },
    { 4, 0x1005, "rng" },
    { 5, 0x1002, "balloon" },
    { 8, 0x1004, "scsi" },
    { 9, 0x1009, "9p" },
    { 16, 0, "gpu" },
};

static bool is_there(unsigned kind) {
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        uint32_t id = mmio_read(BOARD_PCI_WINDOW + slot * SLOT_SIZE);
        uint32_t device = id >> 16;
        if ((id & 0xffff) == VENDOR_VIRTIO
            && (device == TYPE_BASE + kinds[kind].type || device == kinds[kind].older)) {
            return true;
        }
    }
    return false;
}

void pci_report(void) {
    const uint32_t *cursor = NULL;
    fdt_device_t bridge;
    if (!fdt_next_device("pci-host-ecam-generic", &cursor, &bridge)) {
        return;
    }
    mmu_map_window(BOARD_PCI_WINDOW, (uint64_t)bridge.address_high << 32 | bridge.address);
    for (unsigned kind = 0; kind < MP_ARRAY_SIZE(kinds); kind++) {
        if (is_there(kind)) {
            const char *name = kinds[kind].name;
            mp_printf(&mp_plat_print, "virtio-%s-pci is not driven here: use -device virtio-%s-device\n", name, name);
        }
    }
}
