# SPDX-License-Identifier: MIT
"""The board starts in every machine that users make of it."""

import errno
import subprocess
from dataclasses import dataclass

import pytest
from conftest import INTERFACES
from emulator import IMAGES, QEMU, Board, Ended, Folder, Machine, Raised, built

ROUND_TRIP = """
import os
with open('/written.txt', 'w') as file:
    file.write('by the board')
print(open('/hello.txt').read(), open('/written.txt').read())
"""
DRAW = "import virtio; print(len(set(virtio.Rng(0).read(4096))))"


def check_disk_and_entropy(board):
    assert board.exec(ROUND_TRIP) == "hello by the board\n"
    assert int(board.exec(DRAW)) == 256


@INTERFACES
@pytest.mark.parametrize("image", ["elf", "bios", "flash"])
def test_every_image_boots_and_drives_disk_and_entropy(start, fat_disk, image, modern):
    disk = fat_disk({"hello.txt": b"hello"})
    board = start(image=image, modern=modern, disks=[disk])
    banner = board.wait_for_prompt()
    assert "MicroPython" in banner
    check_disk_and_entropy(board)


@INTERFACES
@pytest.mark.parametrize("cpu", ["cortex-a7", "cortex-a15"])
def test_every_cpu_drives_disk_and_entropy(start, fat_disk, cpu, modern):
    board = start(cpu=cpu, modern=modern, disks=[fat_disk({"hello.txt": b"hello"})])
    board.wait_for_prompt()
    check_disk_and_entropy(board)


@INTERFACES
@pytest.mark.parametrize("memory", [64, 128, 2048])
def test_heap_takes_the_memory_and_devices_reach_it(start, fat_disk, memory, modern):
    """In 2 GiB the last buffers lie beyond 0x80000000: addresses are unsigned."""
    disk = fat_disk({"hello.txt": b"hello"})
    board = start(image="flash", modern=modern, memory=f"{memory}M", disks=[disk])
    board.wait_for_prompt()
    board.exec(f"size = {memory} << 16")
    code = """
import gc, uctypes, virtio
gc.disable()  # a collection looks through every piece, which takes long
pieces = [bytearray(size) for _ in range(10)]
last = max(uctypes.addressof(piece) for piece in pieces) + size - 4096
page = uctypes.bytearray_at(last, 4096)
rng = virtio.Rng(0)
rng.readinto(page)
rng.deinit()
print(last, len(set(page)))
"""
    last, values = map(int, board.exec(code, 60).split())
    # Ten sixteenths of the memory were taken, so the last of them lies at least that high.
    assert last > 0x40000000 + memory * (1 << 20) * 9 // 16
    assert values == 256
    board.exec("del pieces")
    check_disk_and_entropy(board)


@INTERFACES
def test_second_disk_is_at_vdb(start, fat_disk, modern):
    disks = [fat_disk({"name.txt": b"first"}), fat_disk({"name.txt": b"second"})]
    board = start(modern=modern, disks=disks)
    board.wait_for_prompt()
    code = "print(open('/name.txt').read(), open('/vdb/name.txt').read())"
    assert board.exec(code) == "first second\n"


@INTERFACES
def test_no_disk_is_a_prompt(start, modern):
    board = start(modern=modern)
    board.wait_for_prompt()
    with pytest.raises(Raised, match="ENODEV"):
        board.exec("import virtio; virtio.Block(0)")
    assert int(board.exec(DRAW)) == 256


@INTERFACES
def test_no_entropy_device_is_enodev(start, fat_disk, modern):
    board = start(modern=modern, disks=[fat_disk()], entropy=False)
    board.wait_for_prompt()
    code = """
import virtio
try:
    virtio.Rng(0)
except OSError as error:
    print(error.errno)
"""
    assert int(board.exec(code)) == errno.ENODEV


def test_no_device_at_all_is_a_prompt(start):
    board = start(entropy=False)
    board.wait_for_prompt()
    assert board.exec("import virtio; print(virtio.scan())") == "[]\n"


@INTERFACES
def test_devices_come_in_the_order_of_the_command_line(start, fat_disk, modern):
    """QEMU fills the last slot first."""
    board = start(modern=modern, disks=[fat_disk(), fat_disk()])
    board.wait_for_prompt()
    code = "import virtio; print([t.device_type for t in virtio.scan()])"
    assert board.exec(code) == "[2, 2, 4]\n"


def test_hard_reset_starts_again(start, fat_disk):
    board = start(image="flash", disks=[fat_disk({"hello.txt": b"hello"})])
    board.wait_for_prompt()
    board.type("x = 1; import machine; machine.reset()\r")
    board.wait_for("MicroPython")
    board.wait_for_prompt()
    assert board.exec("print('x' in globals())") == "False\n"
    check_disk_and_entropy(board)


def test_power_off_ends_qemu(start, fat_disk):
    board = start(disks=[fat_disk()])
    board.wait_for_prompt()
    board.power_off()
    assert board.process.returncode == 0


DEVICES_BY_TYPE = "import virtio; print([t.device_type for t in virtio.scan()])"
ENTROPY = ["-device", "virtio-rng-device"]


def binary_as_linux():
    return ["-kernel", built("firmware.bin")]


