# SPDX-License-Identifier: MIT
"""Install the Debian packages that this project needs and the machine lacks: packages.py [GROUP].

Of the group `riscv`, which only the tests need, a machine without apt-get may do without. What is looked for is the program or the file itself, not the package: a machine that has it
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


def has_riscv_libc():
    command = ["riscv64-unknown-elf-gcc", "-print-file-name=picolibc.specs"]
    return succeeds(command) and b"/" in subprocess.run(command, capture_output=True).stdout


def riscv():
    # Debian 13 has it by itself, in Debian 12 it is one of many.
    alone = succeeds(["apt-cache", "show", "qemu-system-riscv"])
    qemu = "qemu-system-riscv" if alone else "qemu-system-misc"
    return {
        qemu: program("qemu-system-riscv32"),
        "gcc-riscv64-unknown-elf": program("riscv64-unknown-elf-gcc"),
        "picolibc-riscv64-unknown-elf": has_riscv_libc(),
    }


def usual():
    return {
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


GROUPS = {"usual": usual, "riscv": riscv}


def missing(group):
    return [package for package, there in GROUPS[group]().items() if not there]


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


def install(group, root):
    """Return whether all packages of the group are there."""
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    for attempt in range(2):
        if attempt:
            # The lists may be missing, or too old for the mirror. That another source of this
            # machine fails to update is not our concern: the second attempt decides.
            step.run("Updating the package lists", [*apt, "update"], LOG)
        packages = missing(group)  # by the names that the lists of now have
        command = [*apt, "install", "-y", "--no-install-recommends", *packages]
        if step.run(f"Installing {' '.join(packages)}", command, LOG):
            return not missing(group)
    return False


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


def main(group="usual"):
    packages = missing(group)
    if not packages:
        return
    if not program("apt-get"):
        if group == "usual":
            sys.exit(by_hand(packages))
        print(f"{' '.join(packages)} are Debian's: what needs them is left out.")
        return
    root = as_root()
    if root is None:
        names = " ".join(packages)
        sys.exit(f"Run 'apt-get install {names}' as root (sudo cannot be used here), then this.")
    if not install(group, root):
        names = " ".join(missing(group))
        sys.exit(f"Could not install {names}: see {LOG}, install them by hand and run this again.")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
