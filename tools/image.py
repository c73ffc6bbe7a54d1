# SPDX-License-Identifier: MIT
"""Make a FAT image that holds a folder, for a disk that the board only reads.

From the environment: DIR, the folder, and IMAGE, the image (build/image.img if that is empty).
"""

import os
import sys
from pathlib import Path

import fat

MIB = 1 << 20
CLUSTER = 4096  # what a file takes at least, amply reckoned


def size(folder):
    """Enough mebibytes for all that is below the folder."""
    taken = sum(path.stat().st_size + 2 * CLUSTER for path in folder.rglob("*"))
    return 2 + taken * 21 // 20 // MIB


def make(folder, image):
    whole = image.with_name(image.name + ".new")
    try:
        fat.make(whole, size(folder), {})
        files = sorted(folder.iterdir())
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
