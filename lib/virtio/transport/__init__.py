"""How a device is reached: its registers, features, status and configuration space."""

# SPDX-License-Identifier: MIT
