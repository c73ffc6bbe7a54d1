"""What a board and its processor give: memory that devices see, barriers."""

# SPDX-License-Identifier: MIT
