# SPDX-License-Identifier: MIT
"""Another system in the same QEMU, to compare with: fetched from Debian, spoken to by its console.

Packages come from the mirror that this machine's apt uses already, with lists of their own under
build/, as tools/source.py fetches MicroPython's source. Nothing is installed.
"""

import os
import re
import select
import shutil
import subprocess
import time

import source
import step
from emulator import QEMU

SUITE = "bookworm"


class Unavailable(Exception):
    """The guest cannot be had, or does not do what it should; str() says why."""


def options(apt, site):
    """Write the private source list, and return the options that make apt use nothing else."""
    for path in (apt / "sources", apt / "lists/partial", apt / "cache/archives/partial"):
        path.mkdir(parents=True, exist_ok=True)
    lines = ["Types: deb", f"URIs: {site}", f"Suites: {SUITE}", "Components: main"]
    lines += ["Architectures: armhf"]
    lines += [f"Signed-By: {key}" for key in source.KEYRINGS if key.exists()][:1]
    (apt / "sources/debian.sources").write_text("\n".join(lines) + "\n")
    settings = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": apt / "sources",
        "Dir::State::Lists": apt / "lists",
        "Dir::State::Status": "/dev/null",
        "Dir::Cache": apt / "cache",
        "APT::Architecture": "armhf",
        "APT::Architectures": "armhf",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
    }
    return [f"-o{name}={value}" for name, value in settings.items()]


def fetch(name, folder, choose):
    """Leave unpacked packages in folder/root; `choose`, given apt's options, says which."""
    log = f"build/log/{folder.name}.log"
    site = shutil.which("apt-get") and shutil.which("dpkg-deb") and source.mirror()
    if not site:
        raise Unavailable("no apt with a Debian mirror here")
    apt = options(folder / "apt", site)
    script = 'cd "$1" && shift && apt-get "$@"'
    update = ["apt-get", *apt, "update"]
    if not step.run(f"Fetching {name}'s package lists", update, log):
        raise Unavailable(f"its packages could not be fetched, see {log}")
    download = ["sh", "-c", script, "sh", str(folder), *apt, "download", *choose(apt)]
    if not step.run(f"Fetching {name}", download, log):
        raise Unavailable(f"its packages could not be fetched, see {log}")
    # Renamed into place: the folder exists only when it is whole.
    unpacking = folder / "unpacking"
    shutil.rmtree(unpacking, ignore_errors=True)
    for package in folder.glob("*.deb"):
        if not step.run(f"Unpacking {package.name}", ["dpkg-deb", "-x", package, unpacking], log):
            raise Unavailable(f"{package.name} could not be unpacked")
        package.unlink()
    shutil.rmtree(folder / "root", ignore_errors=True)
    unpacking.rename(folder / "root")
    shutil.rmtree(folder / "apt")


class Guest:
    """A system with a command line on its console. Use it in a with statement."""

    def __init__(self, arguments):
        command = [*QEMU, *map(str, arguments), "-serial", "stdio", "-monitor", "none"]
        started = time.monotonic()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        try:
            self.boot()
        except BaseException:
            self.close()
            raise
        self.booted = time.monotonic() - started

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def boot(self):
        """Return when the guest takes commands."""
        raise NotImplementedError

    def close(self):
        self.process.kill()
        self.process.wait()

    def type(self, text):
        try:
            self.process.stdin.write(text.encode())
        except BrokenPipeError:
            raise Unavailable("its QEMU has ended") from None

    def read_to(self, mark, seconds):
        """Return what it prints, up to and with a match of the regular expression."""
        output = b""
        end = time.monotonic() + seconds
        while not re.search(mark.encode(), output, re.MULTILINE):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Unavailable(f"no answer: {output[-300:].decode(errors='replace')}")
            data = os.read(self.process.stdout.fileno(), 4096)
            if not data:
                raise Unavailable(f"it ended: {output[-300:].decode(errors='replace')}")
            output += data
        return output.decode(errors="replace")

    def run(self, line, seconds=120):
        """Run a line of the guest's shell and return what it printed."""
        # The marks in quotes: should the guest echo the line, it is not taken for its output.
        self.type(f"echo; echo 'begin''ning'; {line}; echo; echo 'en''d'\n")
        output = self.read_to(r"^end\r?\n", seconds).replace("\r", "")
        return output.rpartition("beginning\n")[2].rpartition("end\n")[0].strip()
