# SPDX-License-Identifier: MIT
"""What QEMU is asked to be: the firmware, the command line, and QEMU itself."""

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
OLDEST_QEMU = 7, 2
SMALLEST_HEAP, SMALLEST_MEMORY = "8K", "12M"
GET_QEMU = (
    "install it by 'apt install qemu-system-arm' (Debian, Ubuntu), 'dnf install "
    "qemu-system-arm' (Fedora), 'brew install qemu' (macOS), or 'winget install "
    "SoftwareFreedomConservancy.QEMU' (Windows)."
)


class Unusable(Exception):
    """There is no QEMU, or no firmware, to run a board with; str() says what to do."""


class NoFolders(Unusable):
    """This QEMU was built without 9P, as those for Windows are."""


def find_qemu():
    path = os.environ.get("PATH", "")
    if os.name == "nt":  # whose installer does not put it on the PATH
        path += os.pathsep + os.path.expandvars(r"%ProgramFiles%\qemu")
    found = shutil.which("qemu-system-arm", path=path)
    if found is None:
        raise Unusable(f"There is no qemu-system-arm on the PATH: {GET_QEMU}")
    return found


def too_old(version):
    """The sentence for a version of QEMU that is too old, "" for one that is not."""
    if tuple(version[:2]) >= OLDEST_QEMU:
        return ""
    return "qemu-system-arm is version {}.{}, 7.2 is the oldest that will do: {}".format(
        *version[:2], GET_QEMU
    )


def micropython_versions():
    """The releases of MicroPython that are in this package, the usual one first."""
    try:
        return (IMAGES / "versions").read_text().split()
    except FileNotFoundError:
        raise Unusable(f"There is no firmware in {IMAGES}: 'make wheel' puts it into a wheel.")


def firmware(version=None, tracing=False):
    """The firmware of one release, of the usual one if none is named."""
    versions = micropython_versions()
    if version is None:
        version = versions[0]
    if version not in versions:
        raise Unusable(
            f"There is no MicroPython {version} in this package, only {', '.join(versions)}."
        )
    return IMAGES / (f"{version}-settrace.elf" if tracing else f"{version}.elf")


def size(text):
    """Bytes of a size as QEMU writes it: "192K", "8M", "1G", or a plain number."""
    match = re.fullmatch(r"(\d+)([KMG]?)i?B?", str(text).strip(), re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is no size: a number with K, M or G is one, such as 192K")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()]


def heap_size(text):
    return _at_least(SMALLEST_HEAP, text, "heap")


def memory_size(text):
    """The memory of a board, as QEMU takes it."""
    return f"{_at_least(SMALLEST_MEMORY, text, 'memory') >> 20}M"


def _at_least(smallest, text, what):
    given = size(text)
    if given < size(smallest):
        raise ValueError(f"{text} is too little for the board's {what}: {smallest} is the least")
    return given


def escape(path):
    """Double the commas, which separate QEMU's options."""
    return str(path).replace(",", ",,")


@dataclass
class Disk:
    path: Path
    readonly: bool = False
    options: str = ""  # of the device, for example "event_idx=off"


@dataclass
class Folder:
    """A folder of the host's; the board mounts it at its tag, at / where it has no disk."""

    path: Path
    tag: str = "host"
    readonly: bool = False


# QEMU's user network reaches whatever listens on the host, also on its own 127.0.0.1; restricted,
# the board can only be reached.
NETDEVS = {"user": "user", "isolated": "user,restrict=on"}


ANY_PORT = 0  # of the host, which QEMU finds: one found before could be another's by then


def forwarded(usernet):
    """The host's ports that lead to those of the board, of what QEMU's monitor says of them."""
    lines = re.findall(r"\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)", usernet)
    return {int(own): int(host) for host, own in lines}


@dataclass
class Machine:
    """What QEMU is asked to be; disks and devices are found in the order given here."""

    boot: list = field(default_factory=lambda: ["-kernel", firmware()])
    disks: list = field(default_factory=list)
    memory: str = "128M"
    heap: int = 0  # bytes that a program finds free; all of the memory if that is 0
    cpu: str = "cortex-a15"
    modern: bool = True
    folders: list = field(default_factory=list)
    entropy: bool = True
    net: str = ""  # QEMU's netdev, for example "user,restrict=on"; without one there is no network
    net_options: str = ""  # of its device, for example "packed=on"
    ports: dict = field(default_factory=dict)  # of the board, and the host's or ANY_PORT for each
    rom: Path | None = None  # what the second flash bank holds, 64 MiB
    more: list = field(default_factory=list)

    def find_qemu(self):
        return find_qemu()

    def arguments(self):
        words = ["-M", "virt", "-cpu", self.cpu, "-m", self.memory]
        words += ["-display", "none", *self.boot]
        if self.modern:
            words += ["-global", "virtio-mmio.force-legacy=false"]
        if self.rom:
            words += ["-drive", f"if=pflash,unit=1,format=raw,file={escape(self.rom)}"]
        if self.heap:
            words += ["-fw_cfg", f"name=opt/org.micropython/heap,string={self.heap}"]
        for number, disk in enumerate(self.disks):
            words += ["-drive", drive(number, disk)]
            options = f",{disk.options}" if disk.options else ""
            words += ["-device", f"virtio-blk-device,drive=disk{number}{options}"]
        if self.entropy:
            words += ["-device", "virtio-rng-device"]
        for folder in self.folders:
            words += share(folder)
        words += self.network()
        return [str(word) for word in words + self.more]

    def network(self):
        if not self.net:
            return ["-nic", "none"]  # without this QEMU adds a card on PCI
        options = f",{self.net_options}" if self.net_options else ""
        card = f"virtio-net-device,netdev=net{options}"
        kind, _, rest = self.net.partition(",")
        words = [kind, "id=net", *([rest] if rest else [])]
        words += [f"hostfwd=tcp:127.0.0.1:{host}-:{own}" for own, host in self.ports.items()]
        return ["-netdev", ",".join(words), "-device", card]


def drive(number, disk):
    readonly = "on" if disk.readonly else "off"
    return f"if=none,id=disk{number},format=raw,readonly={readonly},file={escape(disk.path)}"


def share(folder):
    # Files are made as the user who runs QEMU; the other models need more rights, or hide links.
    readonly = ",readonly=on" if folder.readonly else ""
    server = f"local,id={folder.tag},security_model=none{readonly},path={escape(folder.path)}"
    card = f"virtio-9p-device,fsdev={folder.tag},mount_tag={folder.tag}"
    return ["-fsdev", server, "-device", card]
