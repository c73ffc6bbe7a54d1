// SPDX-License-Identifier: MIT
#pragma once

_Noreturn void psci_system_off(void);
_Noreturn void psci_system_reset(void);
