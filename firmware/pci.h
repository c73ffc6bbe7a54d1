// SPDX-License-Identifier: MIT
#pragma once

// Prints a line for each kind of virtio device that is on PCI, where nothing drives it.
void pci_report(void);
