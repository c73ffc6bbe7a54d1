// SPDX-License-Identifier: MIT
// Flattened device tree (Devicetree Specification 0.4, chapter 5).

#include <stdbool.h>
#include <string.h>

#include "fdt.h"
#include "mpconfigboard.h"

#define FDT_MAGIC 0xd00dfeed
#define FDT_BEGIN_NODE 1
#define FDT_END_NODE 2
#define FDT_PROP 3
#define FDT_NOP 4

#define INTERRUPT_TYPE_SPI 0

enum { HEADER_MAGIC, HEADER_TOTAL_SIZE, HEADER_STRUCT, HEADER_STRINGS };

// The properties of one node that anybody asks for. Lengths are in bytes.
typedef struct {
    const char *compatible;
    uint32_t compatible_len;
    const uint32_t *reg;
    const uint32_t *interrupts;
    const char *method;
    bool memory;
    bool disabled;
} node_t;

static uint32_t be32(const uint32_t *p) {
    return __builtin_bswap32(*p);
}

static const uint32_t *header(void) {
    return (const uint32_t *)BOARD_FDT_BASE;
}

static const uint32_t *structure(void) {
    return (const uint32_t *)(BOARD_FDT_BASE + be32(header() + HEADER_STRUCT));
}

void fdt_take(uint32_t address) {
    const uint32_t *from = (const uint32_t *)address;
    if (address % 4 == 0 && address > BOARD_FDT_BASE && be32(from + HEADER_MAGIC) == FDT_MAGIC
        && be32(from + HEADER_TOTAL_SIZE) <= BOARD_FDT_SIZE_MAX) {
        memmove((void *)BOARD_FDT_BASE, from, be32(from + HEADER_TOTAL_SIZE));
    }
}

static const uint32_t *skip_bytes(const uint32_t *p, size_t len) {
    return p + (len + 3) / 4;
}

static void take_property(node_t *node, const char *name, const uint32_t *value, uint32_t len) {
    if (strcmp(name, "compatible") == 0) {
        node->compatible = (const char *)value;
        node->compatible_len = len;
    } else if (strcmp(name, "reg") == 0 && len >= 16) {
        node->reg = value;
    } else if (strcmp(name, "interrupts") == 0 && len >= 12) {
        node->interrupts = value;
    } else if (strcmp(name, "method") == 0) {
        node->method = (const char *)value;
    } else if (strcmp(name, "device_type") == 0) {
        node->memory = strcmp((const char *)value, "memory") == 0;
    } else if (strcmp(name, "status") == 0) {
        node->disabled = strncmp((const char *)value, "ok", 2) != 0;
    }
}

// Reads the next child of the root; its own children are passed over.
static bool next_node(const uint32_t **cursor, node_t *node) {
    const uint32_t *p = *cursor;
    int depth = 1;
    if (p == NULL) {
        if (be32(header() + HEADER_MAGIC) != FDT_MAGIC) {
            return false;
        }
        p = structure();
        depth = 0;
    }
    memset(node, 0, sizeof(*node));
    for (;;) {
        uint32_t tag = be32(p++);
        if (tag == FDT_BEGIN_NODE) {
            p = skip_bytes(p, strlen((const char *)p) + 1);
            depth++;
        } else if (tag == FDT_PROP) {
            uint32_t len = be32(p);
            const char *name = (const char *)BOARD_FDT_BASE + be32(header() + HEADER_STRINGS) + be32(p + 1);
            p += 2;
            if (depth == 2) {
                take_property(node, name, p, len);
            }
            p = skip_bytes(p, len);
        } else if (tag == FDT_END_NODE) {
            depth--;
            if (depth == 1) {
                *cursor = p;
                return true;
            }
        } else if (tag != FDT_NOP) {
            return false; // FDT_END
        }
        if (depth == 0) {
            return false;
        }
    }
}

static bool is_compatible(const node_t *node, const char *compatible) {
    const char *end = node->compatible + node->compatible_len;
    for (const char *s = node->compatible; s != end; s += strlen(s) + 1) {
        if (strcmp(s, compatible) == 0) {
            return true;
        }
    }
    return false;
}

size_t fdt_ram_size(void) {
    const uint32_t *cursor = NULL;
    node_t node;
    while (next_node(&cursor, &node)) {
        if (node.memory && node.reg != NULL && be32(node.reg + 1) == BOARD_RAM_BASE) {
            // What reaches beyond the 32-bit address space is of no use here.
            uint64_t size = (uint64_t)be32(node.reg + 2) << 32 | be32(node.reg + 3);
            return size < BOARD_RAM_SIZE_MAX ? size : BOARD_RAM_SIZE_MAX;
        }
    }
    return 0;
}

enum psci_method fdt_psci_method(void) {
    const uint32_t *cursor = NULL;
    node_t node;
    if (be32(header() + HEADER_MAGIC) != FDT_MAGIC) {
        return PSCI_HVC;
    }
    while (next_node(&cursor, &node)) {
        if (node.method != NULL && is_compatible(&node, "arm,psci")) {
            return strcmp(node.method, "smc") == 0 ? PSCI_SMC : PSCI_HVC;
        }
    }
    return PSCI_NONE;
}

bool fdt_next_device(const char *compatible, const uint32_t **cursor, fdt_device_t *device) {
    node_t node;
    while (next_node(cursor, &node)) {
        if (node.disabled || node.reg == NULL || !is_compatible(&node, compatible)) {
            continue;
        }
        device->address_high = be32(node.reg);
        device->address = be32(node.reg + 1);
        device->size = be32(node.reg + 3);
        device->intid = 0;
        if (node.interrupts != NULL) {
            uint32_t first = be32(node.interrupts) == INTERRUPT_TYPE_SPI ? 32 : 16;
            device->intid = first + be32(node.interrupts + 1);
        }
        return true;
    }
    return false;
}
