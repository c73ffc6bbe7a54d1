# SPDX-License-Identifier: MIT
"""Fetch MicroPython's source: source.py FOLDER leaves the unpacked tree there.

It is the upstream tarball of Debian's source package, from the mirror that this machine's apt
uses already. A private set of lists and sources keeps the system's own untouched; no root needed.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import step

SUITE = "trixie"
TARBALL = "micropython_1.25.0+ds.orig.tar.xz"
SHA256 = "7b25be99a502f070b2de81dafc08da7051d992325d6e67daa9045a918fffdbea"
OTHERWISE = "or give MicroPython 1.25.0 by MICROPYTHON_DIR=<its folder>"
KEYRINGS = [
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
]


def mirror():
    """Return the address of the Debian mirror in this machine's apt, or None."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)\t$(ORIGIN)\t$(LABEL)"]
    command.append("Created-By: Packages")
    try:
        lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    except FileNotFoundError:
        return None
    targets = [line.split("\t") for line in lines]
    # Origin and label are known only once the lists have been fetched.
    debian = [site for site, origin, label in targets if (origin, label) == ("Debian", "Debian")]
    likely = [site for site, _, _ in targets if site.rstrip("/").endswith("/debian")]
    return next(iter(debian + likely), None)


def write_sources(folder, site):
    """Write the private source list, and return the options that make apt use nothing else."""
    parts = folder / "sources"
    for path in (parts, folder / "lists/partial", folder / "cache/archives/partial"):
        path.mkdir(parents=True, exist_ok=True)
    lines = ["Types: deb-src", f"URIs: {site}", f"Suites: {SUITE}", "Components: main"]
    lines += [f"Signed-By: {key}" for key in KEYRINGS if key.exists()][:1]
    (parts / "debian.sources").write_text("\n".join(lines) + "\n")
    options = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": parts,
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
        # root's apt fetches as another user, who may not reach our folder.
        "APT::Sandbox::User": "root",
    }
    return [f"-o{name}={value}" for name, value in options.items()]


def fetch(folder):
    """Leave the tarball in the folder, or end with what to do."""
    if shutil.which("apt-get") is None:
        sys.exit(
            "This machine has no apt-get to fetch MicroPython with: "
            "give MicroPython 1.25.0 by MICROPYTHON_DIR=<its folder>."
        )
    site = mirror()
    if site is None:
        sys.exit(
            "This machine's apt knows no Debian mirror to fetch MicroPython from: "
            f"add one, {OTHERWISE}."
        )
    log = "build/log/source.log"
    options = write_sources(folder, site)
    source = ["source", "--download-only", "--tar-only", "micropython"]
    script = 'cd "$1" && shift && apt-get "$@" update && apt-get "$@" ' + " ".join(source)
    command = ["sh", "-c", script, "sh", str(folder), *options]
    fetched = step.run("Fetching MicroPython's source", command, log)
    if not fetched or not (folder / TARBALL).exists():
        sys.exit(
            f"Could not fetch MicroPython's source (see {log}): "
            f"check the network and run this again, {OTHERWISE}."
        )


def check(tarball):
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    if digest != SHA256:
        tarball.unlink()
        sys.exit(
            f"The {TARBALL} that came is not the one this project was made with (its sha256 is "
            f"{digest}) and was deleted: run this again, {OTHERWISE}."
        )


def unpack(tarball, folder):
    """Unpack beside the folder and rename, so that the folder exists only when it is whole."""
    unpacking = folder.with_name(folder.name + ".unpacking")
    shutil.rmtree(unpacking, ignore_errors=True)
    with tarfile.open(tarball) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(unpacking)
    (top,) = unpacking.iterdir()
    top.rename(folder)
    unpacking.rmdir()


def main():
    folder = Path(sys.argv[1]).absolute()
    apt = folder.parent / "apt"
    apt.mkdir(parents=True, exist_ok=True)
    if not (apt / TARBALL).exists():
        fetch(apt)
    check(apt / TARBALL)
    print("Unpacking MicroPython's source", flush=True)
    unpack(apt / TARBALL, folder)
    shutil.rmtree(apt / "lists")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
