# SPDX-License-Identifier: MIT
include("$(MPY_DIR)/extmod/asyncio")
freeze("$(PORT_DIR)/modules")
package("virtio", base_path="$(PORT_DIR)/../lib")
