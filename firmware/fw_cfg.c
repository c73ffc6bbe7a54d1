// SPDX-License-Identifier: MIT
// QEMU's firmware configuration device, read byte by byte.

#include "cpu.h"
#include "fw_cfg.h"
#include "mpconfigboard.h"

#define DATA (BOARD_FW_CFG_BASE + 0x00)
#define SELECTOR (BOARD_FW_CFG_BASE + 0x08)

void fw_cfg_read(uint16_t key, uint8_t *data, size_t len) {
    *(volatile uint16_t *)SELECTOR = __builtin_bswap16(key);
    for (size_t i = 0; i < len; i++) {
        data[i] = *(volatile uint8_t *)DATA;
    }
}
