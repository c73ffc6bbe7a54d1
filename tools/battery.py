# SPDX-License-Identifier: MIT
"""Have rngtest and ent, which make soak tests random bytes with: battery.py FOLDER.

Where the machine lacks them their Debian packages are unpacked in the folder, not installed:
they need nothing but libc, and one of them would start a daemon.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import packages
import step

PACKAGES = {"rng-tools5": "rngtest", "ent": "ent"}
LOG = "build/log/battery.log"


def find(name, folder):
    """The program, the machine's own or that of the folder; None where there is none."""
    return shutil.which(name, path=f"{packages.PATH}:{folder}/usr/bin")


def missing(folder):
    return [package for package, name in PACKAGES.items() if not find(name, folder)]


def download(names, folder):
    folder.mkdir(parents=True, exist_ok=True)
    script = 'cd "$1" && shift && exec apt-get download "$@"'
    command = ["sh", "-c", script, "sh", str(folder), *names]
    if step.run(f"Fetching {' '.join(names)}", command, LOG):
        return
    # The lists may be missing, or too old for the mirror.
    root = packages.as_root()
    if root is not None:
        step.run("Updating the package lists", [*root, "apt-get", "update"], LOG)
        step.run(f"Fetching {' '.join(names)}", command, LOG)


def main():
    folder = Path(sys.argv[1]).absolute()
    names = missing(folder)
    if not names:
        return
    if not packages.program("apt-get"):
        sys.exit(
            f"This machine has no apt-get: install what Debian calls {' '.join(names)} with its "
            "own package manager, then run this again."
        )
    download(names, folder)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        os.unlink(package)
    names = missing(folder)
    if names:
        sys.exit(
            f"Could not fetch {' '.join(names)}: see {LOG}, install them by hand "
            "and run this again."
        )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
