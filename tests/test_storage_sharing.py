# SPDX-License-Identifier: MIT
"""The three ways files come to the board and back, as the README has them; what else mpremote and
the filesystems do is in test_mpremote.py and test_disks.py."""

import subprocess

import fat
import pytest
import run
from emulator import ROOT
from terminal import outside_make


BOTH = pytest.mark.parametrize("modern", ["MODERN=0", "MODERN=1"], ids=["legacy", "modern"])
WAYS = ("make repl MPREMOTE=", "mcopy -i build/disk.img main.py ::", "make image DIR=folder")


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


@pytest.fixture
def card(tmp_path):
    fat.make(tmp_path / "card.img", 8, {"hello.txt": b"Hello.\n"})
    return tmp_path / "card.img"


@BOTH
def test_mpremote_copies_both_ways_while_the_board_runs(card, tmp_path, modern):
    (tmp_path / "there.txt").write_text("There.\n")
    words = f"cp {tmp_path}/there.txt : + cp :hello.txt {tmp_path}/back.txt"
    result = make("repl", f"DISK={card}", modern, f"MPREMOTE={words}")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "back.txt").read_bytes() == b"Hello.\n"
    fat.check(card)
    assert fat.read(card, "there.txt") == b"There.\n"


@BOTH
def test_mtools_copy_both_ways_while_the_board_is_off(card, tmp_path, modern):
    program = "with open('/made.txt', 'w') as file:\n    file.write('main.py ran')\n"
    (tmp_path / "main.py").write_text(program)
    fat.tool("mcopy", "-i", card, tmp_path / "main.py", "::")
    result = make("run", f"DISK={card}", modern)
    assert result.returncode == 0, result.stderr
    fat.check(card)
    assert fat.read(card, "made.txt") == b"main.py ran"


@BOTH
def test_a_folder_becomes_a_disk_that_the_board_reads(card, tmp_path, modern):
    folder = tmp_path / "a folder"
    (folder / "sub/deeper").mkdir(parents=True)
    (folder / "name with spaces.txt").write_text("first")
    (folder / "sub/deeper/large.bin").write_bytes(bytes(range(256)) * 800)
    image = tmp_path / "image.img"
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
    result = make("run", f"DISK={card}", f"IMAGE={image}", modern, text=lines)
    assert "\nfirst\n" in result.stdout and "\nTrue\n" in result.stdout
    assert "EROFS" in result.stdout
    assert image.read_bytes() == before


@BOTH
def test_a_folder_may_have_many_long_names_at_its_top(card, tmp_path, modern):
    (tmp_path / "many").mkdir()
    name = "a file whose name takes four entries, {:03}"
    for number in range(400):
        (tmp_path / "many" / name.format(number)).write_text(str(number))
    image = tmp_path / "image.img"
    result = make("image", f"DIR={tmp_path}/many", f"IMAGE={image}")
    assert result.returncode == 0, result.stderr
    fat.check(image)
    line = f"""import os; print(len(os.listdir('/vdb')), \
[open('/vdb/{name}'.format(n)).read() for n in (0, 200, 399)])
"""
    result = make("run", f"DISK={card}", f"IMAGE={image}", modern, text=line)
    assert "\n400 ['0', '200', '399']\n" in result.stdout


def test_the_card_that_make_run_makes_names_the_three_ways():
    text = run.README.decode()
    assert all(f"\n    {command}" in text for command in WAYS), text
    readme = (ROOT / "README.md").read_text()
    assert all(f"\n{command}" in readme for command in WAYS)


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


@pytest.mark.parametrize(
    "names, sentence",
    [
        (["a.txt", "A.txt"], "FAT takes one of a.txt and A.txt for the other."),
        (["a:b"], "FAT has no such name as a:b."),
        (["con"], "mcopy: exit code 1."),
    ],
)
def test_a_name_that_FAT_cannot_hold_is_one_sentence(tmp_path, names, sentence):
    (tmp_path / "names").mkdir()
    for name in names:
        (tmp_path / "names" / name).touch()
    result = make("image", f"DIR={tmp_path}/names", f"IMAGE={tmp_path}/i.img")
    (line, _) = result.stderr.splitlines()  # and make's own
    assert line == f"The image {tmp_path}/i.img could not be made: {sentence}"
    assert not (tmp_path / "i.img").exists()


def test_what_a_tool_says_for_every_file_is_said_once(tmp_path):
    paths = [tmp_path / f"a name that takes three entries {number}" for number in range(300)]
    for path in paths:
        path.touch()
    fat.make(tmp_path / "i.img", 2, {})
    with pytest.raises(OSError, match=r"^mcopy: No directory slots$"):
        fat.tool("mcopy", "-i", tmp_path / "i.img", *paths, "::")
