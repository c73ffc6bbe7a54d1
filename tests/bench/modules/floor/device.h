// SPDX-License-Identifier: MIT
// What the floors share: the device's registers, and the flags of a split ring.
#pragma once

#include <stdint.h>

#include "cpu.h"

// Registers, virtio 1.2 section 4.2.2.
#define DEVICE_FEATURES 0x010
#define DEVICE_FEATURES_SEL 0x014
#define DRIVER_FEATURES 0x020
#define DRIVER_FEATURES_SEL 0x024
#define QUEUE_SEL 0x030
#define QUEUE_NUM 0x038
#define QUEUE_READY 0x044
#define QUEUE_NOTIFY 0x050
#define INTERRUPT_STATUS 0x060
#define INTERRUPT_ACK 0x064
#define STATUS 0x070
#define QUEUE_DESC_LOW 0x080
#define QUEUE_DRIVER_LOW 0x090
#define QUEUE_DEVICE_LOW 0x0a0
#define CONFIG 0x100

#define F_NEXT 1
#define F_WRITE 2
#define NO_INTERRUPT 1
#define NO_NOTIFY 1

static inline void barrier(void) {
    __asm volatile ("dmb" : : : "memory");
}

// Reset, and accept these of the lower 32 features, so far as they are offered, and VERSION_1.
static inline void device_negotiate(uintptr_t base, uint32_t features) {
    mmio_write(base + STATUS, 0);
    while (mmio_read(base + STATUS) != 0) {
    }
    mmio_write(base + STATUS, 3); // ACKNOWLEDGE, DRIVER
    mmio_write(base + DEVICE_FEATURES_SEL, 0);
    mmio_write(base + DRIVER_FEATURES_SEL, 0);
    mmio_write(base + DRIVER_FEATURES, mmio_read(base + DEVICE_FEATURES) & features);
    mmio_write(base + DRIVER_FEATURES_SEL, 1);
    mmio_write(base + DRIVER_FEATURES, 1); // VERSION_1
    mmio_write(base + STATUS, 11); // FEATURES_OK
}

static inline void device_queue(uintptr_t base, unsigned n, unsigned size, void *desc, void *avail, void *used) {
    mmio_write(base + QUEUE_SEL, n);
    mmio_write(base + QUEUE_NUM, size);
    mmio_write(base + QUEUE_DESC_LOW, (uint32_t)desc);
    mmio_write(base + QUEUE_DRIVER_LOW, (uint32_t)avail);
    mmio_write(base + QUEUE_DEVICE_LOW, (uint32_t)used);
    mmio_write(base + QUEUE_READY, 1);
}
