# SPDX-License-Identifier: MIT
"""Fetch a source: source.py NAME FOLDER leaves the unpacked tree of micropython, lwip or mbedtls there.

It is the upstream tarball of Debian's source package, from the mirror that this machine's apt
uses already. A private set of lists and sources keeps the system's own untouched; no root needed.
Where there is no such mirror it is the same release from its own repository, by git.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import step

SUITE = "trixie"


@dataclass
class Source:
    title: str
    tarball: str
    sha256: str
    repository: str
    tag: str
    commit: str


SOURCES = {
    "micropython": Source(
        "MicroPython 1.25.0",
        "micropython_1.25.0+ds.orig.tar.xz",
        "7b25be99a502f070b2de81dafc08da7051d992325d6e67daa9045a918fffdbea",
        "https://github.com/micropython/micropython.git",
        "v1.25.0",
        "f498a16c7db6d4b2de200b3e0856528dfe0613c3",
    ),
    "lwip": Source(
        "lwIP 2.2.1",
        "lwip_2.2.1+dfsg1.orig.tar.xz",
        "83729c274c499d3348e9fbbe043a3113f3fa8953e7efddc7c21c7fcbb1f2b7b1",
        "https://github.com/lwip-tcpip/lwip.git",
        "STABLE-2_2_1_RELEASE",
        "77dcd25a72509eb83f72b033d219b1d40cd8eb95",
    ),
    "mbedtls": Source(
        "mbedTLS 3.6.6",
        "mbedtls_3.6.6.orig.tar.bz2",
        "8fb65fae8dcae5840f793c0a334860a411f884cc537ea290ce1c52bb64ca007a",
        "https://github.com/Mbed-TLS/mbedtls.git",
        "v3.6.6",
        "0bebf8b8c7f07abe3571ded48a11aa907a1ffb20",
    ),
}
LOG = "build/log/source.log"
OTHERWISE = "or give a MicroPython 1.25.0 with its submodules by MICROPYTHON_DIR=<its folder>"
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


def fetch(name, source, site, folder):
    """Leave the tarball in the folder, or end with what to do."""
    options = write_sources(folder, site)
    script = 'cd "$1" && shift && apt-get "$@" update && apt-get "$@" source '
    script += f"--download-only --tar-only {name}"
    command = ["sh", "-c", script, "sh", str(folder), *options]
    fetched = step.run(f"Fetching {source.title}", command, LOG)
    if not fetched or not (folder / source.tarball).exists():
        sys.exit(
            f"Could not fetch {source.title} (see {LOG}): "
            f"check the network and run this again, {OTHERWISE}."
        )
    shutil.rmtree(folder / "lists")


def check(source, tarball):
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    if digest != source.sha256:
        tarball.unlink()
        sys.exit(
            f"The {tarball.name} that came is not the one this project was made with (its sha256 "
            f"is {digest}) and was deleted: run this again, {OTHERWISE}."
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


def clone(source, folder):
    """Leave the tree of the release there, without its history, or end with what to do."""
    if shutil.which("git") is None:
        lack = "no apt-get" if shutil.which("apt-get") is None else "no Debian mirror in its apt"
        sys.exit(
            f"This machine has {lack} and no git to fetch {source.title} with: "
            f"install git, {OTHERWISE}."
        )
    cloning = folder.with_name(folder.name + ".unpacking")
    shutil.rmtree(cloning, ignore_errors=True)
    script = 'git init --quiet "$1" && cd "$1" && git fetch --depth 1 "$2" "refs/tags/$3" && '
    script += "git -c advice.detachedHead=false checkout --quiet FETCH_HEAD"
    command = ["sh", "-c", script, "sh", str(cloning), source.repository, source.tag]
    if not step.run(f"Fetching {source.title}", command, LOG):
        sys.exit(
            f"Could not fetch {source.title} from {source.repository} (see {LOG}): "
            f"check the network and run this again, {OTHERWISE}."
        )
    command = ["git", "-C", str(cloning), "rev-parse", "HEAD"]
    commit = subprocess.check_output(command, text=True).strip()
    if commit != source.commit:
        shutil.rmtree(cloning)
        sys.exit(
            f"The {source.tag} of {source.repository} is not the one this project was made with "
            f"(its commit is {commit}) and was deleted: run this again, {OTHERWISE}."
        )
    # A version is taken from the repository that is next, and this is no checkout of a user's.
    shutil.rmtree(cloning / ".git")
    cloning.rename(folder)


def main():
    name, folder = sys.argv[1], Path(sys.argv[2]).absolute()
    source = SOURCES[name]
    apt = Path("build/apt").absolute()
    apt.mkdir(parents=True, exist_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    tarball = apt / source.tarball
    if not tarball.exists():
        site = mirror()
        if site is None:
            clone(source, folder)
            return
        fetch(name, source, site, apt)
    check(source, tarball)
    print(f"Unpacking {source.title}", flush=True)
    unpack(tarball, folder)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
