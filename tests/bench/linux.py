# SPDX-License-Identifier: MIT
"""The Linux guest: Debian's armhf kernel and static busybox in an initramfs made here.

Both come from the mirror that this machine's apt uses already, with lists of their own under
build/, as tools/source.py fetches MicroPython's source. Nothing is installed.
"""

import gzip
import lzma
import os
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import source
import step
from emulator import QEMU, ROOT

FOLDER = ROOT / "build/linux"
SUITE = "bookworm"
LOG = "build/log/linux.log"
MODULES = ["virtio", "virtio_ring", "virtio_mmio", "virtio_blk", "rng-core", "virtio-rng"]
MODULES += ["fat", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1", "crc-t10dif"]
INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module 2>/dev/null; done
stty -echo
echo ready
PS1= exec sh
"""


class Unavailable(Exception):
    """There is no Linux guest to be had; str() says why."""


def options(site):
    """Write the private source list, and return the options that make apt use nothing else."""
    parts = FOLDER / "apt/sources"
    for path in (parts, FOLDER / "apt/lists/partial", FOLDER / "apt/cache/archives/partial"):
        path.mkdir(parents=True, exist_ok=True)
    lines = ["Types: deb", f"URIs: {site}", f"Suites: {SUITE}", "Components: main"]
    lines += ["Architectures: armhf"]
    lines += [f"Signed-By: {key}" for key in source.KEYRINGS if key.exists()][:1]
    (parts / "debian.sources").write_text("\n".join(lines) + "\n")
    settings = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": parts,
        "Dir::State::Lists": FOLDER / "apt/lists",
        "Dir::State::Status": "/dev/null",
        "Dir::Cache": FOLDER / "apt/cache",
        "APT::Architecture": "armhf",
        "APT::Architectures": "armhf",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
    }
    return [f"-o{name}={value}" for name, value in settings.items()]


def fetch():
    """Leave the unpacked packages in FOLDER/root."""
    site = shutil.which("apt-get") and shutil.which("dpkg-deb") and source.mirror()
    if not site:
        raise Unavailable("no apt with a Debian mirror here")
    apt = options(site)
    if not step.run("Fetching the Linux guest's package lists", ["apt-get", *apt, "update"], LOG):
        raise Unavailable(f"its packages could not be fetched, see {LOG}")
    shown = subprocess.run(
        ["apt-cache", *apt, "show", "linux-image-armmp"], capture_output=True, text=True
    ).stdout
    kernel = re.search(r"linux-image-[\w.+-]*-armmp", shown.partition("Depends:")[2])
    if kernel is None:
        raise Unavailable("the mirror has no armhf kernel")
    script = 'cd "$1" && shift && apt-get "$@"'
    command = [
        "sh",
        "-c",
        script,
        "sh",
        str(FOLDER),
        *apt,
        "download",
        kernel[0],
        "busybox-static",
    ]
    if not step.run("Fetching the Linux guest's kernel and busybox", command, LOG):
        raise Unavailable(f"its packages could not be fetched, see {LOG}")
    root = FOLDER / "root"
    shutil.rmtree(root, ignore_errors=True)
    for package in FOLDER.glob("*.deb"):
        if not step.run(f"Unpacking {package.name}", ["dpkg-deb", "-x", package, root], LOG):
            raise Unavailable(f"{package.name} could not be unpacked")
        package.unlink()
    shutil.rmtree(FOLDER / "apt")


def entry(name, mode, content=b"", device=(0, 0)):
    """One file of a cpio archive in the format that the kernel reads."""
    name = name.encode() + b"\0"
    fields = [0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0]
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    pad = b"\0" * (-len(head) % 4)
    return head + pad + content + b"\0" * (-len(content) % 4)


def modules(root):
    """(file name, content) of each module that is not built in, and what it depends on first."""
    (folder,) = (root / "lib/modules").iterdir()
    found = {}
    for path in folder.rglob("*.ko*"):
        name = path.name.partition(".")[0].replace("-", "_")
        found[name] = path
    for name in MODULES:
        path = found.get(name.replace("-", "_"))
        if path is not None:
            content = path.read_bytes()
            if path.suffix == ".xz":
                content = lzma.decompress(content)
            elif path.suffix == ".gz":
                content = gzip.decompress(content)
            yield name + ".ko", content


def make_initramfs(root, path):
    directory, file, link = 0o040755, 0o100755, 0o020600
    parts = [entry(name, directory) for name in ("bin", "dev", "proc", "sys", "mnt", "modules")]
    parts.append(entry("dev/console", link, device=(5, 1)))
    parts.append(entry("bin/busybox", file, next(root.glob("**/bin/busybox")).read_bytes()))
    parts.append(entry("init", file, INIT.encode()))
    order = []
    for name, content in modules(root):
        parts.append(entry("modules/" + name, file, content))
        order.append(name)
    parts.append(entry("modules/order", file, ("\n".join(order) + "\n").encode()))
    parts.append(entry("TRAILER!!!", 0))
    path.write_bytes(b"".join(parts))


def images():
    """-> the kernel, the initramfs. Raises Unavailable."""
    initramfs = FOLDER / "initramfs"
    if not (FOLDER / "root/boot").exists():
        fetch()
    if not initramfs.exists():
        make_initramfs(FOLDER / "root", initramfs.with_suffix(".new"))
        initramfs.with_suffix(".new").rename(initramfs)
    return next((FOLDER / "root/boot").glob("vmlinuz-*")), initramfs


class Guest:
    """A Linux guest with a shell on its console. Use it in a with statement."""

    def __init__(self, arguments):
        kernel, initramfs = images()
        command = [*QEMU, *arguments, "-serial", "stdio", "-monitor", "none"]
        command += ["-kernel", kernel, "-initrd", initramfs]
        command += ["-append", "console=ttyAMA0 quiet mitigations=off"]
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        try:
            self.read_to("ready", 120)
        except BaseException:
            self.close()
            raise
        self.booted = time.monotonic() - self.started

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.process.kill()
        self.process.wait()

    def read_to(self, mark, seconds):
        output = b""
        end = time.monotonic() + seconds
        while not re.search(rf"^{mark}\r?\n".encode(), output, re.MULTILINE):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Unavailable(f"no answer: {output[-300:].decode(errors='replace')}")
            data = os.read(self.process.stdout.fileno(), 4096)
            if not data:
                raise Unavailable(f"it ended: {output[-300:].decode(errors='replace')}")
            output += data
        return output.decode(errors="replace")

    def run(self, line, seconds=120):
        """Run a line of shell and return what it printed."""
        # The marks in quotes: should the guest echo the line, it is not taken for its output.
        text = f"echo; echo 'begin''ning'; {line}; echo; echo 'en''d'\n"
        self.process.stdin.write(text.encode())
        output = self.read_to("end", seconds).replace("\r", "")
        return output.rpartition("beginning\n")[2].rpartition("end\n")[0].strip()

    def microseconds(self, line, seconds=120):
        """How long a command takes, to the hundredth of a second that the guest tells."""
        output = self.run(f"time {line}", seconds)
        took = re.search(r"real\s+(\d+)m ([\d.]+)s", output)
        if took is None:
            raise Unavailable(f"{line}: {output.strip()}")
        return (60 * int(took[1]) + float(took[2])) * 1e6
