# SPDX-License-Identifier: MIT
"""Lay the patches of patches/ over copies of MicroPython's files: mend.py TREE FOLDER.

FOLDER gets the mended files, by their paths in TREE, and the list `left-out` of the patches that
do not apply: TREE is another release, which has mended that itself or changed the place. A file
is written only if its text is a new one, so that nothing is compiled again without need.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PATCHES = Path(__file__).with_name("patches")


def files_of(patch):
    return re.findall(r"^\+\+\+ b/(\S+)", patch.read_text(), re.MULTILINE)


def applies(patch, folder, *options):
    # Without a repository around it, git takes the paths as they stand.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    command = ["git", "apply", *options, str(patch.resolve())]
    return (
        subprocess.run(command, cwd=folder, env=environment, capture_output=True).returncode == 0
    )


def mend(patch, tree, folder):
    """Patch the copies in the folder; return False, with none of them changed, if that fails."""
    for name in files_of(patch):
        copy = folder / name
        if not copy.exists():
            if not (tree / name).exists():
                return False
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((tree / name).read_bytes())
    return applies(patch, folder)  # all of it or nothing


def put(source, target):
    if not target.exists() or target.read_bytes() != source.read_bytes():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())


def drop_unmended(tree, folder):
    for copy in [path for path in folder.rglob("*") if path.is_file()]:
        if copy.read_bytes() == (tree / copy.relative_to(folder)).read_bytes():
            copy.unlink()


def main():
    tree, target = (Path(argument).resolve() for argument in sys.argv[1:])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch, "mended").resolve()
        folder.mkdir()
        patches = sorted(PATCHES.glob("*.patch"))
        left_out = [patch.stem for patch in patches if not mend(patch, tree, folder)]
        drop_unmended(tree, folder)
        (folder / "left-out").write_text("".join(f"{name}\n" for name in left_out))
        mended = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        for path in [path for path in target.rglob("*") if path.is_file()]:
            if path.relative_to(target) not in mended:
                path.unlink()
        for name in mended:
            put(folder / name, target / name)


if __name__ == "__main__":
    main()
