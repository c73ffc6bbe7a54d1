// SPDX-License-Identifier: MIT
#pragma once

#include <stdbool.h>
#include <stddef.h>

void uart_init(void);
void uart_write(const char *data, size_t len);

// One received character, or -1.
int uart_read(void);
bool uart_readable(void);
