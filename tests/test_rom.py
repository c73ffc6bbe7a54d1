# SPDX-License-Identifier: MIT
"""The ROM filesystem in the machine's second flash bank."""

import hashlib
import os
import random

import fat
import pytest
from emulator import ROOT, BoardError
from test_run import make

SIZE = 64 << 20
BLOCK = 256 << 10
MODULE = "def answer():\n    return 42\n"


@pytest.fixture
def rom(tmp_path):
    path = tmp_path / "rom.img"
    path.touch()
    os.truncate(path, SIZE)
    return path


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "content"
    (path / "lib").mkdir(parents=True)
    (path / "in_rom.py").write_text(MODULE)
    (path / "lib/below.py").write_text("from in_rom import answer\n")
    (path / "data.bin").write_bytes(random.Random(1).randbytes(20_001))
    return path


USE = """
import os, sys
from below import answer
assert answer() == 42 and '/rom/lib' in sys.path
import hashlib
print(os.stat('/rom/data.bin')[6], hashlib.sha256(open('/rom/data.bin', 'rb').read()).digest().hex())
"""


def digest(folder):
    content = (folder / "data.bin").read_bytes()
    return f"{len(content)} {hashlib.sha256(content).hexdigest()}"


def started(start, **fields):
    board = start(entropy=False, **fields)
    board.wait_for_prompt()
    return board


def test_what_mpremote_deploys_is_there_after_a_restart(start, rom, folder):
    (folder / "data.bin").write_bytes(random.Random(1).randbytes(BLOCK + 40_001))
    board = started(start, rom=rom)
    assert "Not a valid ROMFS" in board.mpremote("romfs", "query")
    assert "ROMFS image deployed" in board.mpremote("romfs", "deploy", folder, seconds=240)
    assert board.mpremote("exec", USE).strip() == digest(folder)
    board.power_off()
    board = started(start, rom=rom)
    assert "ROMFS image size" in board.mpremote("romfs", "query")
    assert board.exec(USE).strip() == digest(folder)


def test_an_image_that_was_built_is_deployed(start, rom, folder, tmp_path):
    board = started(start, rom=rom)
    board.mpremote("romfs", "-o", tmp_path / "new.romfs", "build", folder)
    board.mpremote("romfs", "deploy", tmp_path / "new.romfs")
    assert board.mpremote("exec", USE).strip() == digest(folder)
    # A second one, in the place of the first.
    (folder / "in_rom.py").write_text(MODULE.replace("42", "43"))
    board.mpremote("romfs", "deploy", folder)
    assert board.mpremote("exec", "import below; print(below.answer())") == "43\n"


def test_without_an_image_it_lasts_as_long_as_the_machine(start, folder):
    board = started(start)
    board.mpremote("romfs", "deploy", folder)
    board.type("import machine; print('re' + 'set'); machine.reset()\r")
    board.wait_for("reset\r\n")
    board.wait_for_prompt()
    assert board.exec(USE).strip() == digest(folder)


def test_a_bank_that_is_read_only_says_so_and_keeps_what_it_has(start, rom, folder):
    board = started(start, rom=rom)
    board.mpremote("romfs", "deploy", folder)
    board.power_off()
    drive = f"if=pflash,unit=1,format=raw,readonly=on,file={rom}"
    board = started(start, more=["-drive", drive])
    with pytest.raises(BoardError, match="EROFS|30"):
        board.mpremote("romfs", "deploy", folder)
    board.soft_reset()
    assert board.exec(USE).strip() == digest(folder)


def test_pieces_of_any_size_are_written_where_they_belong(start, rom):
    pieces, at = [], 0
    numbers = random.Random(2)
    for size in (4, 2040, 2048, 8, 4096, 12, 6000, 2044, 65536):
        pieces.append((at, numbers.randbytes(size)))
        at += size + 4 * numbers.randrange(3)
    board = started(start, rom=rom)
    board.exec(f"import vfs\nassert vfs.rom_ioctl(1) == 1 and vfs.rom_ioctl(6, 0) == {BLOCK}")
    board.exec(f"rom = vfs.rom_ioctl(2, 0)\nassert len(rom) == {SIZE}")
    board.exec(f"assert vfs.rom_ioctl(3, 0, {BLOCK}, {2 * BLOCK}) == 4")
    for offset, data in pieces:
        offset += BLOCK
        board.exec(f"assert vfs.rom_ioctl(4, 0, {offset}, {data!r}) == 0")
    for offset, data in pieces:
        offset += BLOCK
        board.exec(f"assert rom[{offset}:{offset + len(data)}] == {data!r}")
    board.exec("assert vfs.rom_ioctl(5, 0) == 0")
    board.power_off()
    image = rom.read_bytes()
    assert image[:BLOCK] == bytes(BLOCK) and image[3 * BLOCK : 4 * BLOCK] == bytes(BLOCK)
    expected = bytearray(b"\xff" * 2 * BLOCK)
    for offset, data in pieces:
        expected[offset : offset + len(data)] = data
    assert image[BLOCK : 3 * BLOCK] == expected


