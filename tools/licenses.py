# SPDX-License-Identifier: MIT
"""Gather the licences of all that is linked into the firmware, from the sources it is built from."""

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = ROOT / "host/licenses"
# A file whose whole text is the licence; MicroPython's parts that have none keep it in a comment.
FILES = {
    "micropython.txt": "LICENSE",
    "lwip.txt": "lib/lwip/COPYING",
    "mbedtls.txt": "lib/mbedtls/LICENSE",
}
HEADS = {
    "fatfs.txt": "lib/oofatfs/ff.c",
    "uzlib.txt": "lib/uzlib/uzlib.h",
    "libm.txt": "lib/libm_dbl/__sin.c",
}
# Where the toolchain's package puts it; a toolchain from elsewhere may have it nowhere.
NEWLIB = Path("/usr/share/doc/libnewlib-arm-none-eabi/copyright")


def head(source):
    """The first comment of a C file that has a copyright in it."""
    comments = re.findall(r"/\*.*?\*/", source.read_text(errors="replace"), re.DOTALL)
    return next(text for text in comments if re.search("copyright", text, re.I)) + "\n"


def gather(folder, checkout, third):
    """Write all of them into the folder; lwIP and Mbed TLS may be the checkout's own, or third's."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(OURS, folder)
    for name, path in FILES.items():
        found = checkout / path if (checkout / path).exists() else third / path
        shutil.copyfile(found, folder / name)
    for name, path in HEADS.items():
        (folder / name).write_text(head(checkout / path))
    if NEWLIB.exists():
        shutil.copyfile(NEWLIB, folder / "newlib.txt")
