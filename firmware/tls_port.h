// SPDX-License-Identifier: MIT
#pragma once

void tls_deinit(void);
