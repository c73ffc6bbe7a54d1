# SPDX-License-Identifier: MIT
"""Install the Debian packages that this project needs and the machine lacks.

What is looked for is the program or the file itself, not the package: a machine that has it
from elsewhere needs nothing installed, whatever its package manager.
"""

import importlib.util
import os
import shutil
import subprocess
import sys

import step

# What other systems call them. Where one has no name of its own it is part of another.
DNF = {
    "gcc-arm-none-eabi": "arm-none-eabi-gcc-cs",
    "libnewlib-arm-none-eabi": "arm-none-eabi-newlib",
    "libc6-dev": "glibc-devel",
    "qemu-utils": "qemu-img",
    "fdisk": "util-linux",
    "python3-venv": "python3",
}
BREW = {
    "qemu-system-arm": "qemu",
    "gcc-arm-none-eabi": "gcc-arm-embedded",
    "libnewlib-arm-none-eabi": "gcc-arm-embedded",
    "libc6-dev": "gcc",
    "qemu-utils": "qemu",
    "fdisk": "util-linux",
    "python3-venv": "python",
}
MANAGERS = {"dnf": ("sudo dnf install", DNF), "brew": ("brew install", BREW)}
LOG = "build/log/packages.log"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"  # a user's PATH leaves these out


def program(name):
    return shutil.which(name, path=PATH) is not None


def succeeds(command, **options):
    try:
        return subprocess.run(command, capture_output=True, **options).returncode == 0
    except FileNotFoundError:
        return False


def has_arm_libc():
    # The compiler names a file it does not find without a folder.
    command = ["arm-none-eabi-gcc", "-print-file-name=libc.a"]
    try:
        found = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return False
    return "/" in found


def has_libc_headers():
    return succeeds(["gcc", "-E", "-"], input=b"#include <stdio.h>\n")


def missing():
    present = {
        "qemu-system-arm": program("qemu-system-arm"),
        "gcc-arm-none-eabi": program("arm-none-eabi-gcc"),
        "libnewlib-arm-none-eabi": has_arm_libc(),
        "gcc": program("gcc"),  # mpy-cross runs on the host
        "libc6-dev": has_libc_headers(),
        "mtools": program("mcopy"),
        "dosfstools": program("mkfs.fat"),
        "qemu-utils": program("qemu-img"),
        "fdisk": program("sfdisk"),
        "openssl": program("openssl"),  # certificates for the tests
        "python3-venv": importlib.util.find_spec("ensurepip") is not None,
    }
    return [package for package, there in present.items() if not there]


def as_root():
    """Return the words that make a command run as root, or None if there are none."""
    if os.geteuid() == 0:
        return []
    if succeeds(["sudo", "-n", "true"]):
        return ["sudo", "-n"]
    # sudo may ask a person at a terminal for the password, once; nobody else is asked anything.
    if sys.stdin.isatty() and program("sudo") and subprocess.run(["sudo", "-v"]).returncode == 0:
        return ["sudo", "-n"]
    return None


def install(packages, root):
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    command = [*apt, "install", "-y", "--no-install-recommends", *packages]
    names = " ".join(packages)
    if step.run(f"Installing {names}", command, LOG):
        return True
    # The lists may be missing, or too old for the mirror. That another source of this machine
    # fails to update is not our concern: the second attempt decides.
    step.run("Updating the package lists", [*apt, "update"], LOG)
    return step.run(f"Installing {names}", command, LOG)


def by_hand(packages):
    """What to do where there is no apt-get."""
    for manager, (command, names) in MANAGERS.items():
        if program(manager):
            words = " ".join(dict.fromkeys(names.get(package, package) for package in packages))
            return f"This machine has no apt-get: run '{command} {words}', then this again."
    return (
        f"This machine has no apt-get: install what Debian calls {' '.join(packages)} with its "
        "own package manager, then run this again."
    )


def main():
    packages = missing()
    if not packages:
        return
    names = " ".join(packages)
    if not program("apt-get"):
        sys.exit(by_hand(packages))
    root = as_root()
    if root is None:
        sys.exit(f"Run 'apt-get install {names}' as root (sudo cannot be used here), then this.")
    if not install(packages, root) or missing():
        sys.exit(f"Could not install {names}: see {LOG}, install them by hand and run this again.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
