"""What a block device owes those who call it: filesystems, and the C code beneath them."""

# SPDX-License-Identifier: MIT