def test_what_lies_outside_or_across_a_word_is_refused(start, rom):
    board = started(start, rom=rom)
    board.exec(f"""
import vfs
from errno import EINVAL
for arguments in (
    (3, 0, {SIZE + 1}), (3, 0, -1), (3, 0, 4, {BLOCK}), (3, 0, {SIZE}, {BLOCK}),
    (4, 0, {SIZE}, b'1234'), (4, 0, 2, b'1234'), (4, 0, 0, b'123'), (4, 0, -4, b'1234'),
):
    try:
        vfs.rom_ioctl(*arguments)
    except OSError as error:
        assert error.errno == EINVAL
    else:
        assert False, arguments
for arguments in ((2, 1), (2, -1), (3, 0), (4, 0), (4, 0, 0), (7, 0), (0,), (2,)):
    assert vfs.rom_ioctl(*arguments) == -EINVAL, arguments
""")
    board.power_off()
    assert rom.read_bytes() == bytes(SIZE)


def test_a_program_cannot_write_to_it(start, rom, folder):
    board = started(start, rom=rom)
    board.mpremote("romfs", "deploy", folder)
    board.soft_reset()
    board.exec("""
import machine
from errno import EFAULT
for value in (0x00ff00ff, 0x00200020, 0):
    try:
        machine.mem32[0x04000000] = value
    except OSError as error:
        assert error.errno == EFAULT
    else:
        assert False
""")
    assert board.exec(USE).strip() == digest(folder)


def test_an_interrupt_reads_it_while_it_is_written(start, rom):
    """A hard handler never sees the bank's status in the place of its content."""
    board = start(rom=rom)
    board.wait_for_prompt()
    board.exec(f"""
import board, vfs, virtio
rom = vfs.rom_ioctl(2, 0)
vfs.rom_ioctl(3, 0, {BLOCK})
vfs.rom_ioctl(4, 0, 0, b'\\xa5' * 4096)
wrong = calls = 0
def handler(line):
    global wrong, calls
    calls += 1
    if rom[0] != 0xa5 or rom[4095] != 0xa5:
        wrong += 1
    rng.transport.ack_interrupt()
rng = virtio.Rng(0)
queue = rng.queues[0]
queue.set_dev_notify(True)
line = board.Interrupt(rng.transport.intid)
line.irq(handler, hard=True)
data, piece = bytearray(4), bytes(65536)
for n in range(200):
    token = queue.add([], [data])
    vfs.rom_ioctl(3, 0, {BLOCK}, {BLOCK})
    rng.transport.notify(0)
    vfs.rom_ioctl(4, 0, {BLOCK}, piece)
    while not queue.can_pop():
        pass
    queue.pop_used(token)
line.irq(None)
rng.deinit()
assert calls >= 200 and not wrong, (calls, wrong)
""")


def test_make_run_and_make_repl_keep_it(rom, folder, tmp_path):
    card = tmp_path / "card.img"
    fat.make(card, 8, {})
    arguments = f"DISK={card}", f"ROM={rom}"
    result = make(*arguments, f"MPREMOTE=romfs deploy {folder}", what="repl")
    assert result.returncode == 0, result.stderr
    result = make(*arguments, text="import below; print(below.answer())\n")
    assert "\n42\n" in result.stdout
    result = make(f"DISK={card}", "ROM=nowhere.img")
    assert result.returncode != 0 and "no image nowhere.img" in result.stderr
    result = make(*arguments, f"ROM={card}")
    assert result.returncode != 0 and "an image of the ROM has" in result.stderr


def test_a_second_board_has_a_ROM_of_its_own(start, tmp_path):
    card = tmp_path / "card.img"
    fat.make(card, 8, {})
    result = make(f"DISK={card}")
    assert result.returncode == 0, result.stderr
    started(start, rom=ROOT / "build/rom.img")
    result = make(f"DISK={card}", text="print(6 * 7)\n")
    assert result.returncode == 0 and "\n42\n" in result.stdout
    assert "is not kept" in result.stdout
