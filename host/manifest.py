# SPDX-License-Identifier: MIT
# What is frozen into the firmware of the wheel: the board's own, and what answers the host.
include("$(BOARD_DIR)/manifest.py")
freeze("board")
