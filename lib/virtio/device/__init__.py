"""A device's life, and waiting for what it does."""

# SPDX-License-Identifier: MIT

from .life import Device, opened
