"""The drivers, one device type each."""

# SPDX-License-Identifier: MIT
