# SPDX-License-Identifier: MIT
"""Build the wheel micropython-virt, with firmware for each MicroPython checkout that is named.

The first one is what a board has that asks for no version. Images are kept in build/wheel, a
folder a release; the submake decides what is out of date.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import licenses
import step
import stubs

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build/wheel"
IMAGES = FOLDER / "images"
LOG = ROOT / "build/log/wheel.log"
BOARD = os.environ.get("BOARD") or "QEMU_VIRT_ARM"
KINDS = {"": "", "-settrace": "-DMICROPY_PY_SYS_SETTRACE=1"}


def version(checkout):
    header = (checkout / "py/mpconfig.h").read_text()
    numbers = [
        re.search(rf"^#define MICROPY_VERSION_{part} (\d+)", header, re.M)[1]
        for part in ("MAJOR", "MINOR", "MICRO")
    ]
    preview = re.search(r"^#define MICROPY_VERSION_PRERELEASE 1", header, re.M)
    return ".".join(numbers) + ("-preview" if preview else "")


def command(checkout, build, flags):
    words = ["make", "-C", ROOT / "firmware", f"-j{os.cpu_count()}", f"BOARD={BOARD}"]
    words += [f"MICROPYTHON_DIR={checkout}", f"BUILD={build}", f"CFLAGS_EXTRA={flags}"]
    if not (checkout / "lib/lwip/src").exists():
        words.append(f"THIRD={ROOT / 'build/third'}")
    return [str(word) for word in [*words, f"FROZEN_MANIFEST={ROOT / 'host/manifest.py'}"]]


def image(checkout, name, kind, flags):
    build = FOLDER / name / f"firmware{kind}"
    source = FOLDER / name / "built-from"
    if not source.exists() or source.read_text() != str(checkout):
        shutil.rmtree(source.parent, ignore_errors=True)
        source.parent.mkdir(parents=True)
        source.write_text(str(checkout))
    # Made by another make this one would take its flags, and its targets, for its own.
    environment = {word: "" for word in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    title = f"Building MicroPython {name}{kind}"
    if not step.run(title, command(checkout, build, flags), LOG, environment):
        said = "\n".join(step.complaints(LOG.read_text(errors="replace")))
        sys.exit(f"{said}\n{title} failed; the whole output is in {LOG.relative_to(ROOT)}.")
    strip = ["arm-none-eabi-strip", "-o", IMAGES / f"{name}{kind}.elf", build / "firmware.elf"]
    subprocess.run(strip, check=True)


def main():
    LOG.parent.mkdir(parents=True, exist_ok=True)
    LOG.unlink(missing_ok=True)
    checkouts = list(dict.fromkeys(Path(name).resolve() for name in sys.argv[1:]))
    for checkout in checkouts:
        if not (checkout / "py/mpconfig.h").exists():
            sys.exit(f"{checkout} is not a MicroPython checkout.")
    shutil.rmtree(IMAGES, ignore_errors=True)
    IMAGES.mkdir(parents=True)
    names = [version(checkout) for checkout in checkouts]
    for checkout, name in zip(checkouts, names):
        for kind, flags in KINDS.items():
            image(checkout, name, kind, flags)
    licenses.gather(FOLDER / "licenses", checkouts[0], ROOT / "build/third")
    shutil.rmtree(FOLDER / "stubs", ignore_errors=True)
    stubs.write(FOLDER / "stubs")
    (IMAGES / "versions").write_text(" ".join(names) + "\n")
    shutil.rmtree(ROOT / "build/dist", ignore_errors=True)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "build/dist"]
    subprocess.run(build, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    (wheel,) = (ROOT / "build/dist").glob("*.whl")
    # As pip would install it, for this project's own tests.
    shutil.rmtree(FOLDER / "site", ignore_errors=True)
    zipfile.ZipFile(wheel).extractall(FOLDER / "site")
    print(f"{wheel.relative_to(ROOT)}: {wheel.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
