"""The rings of chapter 2 of the specification: how chains of buffers go to a device and come back."""

# SPDX-License-Identifier: MIT
