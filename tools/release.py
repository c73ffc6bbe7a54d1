# SPDX-License-Identifier: MIT
"""Put together what a release consists of, in build/release: the wheel, the firmware images, the
licences of all that is inside, and the check sums.

The version is that of lib/virtio/__init__.py, and CHANGELOG.md has to have a section for it.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RELEASE = ROOT / "build/release"
BUILT = ROOT / "build" / (os.environ.get("BOARD") or "QEMU_VIRT_ARM")


def version():
    source = (ROOT / "lib/virtio/__init__.py").read_text()
    return re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)[1]


def complaints(number):
    changes = (ROOT / "CHANGELOG.md").read_text()
    if not re.search(rf"^## {re.escape(number)}\b", changes, re.MULTILINE):
        yield f"CHANGELOG.md has no section '## {number}': name the changes of this release."
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True
    )
    if status.returncode == 0 and status.stdout:
        yield "There are changes that no commit has: a release is built from a commit."


def put_together(number):
    shutil.rmtree(RELEASE, ignore_errors=True)
    RELEASE.mkdir(parents=True)
    (wheel,) = (ROOT / "build/dist").glob(f"micropython_virt-{number}-*.whl")
    shutil.copy(wheel, RELEASE)
    for kind in ("elf", "bin"):
        shutil.copyfile(BUILT / f"firmware.{kind}", RELEASE / f"qemu-virt-arm-{number}.{kind}")
    with zipfile.ZipFile(
        RELEASE / f"licenses-{number}.zip", "w", zipfile.ZIP_DEFLATED
    ) as licenses:
        licenses.write(ROOT / "LICENSE", "LICENSE")
        for path in sorted((ROOT / "build/wheel/licenses").iterdir()):
            licenses.write(path, path.name)
    files = sorted(RELEASE.iterdir())
    sums = "".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files)
    (RELEASE / "SHA256SUMS").write_text(sums)
    return [*files, RELEASE / "SHA256SUMS"]


def main():
    number = version()
    wrong = list(complaints(number))
    if wrong:
        sys.exit("\n".join(wrong))
    for path in put_together(number):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
