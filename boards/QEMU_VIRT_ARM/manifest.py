# SPDX-License-Identifier: MIT
include("$(MPY_DIR)/extmod/asyncio")
freeze("$(PORT_DIR)/modules")
package("virtio", base_path="$(PORT_DIR)/../lib")
for name in ("ssl", "requests", "ntptime", "mip", "webrepl"):
    module(name + ".py", base_path="$(PORT_DIR)/../lib/" + name)
