# SPDX-License-Identifier: MIT
"""docs/learn.md: what it says that one sees is what one sees, and its driver drives a disk."""

import re

import pytest
from bench import instructions
from conftest import INTERFACES
from emulator import ROOT
from test_docs import blocks

PAGE = ROOT / "docs/learn.md"
PLAIN = ROOT / "examples/plain_disk.py"


def shown():
    """The page's Python, each block with the lines that are to be seen of it."""
    text = PAGE.read_text()
    found = re.findall(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```)?", text, re.M | re.S)
    return [(block, seen.splitlines()) for block, seen in found]


def test_the_pages_driver_is_the_examples_and_has_a_hundred_lines():
    code = PLAIN.read_text().partition('"""\n\n')[2].replace("  # noqa: F821", "")
    assert code in [block for block, _ in shown()]
    assert len([line for line in PLAIN.read_text().splitlines() if line]) <= 100


def test_the_instructions_are_those_that_are_kept():
    counts, _ = instructions.kept()
    for text, what, times in (
        ("`PlainDisk.readblocks`", "readblocks of 4 KiB, the plain driver", 1),
        ("`add_notify_wait_pop`", "add_notify_wait_pop of 3", 1),
        ("`Block.readblocks`", "readblocks of 4 KiB", 1),
        ("`Block.readmany`, each of 32", "readmany of 32 times 4 KiB", 32),
    ):
        said = re.search(rf"{re.escape(text)} \| ([\d,]+) \|", PAGE.read_text())[1]
        counted = counts[what][0] / times
        assert abs(int(said.replace(",", "")) - counted) < 0.1 * counted, (text, counted)


@INTERFACES
def test_each_mistake_is_seen_as_the_page_says(start, fat_disk, modern):
    board = start(image="flash", modern=modern, disks=[fat_disk()], net="user")
    board.wait_for_prompt()
    expected = 0
    for block, lines in shown():
        board.type("\x05")
        board.wait_for("=== ")
        board.type(block.replace("\n", "\r") + "\x04")
        output = board.wait_for_prompt().replace("\r", "")
        for line in lines:
            assert line in output.replace(block, ""), output
            expected += 1
    assert expected >= 10


@INTERFACES
def test_the_plain_driver_reads_and_writes_what_the_host_sees(start, tmp_path, modern):
    path = tmp_path / "plain.img"
    path.write_bytes(bytes(range(256)) * 16 * 16)
    board = start(modern=modern, more=[
        "-drive", f"if=none,id=plain,format=raw,file={path}",
        "-device", "virtio-blk-device,drive=plain",
    ])  # fmt: skip
    board.wait_for_prompt()
    board.exec(PLAIN.read_bytes())
    board.exec("""
import virtio
for driver in virtio.opened(): driver.deinit()
transport = [t for t in virtio.scan() if t.device_type == 2][0]
disk = PlainDisk(transport.base)
assert disk.ioctl(4, 0) == 128 and disk.ioctl(5, 0) == 512
data = bytearray(1024)
for n in range(70):  # past the places of the ring
    disk.readblocks(n, data)
    assert data == bytes(range(256)) * 4
disk.writeblocks(3, b"plain!" * 1 + bytes(506))
try:
    disk.readblocks(128, data)
    raise AssertionError("beyond the end")
except OSError:
    pass
transport.reset()
""")
    assert path.read_bytes()[1536:1542] == b"plain!"


@pytest.mark.parametrize("name", ["docs/learn.md", "docs/slow-motion.md"])
def test_the_pages_have_blocks(name):
    assert len(blocks(name, "python")) >= 8
