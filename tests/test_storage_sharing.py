# SPDX-License-Identifier: MIT
"""The ways files come to the board and back: a folder as a disk; see also test_mpremote.py and
test_disks.py, where mpremote and the mtools do it."""

import subprocess

import fat
import pytest
from emulator import ROOT
from terminal import outside_make


def make(*arguments, text=""):
    return subprocess.run(
        ["make", *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=100,
        cwd=ROOT,
        env=outside_make(),
    )


def test_a_folder_becomes_a_disk_that_the_board_reads(tmp_path):
    folder = tmp_path / "a folder"
    (folder / "sub/deeper").mkdir(parents=True)
    (folder / "name with spaces.txt").write_text("first")
    (folder / "sub/deeper/large.bin").write_bytes(bytes(range(256)) * 800)
    image, card = tmp_path / "image.img", tmp_path / "card.img"
    fat.make(card, 8, {})
    result = make("image", f"DIR={folder}", f"IMAGE={image}")
    assert result.returncode == 0, result.stderr
    assert f"make run IMAGE={image}" in result.stdout
    fat.check(image)
    before = image.read_bytes()
    lines = """
print(open('/vdb/name with spaces.txt').read())
print(open('/vdb/sub/deeper/large.bin', 'rb').read() == bytes(range(256)) * 800)
open('/vdb/new', 'w')
"""
    result = make("run", f"DISK={card}", f"IMAGE={image}", text=lines)
    assert "\nfirst\n" in result.stdout and "\nTrue\n" in result.stdout
    assert "EROFS" in result.stdout
    assert image.read_bytes() == before


def test_an_empty_folder_will_do(tmp_path):
    (tmp_path / "empty").mkdir()
    assert make("image", f"DIR={tmp_path}/empty", f"IMAGE={tmp_path}/i.img").returncode == 0
    fat.check(tmp_path / "i.img")


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["image"], "DIR must name one."),
        (["image", "DIR=/nowhere"], "There is no folder /nowhere: DIR must name one."),
        (["image", "DIR=tests", "IMAGE=/dev/null/i.img"], "could not be made: "),
        (["run", "IMAGE=/nowhere.img"], "There is no disk image /nowhere.img: IMAGE must name"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments, sentence):
    result = make(*arguments)
    assert result.returncode != 0
    assert sentence in result.stderr and "Traceback" not in result.stderr
