# SPDX-License-Identifier: MIT
"""FAT images made, read and checked with the host's own tools (dosfstools and mtools)."""

import os
import subprocess
import tempfile
from pathlib import Path

ENVIRONMENT = os.environ | {
    "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
    "LC_ALL": "C.UTF-8",  # the mtools take a name's bytes by it
}
ROOT_ENTRIES = 512, 32767  # what is usual, and the most there can be


def tool(*command):
    """Run a tool; OSError has its first complaint, which may come again for each file."""
    result = subprocess.run(
        command, capture_output=True, env=ENVIRONMENT, stdin=subprocess.DEVNULL
    )
    if result.returncode != 0:
        complaint = result.stderr.strip().partition(b"\n")[0] or result.stdout.strip()
        said = complaint.decode(errors="replace") or f"exit code {result.returncode}"
        raise OSError(f"{command[0]}: {said}")
    return result.stdout


def make(image, mebibytes, files, root=0):
    """Make a FAT image that holds the files, a dictionary of names and contents.

    `root` is how many entries its root needs: that of FAT12 and FAT16 does not grow.
    """
    Path(image).unlink(missing_ok=True)
    usual, most = ROOT_ENTRIES
    if root > most:
        raise OSError("FAT has no room for so many names at the top")
    tool("mkfs.fat", "-r", str(max(root, usual)), "-C", image, str(mebibytes * 1024))
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