def loaded_by_device():
    return ["-device", f"loader,file={built('firmware.elf')},cpu-num=0"]


@dataclass
class Bare(Machine):
    """A machine by its own words: kind, image and more."""

    kind: str = "virt"

    def arguments(self):
        words = ["-M", self.kind, "-m", self.memory, "-display", "none", "-nic", "none"]
        return [str(word) for word in [*words, *ENTROPY, *self.more]]


WORK = {
    "hypervisor": ("virt,virtualization=on", IMAGES["elf"]),
    "hypervisor, flash": ("virt,virtualization=on", IMAGES["flash"]),
    "secure": ("virt,secure=on", IMAGES["elf"]),
    "secure, bios": ("virt,secure=on", IMAGES["bios"]),
    "secure and hypervisor": ("virt,secure=on,virtualization=on", IMAGES["elf"]),
    "as Linux": ("virt", binary_as_linux),
    "as Linux, hypervisor": ("virt,virtualization=on", binary_as_linux),
    "loader": ("virt", loaded_by_device),
    "no highmem": ("virt,highmem=off", IMAGES["elf"]),
    "oldest": ("virt-2.6", IMAGES["elf"]),
}


@pytest.mark.parametrize("name", WORK)
def test_every_kind_of_start_has_devices_timers_reset_and_power_off(name):
    kind, image = WORK[name]
    with Board(Bare(kind=kind, more=image())) as board:
        board.wait_for_prompt()
        board.type("import machine; machine.reset()\r")
        board.wait_for("MicroPython")
        board.wait_for_prompt()
        check_timer_and_devices(board)
        assert board.exec("print(machine.reset_cause() == machine.HARD_RESET)") == "True\n"
        board.power_off()
        assert board.process.returncode == 0


def check_timer_and_devices(board):
    code = """
import machine
fired = []
timer = machine.Timer(mode=machine.Timer.ONE_SHOT, period=1, callback=fired.append)
while not fired:
    machine.idle()
"""
    board.exec(code)
    assert board.exec(DEVICES_BY_TYPE) == "[4]\n"


@pytest.mark.parametrize("processors", ["-smp 8", "-cpu max", "-cpu cortex-a7 -smp 2"])
def test_every_processor_is_a_prompt(processors):
    with Board(Bare(more=[*processors.split(), *IMAGES["elf"]()])) as board:
        board.wait_for_prompt()
        check_timer_and_devices(board)


def test_a_device_tree_of_a_mebibyte(tmp_path):
    """QEMU makes room for twice its size."""
    blob = tmp_path / "virt.dtb"
    command = [*QEMU, "-M", f"virt,dumpdtb={blob}", "-nic", "none"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert blob.stat().st_size >= 1 << 20
    more = ["-dtb", blob, *IMAGES["elf"]()]
    with Board(Bare(more=more)) as board:
        board.wait_for_prompt()
        check_timer_and_devices(board)


ENDS = {
    "gic": ("virt,gic-version=3", "128M", IMAGES["elf"], "start it with -M virt,gic-version=2"),
    "memory": ("virt", "8M", IMAGES["elf"], "start it with -m 12M or more"),
    "memory, bios": ("virt", "8M", IMAGES["bios"], "start it with -m 12M or more"),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_machine_that_cannot_work_says_why_and_ends(name):
    kind, memory, image, why = ENDS[name]
    with Board(Bare(kind=kind, memory=memory, more=image())) as board:
        with pytest.raises(Ended) as ended:
            board.wait_for_prompt()
        lines = board.log.read_text().strip().splitlines()
        assert len(lines) == 1 and why in lines[0], ended.value


def test_the_smallest_machine_works():
    with Board(Bare(memory="12M", more=IMAGES["elf"]())) as board:
        board.wait_for_prompt()
        check_timer_and_devices(board)
        assert int(board.exec("import gc; gc.collect(); print(gc.mem_free())")) > 1 << 20


@pytest.mark.parametrize("image", ["elf", "bios"])
def test_devices_on_pci_are_named_once(fat_disk, image):
    """Their configuration space lies beyond 4 GiB in a machine without firmware in flash."""
    more = ["-drive", f"if=virtio,format=raw,file={fat_disk().path}"]
    more += ["-device", "virtio-rng-pci", "-device", "virtio-rng-pci"]
    with Board(Bare(more=more + IMAGES[image]())) as board:
        said = board.wait_for_prompt()
        for kind in ("blk", "rng"):
            line = f"virtio-{kind}-pci is not driven here: use -device virtio-{kind}-device\r\n"
            assert said.count(line) == 1
        assert board.exec(DEVICES_BY_TYPE) == "[4]\n"


@pytest.mark.parametrize("heap", [16 << 10, 48 << 10, 50_001, 1 << 20])
def test_a_limited_heap_is_free_in_one_piece(fat_disk, tmp_path, heap):
    folder = Folder(tmp_path, "host")
    machine = Machine(disks=[fat_disk()], folders=[folder], heap=heap, net="user")
    with Board(machine) as board:
        board.wait_for_prompt()
        free = int(board.exec("import gc; gc.collect(); print(gc.mem_free())"))
        assert heap - 4096 < free <= heap + 16
        board.exec(f"bytearray({heap // 2})")
