# SPDX-License-Identifier: MIT
"""Fetch the programs that tests talk to: programs.py FOLDER leaves those that are missing there.

They are Debian's packages, unpacked and not installed: no root, and no service that starts by
itself. Where that cannot be done their tests are skipped.
"""

import os
import shutil
import sys
from pathlib import Path

import step

PROGRAMS = ("mosquitto", "iperf", "curl")
LOG = "build/log/programs.log"


def environment(folder):
    """What the programs need to be found and to run, as variables."""
    usr = Path(folder).resolve() / "usr"
    path = os.environ.get("PATH", "") + f":/usr/sbin:{usr}/bin:{usr}/sbin"
    libraries = [os.environ.get("LD_LIBRARY_PATH"), *sorted(map(str, usr.glob("lib/*-linux-*")))]
    return {"PATH": path, "LD_LIBRARY_PATH": ":".join(filter(None, libraries))}


def fetch(names, folder):
    """Leave the packages, with those that they need, unpacked in the folder; returns whether."""
    cache = folder.resolve() / "apt"
    (cache / "archives/partial").mkdir(parents=True)
    settings = [f"-oDir::Cache={cache}", "-oDebug::NoLocking=1", "-oAPT::Sandbox::User=root"]
    words = ["apt-get", *settings, "install", "--download-only", "-y", "--no-install-recommends"]
    if not step.run(f"Fetching {' '.join(names)}", [*words, *names], LOG):
        return False
    for package in (cache / "archives").glob("*.deb"):
        if not step.run(f"Unpacking {package.name}", ["dpkg-deb", "-x", package, folder], LOG):
            return False
    shutil.rmtree(cache)
    return True


def main():
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = environment(folder)["PATH"]
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing and not (shutil.which("apt-get") and fetch(missing, folder)):
        print(f"Without {', '.join(missing)} their tests are skipped.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
