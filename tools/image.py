# SPDX-License-Identifier: MIT
"""Make a FAT image that holds a folder, for a disk that the board only reads.

From the environment: DIR, the folder, and IMAGE, the image (build/image.img if that is empty).
"""

import os
import re
import sys
from pathlib import Path

import fat

MIB = 1 << 20
CLUSTER = 4096  # what a file takes at least, amply reckoned
PART = 13  # characters of a long name that an entry of a directory holds
NOT_IN_A_NAME = re.compile(r'[\x00-\x1f"*:<>?\\|]')


def check(folder):
    """Raise OSError for what mcopy would ask about, or wait for."""
    seen = {}
    for path in sorted(folder.rglob("*"), reverse=True):
        name = str(path.relative_to(folder))
        if not (path.is_file() or path.is_dir()):
            raise OSError(f"{name} is neither a file nor a folder")
        if NOT_IN_A_NAME.search(name):
            raise OSError(f"FAT has no such name as {name}")
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise OSError(f"FAT takes one of {other} and {name} for the other")


def size(folder):
    """Enough mebibytes for all that is below the folder."""
    taken = sum(path.stat().st_size + 2 * CLUSTER for path in folder.rglob("*"))
    return 2 + taken * 21 // 20 // MIB


def entries(names):
    """How many entries a directory needs for names, if each of them is a long one."""
    characters = [len(name.encode("utf-16-le")) // 2 for name in names]
    return sum(1 + (count + PART - 1) // PART for count in characters)


def make(folder, image):
    check(folder)
    files = sorted(folder.iterdir())
    whole = image.with_name(image.name + ".new")
    try:
        fat.make(whole, size(folder), {}, root=entries(path.name for path in files))
        if files:
            fat.tool("mcopy", "-s", "-m", "-i", whole, *files, "::")
        whole.rename(image)
    finally:
        whole.unlink(missing_ok=True)


def main():
    folder = Path(os.environ.get("DIR") or "")
    if not os.environ.get("DIR") or not folder.is_dir():
        sys.exit(f"There is no folder {os.environ.get('DIR') or ''}: DIR must name one.")
    image = Path(os.environ.get("IMAGE") or "build/image.img")
    try:
        image.parent.mkdir(parents=True, exist_ok=True)
        make(folder, image)
    except OSError as error:
        sys.exit(f"The image {image} could not be made: {error}.")
    print(f"make run IMAGE={image} has it as a second disk, read-only, at /vdb.")


if __name__ == "__main__":
    main()
