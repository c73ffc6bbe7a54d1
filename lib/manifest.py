# SPDX-License-Identifier: MIT
from pathlib import Path

# No version, which would be frozen into each module: the package says its own.
metadata(description="Virtio devices and the queues beneath them.")

# The processor whose assembler the compiler knows; "viper" is for any other that it emits code for.
options.defaults(processor="thumb")
ROUTINES = {"thumb": ["processor"], "rv32": ["rv32", "viper"], "viper": ["viper"]}

others = {name for names in ROUTINES.values() for name in names} - set(ROUTINES[options.processor])
files = [path.relative_to("virtio") for path in sorted(Path("virtio").rglob("*.py"))]
package("virtio", files=[str(path) for path in files if path.stem not in others])
