"""What lies between a block device and a path: cache, partitions, filesystems."""

# SPDX-License-Identifier: MIT
