// SPDX-License-Identifier: MIT
// A reader for the flattened device tree, as much of it as this machine needs:
// the root's children, with the root's cell sizes.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t address;
    uint32_t address_high; // 0 for all but PCI
    uint32_t size;
    uint32_t intid; // GIC number, 0 if the node has no interrupt
} fdt_device_t;

// Moves the device tree that the machine said to be there, if it did, to where it is looked for.
// Called by start.S, without MMU.
void fdt_take(uint32_t address);

// How PSCI is called. By HVC if there is no device tree.
enum psci_method { PSCI_NONE, PSCI_HVC, PSCI_SMC };
enum psci_method fdt_psci_method(void);

// Size of the RAM, or 0 when there is no (readable) device tree.
size_t fdt_ram_size(void);

// The next enabled node with this compatible string, in the tree's order.
// *cursor is NULL at first; returns false when there is none left.
bool fdt_next_device(const char *compatible, const uint32_t **cursor, fdt_device_t *device);
