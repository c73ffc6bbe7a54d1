// SPDX-License-Identifier: MIT
// All that the firmware knows about virtio: a device that was given buffers may
// write to them until it is reset, so it is, before the heap is used afresh.
// Everything else is lib/virtio's.

#include <stddef.h>

#include "cpu.h"
#include "exceptions.h"
#include "fdt.h"
#include "timer.h"
#include "virtio_reset.h"

// Register offsets, virtio 1.2 section 4.2.2.
#define MAGIC_VALUE 0x000
#define DEVICE_ID 0x008
#define STATUS 0x070

#define MAGIC 0x74726976
#define RESET_TIMEOUT_US 5000000

static void reset_device(uintptr_t base) {
    if (mmio_read(base + MAGIC_VALUE) != MAGIC || mmio_read(base + DEVICE_ID) == 0) {
        return;
    }
    // The reset is complete when the status reads 0 (section 4.2.2.1). A device
    // that does not get there still owns memory: only a machine reset helps.
    mmio_write(base + STATUS, 0);
    uint64_t deadline = timer_us() + RESET_TIMEOUT_US;
    while (mmio_read(base + STATUS) != 0) {
        if (timer_us() > deadline) {
            reset_machine(RESET_CAUSE_FAULT);
        }
    }
}

void virtio_reset_all(void) {
    const uint32_t *cursor = NULL;
    fdt_device_t device;
    while (fdt_next_device("virtio,mmio", &cursor, &device)) {
        reset_device(device.address);
    }
}
