// SPDX-License-Identifier: MIT
// QEMU's firmware configuration device, read byte by byte.

#include <stdbool.h>
#include <string.h>

#include "cpu.h"
#include "fw_cfg.h"
#include "mpconfigboard.h"

#define DATA (BOARD_FW_CFG_BASE + 0x00)
#define SELECTOR (BOARD_FW_CFG_BASE + 0x08)

#define FILE_DIRECTORY 0x19

// An entry of the directory; its numbers are big-endian.
typedef struct {
    uint32_t size;
    uint16_t key;
    uint16_t reserved;
    char name[56];
} file_t;

static void select(uint16_t key) {
    *(volatile uint16_t *)SELECTOR = __builtin_bswap16(key);
}

static void read(void *data, size_t len) {
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)data)[i] = *(volatile uint8_t *)DATA;
    }
}

void fw_cfg_read(uint16_t key, uint8_t *data, size_t len) {
    select(key);
    read(data, len);
}

static bool find(const char *name, file_t *file) {
    uint32_t count;
    fw_cfg_read(FILE_DIRECTORY, (uint8_t *)&count, sizeof(count));
    for (count = __builtin_bswap32(count); count != 0; count--) {
        read(file, sizeof(*file));
        if (strncmp(file->name, name, sizeof(file->name)) == 0) {
            return true;
        }
    }
    return false;
}

size_t fw_cfg_number(const char *name) {
    file_t file;
    if (!find(name, &file)) {
        return 0;
    }
    select(__builtin_bswap16(file.key));
    size_t number = 0;
    for (uint32_t left = __builtin_bswap32(file.size); left != 0; left--) {
        char digit;
        read(&digit, sizeof(digit));
        if (digit < '0' || digit > '9') {
            break;
        }
        number = number * 10 + (digit - '0');
    }
    return number;
}
