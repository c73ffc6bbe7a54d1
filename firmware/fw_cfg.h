// SPDX-License-Identifier: MIT
#pragma once

#include <stddef.h>
#include <stdint.h>

#define FW_CFG_UUID 0x02

// Reads one item of what QEMU tells its firmware.
void fw_cfg_read(uint16_t key, uint8_t *data, size_t len);

// The number that a file of that name holds in decimal digits, 0 without such a file:
// -fw_cfg name=opt/…,string=…
size_t fw_cfg_number(const char *name);
