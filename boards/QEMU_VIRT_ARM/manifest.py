# SPDX-License-Identifier: MIT
include("$(MPY_DIR)/extmod/asyncio")
freeze("$(PORT_DIR)/modules")
include("$(PORT_DIR)/../lib/manifest.py")
for name in ("ssl", "requests", "ntptime", "mip", "webrepl"):
    module(name + ".py", base_path="$(PORT_DIR)/../lib/" + name)
package("umqtt", base_path="$(PORT_DIR)/../lib/umqtt")
