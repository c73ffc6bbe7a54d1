# SPDX-License-Identifier: MIT
"""FAT images made, read and checked with the host's own tools (dosfstools and mtools)."""

import os
import subprocess
import tempfile
from pathlib import Path

ENVIRONMENT = os.environ | {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}


def tool(*command):
    result = subprocess.run(
        command, capture_output=True, env=ENVIRONMENT, stdin=subprocess.DEVNULL
    )
    if result.returncode != 0:
        said = (result.stderr or result.stdout).decode(errors="replace").strip()
        raise OSError(f"{command[0]}: {said}")
    return result.stdout


def make(image, mebibytes, files):
    """Make a FAT image that holds the files, a dictionary of names and contents."""
    Path(image).unlink(missing_ok=True)
    tool("mkfs.fat", "-C", image, str(mebibytes * 1024))
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.write_bytes(content)
            tool("mcopy", "-i", image, path, f"::{name}")


def read(image, name):
    return tool("mcopy", "-i", image, f"::{name}", "-")


def check(image):
    """Raise OSError with fsck's own words unless the filesystem is clean."""
    tool("fsck.fat", "-n", image)
