# SPDX-License-Identifier: MIT
"""The Linux guest: Debian's armhf kernel and static busybox in an initramfs made here.

Beside busybox there is one program of our own in it, linux_io.c.
"""

import gzip
import lzma
import re
import subprocess
from pathlib import Path

import step
from bench import guest
from bench.guest import Unavailable
from emulator import ROOT

FOLDER = ROOT / "build/linux"
LOG = "build/log/linux.log"
IO = Path(__file__).with_name("linux_io.c")
COMPILER = ["arm-none-eabi-gcc", "-mcpu=cortex-a15", "-O2", "-ffreestanding"]
COMPILER += ["-Wall", "-Wextra", "-Werror", "-nostdlib", "-static"]
MODULES = ["virtio", "virtio_ring", "virtio_mmio", "virtio_blk", "rng-core", "virtio-rng"]
MODULES += ["failover", "net_failover", "virtio_net"]
MODULES += ["fat", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1", "crc-t10dif"]
MODULES += ["netfs", "fscache", "9pnet", "9pnet_virtio", "9p"]
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


def packages(apt):
    """What to fetch: the kernel that Debian means at present, and busybox."""
    shown = subprocess.run(
        ["apt-cache", *apt, "show", "linux-image-armmp"], capture_output=True, text=True
    ).stdout
    kernel = re.search(r"linux-image-[\w.+-]*-armmp", shown.partition("Depends:")[2])
    if kernel is None:
        raise Unavailable("the mirror has no armhf kernel")
    return [kernel[0], "busybox-static"]


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


def compiled(path):
    if not step.run(f"Compiling {IO.name}", [*COMPILER, "-o", path, IO], LOG):
        raise Unavailable(f"{IO.name} could not be compiled, see {LOG}")
    return path.read_bytes()


def make_initramfs(root, path):
    directory, file, link = 0o040755, 0o100755, 0o020600
    parts = [entry(name, directory) for name in ("bin", "dev", "proc", "sys", "mnt", "modules")]
    parts.append(entry("dev/console", link, device=(5, 1)))
    parts.append(entry("bin/busybox", file, next(root.glob("**/bin/busybox")).read_bytes()))
    parts.append(entry("bin/io", file, compiled(path.with_name("io"))))
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
    if not (FOLDER / "root").exists():
        guest.fetch("the Linux guest", FOLDER, packages)
    sources = max(path.stat().st_mtime for path in (IO, Path(__file__)))
    if not initramfs.exists() or initramfs.stat().st_mtime < sources:
        make_initramfs(FOLDER / "root", initramfs.with_suffix(".new"))
        initramfs.with_suffix(".new").rename(initramfs)
    return next((FOLDER / "root/boot").glob("vmlinuz-*")), initramfs


class Guest(guest.Guest):
    """A Linux guest with a shell on its console."""

    def __init__(self, arguments):
        kernel, initramfs = images()
        more = ["-kernel", kernel, "-initrd", initramfs]
        super().__init__([*arguments, *more, "-append", "console=ttyAMA0 quiet mitigations=off"])

    def boot(self):
        self.read_to(r"^ready\r?\n", 120)

    def io(self, path, action, *arguments):
        """Microseconds a request, by linux_io.c."""
        line = " ".join(map(str, ("io", path, action, *arguments, "2>/dev/null")))
        output = self.run(line)
        try:
            took, count = (int(word, 16) for word in output.split())
        except ValueError:
            raise Unavailable(f"{line}: {output}") from None
        return took / 1000 / count
