# SPDX-License-Identifier: MIT
"""The library as it is in the files, over the one that is frozen into the firmware.

So a change to it is tried without a build: it goes into the board's ROM, and the board imports it
from there. `python tests/overlay.py build/overlay.img` makes the image, and `LIBRARY=build/overlay.img
pytest tests/target/…` runs tests of tests/target with it.
"""

import os
import subprocess
import sys
from pathlib import Path

from mpremote.romfs import VfsRomWriter

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "lib/virtio"
MPY_CROSS = ROOT / "build/mpy-cross/mpy-cross"
CACHE = ROOT / "build/overlay"
ARCH = "armv7emsp"
BANK = 64 << 20  # bytes, as QEMU wants the image of a flash bank

# On the board: forget the library that the start has used, and do what the start does with this one.
USE = """
import sys, vfs, virtio
driver = None
for point in [point for _, point in vfs.mount() if not point.startswith(("/rom", "/host"))]:
    vfs.umount(point)
for driver in virtio.opened():
    driver.deinit()
for name in [name for name in sys.modules if (name + ".").startswith("virtio.")]:
    del sys.modules[name]
del virtio, driver
sys.path.insert(0, "/rom")
import builtins
builtins.started = True  # which the firmware tells it: to be silent
import _boot
del builtins.started, sys.modules["_boot"]
import virtio
assert virtio.__file__.startswith("/rom/"), virtio.__file__
"""


def files(other="rv32"):
    """The library's files, by their paths in the package, but for that in another's assembler."""
    paths = [path for path in sorted(LIBRARY.rglob("*.py")) if path.stem != other]
    return {str(path.relative_to(LIBRARY)): path for path in paths}


def image(changes, path):
    """Write an image with the library into *path*; *changes* has other texts for some of its files.

    Raises `CalledProcessError` for a text that does not compile.
    """
    texts = {name: changes.get(name, source.read_text()) for name, source in files().items()}
    with open(path, "wb") as out:
        out.write(rom(texts, ARCH))
        out.truncate(BANK)


def rom(texts, arch, beside=()):
    """The package of these texts, by their paths in it, and other files beside it, in a ROM."""
    tree = {
        Path(path).stem + ".mpy": compiled(path.name, path.read_text(), arch) for path in beside
    }
    for name, text in texts.items():
        folder = tree.setdefault("virtio", {})
        for part in name.split("/")[:-1]:
            folder = folder.setdefault(part, {})
        folder[Path(name).stem + ".mpy"] = compiled(f"virtio/{name}", text, arch)
    writer = VfsRomWriter()
    _write(writer, tree)
    return writer.finalise()


def compiled(name, text, arch):
    import hashlib

    CACHE.mkdir(parents=True, exist_ok=True)
    known = CACHE / hashlib.sha256(f"{name}\0{arch}\0{text}".encode()).hexdigest()
    if not known.exists():
        source = known.with_suffix(f".{os.getpid()}.py")
        source.write_text(text)
        made = source.with_suffix(".mpy")
        command = [MPY_CROSS, f"-march={arch}", "-s", name, source, "-o", made]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
            made.rename(known)
        finally:
            source.unlink()
    return known.read_bytes()


def _write(rom, tree):
    for name, content in sorted(tree.items()):
        if isinstance(content, dict):
            rom.opendir(name)
            _write(rom, content)
            rom.closedir()
        else:
            rom.mkfile(name, content)


if __name__ == "__main__":
    image({}, Path(sys.argv[1]))
