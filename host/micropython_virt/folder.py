# SPDX-License-Identifier: MIT
"""A folder of this computer, as a disk that the board finds at /host."""

import os
from pathlib import Path

from . import fat

POINT = "/host"
MIB = 1 << 20
MOST_BYTES = 512 * MIB
MOST_FILES = 50000


class TooMuch(Exception):
    """The folder holds more than a board is given; str() says what to do."""


def tree(folder):
    """Return the tree of a folder, and the names that were left out because FAT has no such.

    Also left out is what a program does not look for: names that begin with a dot, caches and
    environments of the computer's Python, packages of node, and what is neither file nor folder.
    """
    return _Walk(Path(folder)).result()


class _Walk:
    def __init__(self, top):
        self.top = top
        self.files = self.bytes = 0
        self.left_out = []
        self.inside = set()  # the folders above, so that a link to one of them ends

    def result(self):
        return self.folder(self.top), self.left_out

    def folder(self, path):
        real = os.path.realpath(path)
        if real in self.inside:
            return {}
        self.inside.add(real)
        found, taken = {}, set()
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError:
            entries = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name in ("__pycache__", "node_modules"):
                continue
            if not (entry.is_file() or entry.is_dir()):
                continue
            if entry.is_dir() and os.path.exists(os.path.join(entry.path, "pyvenv.cfg")):
                continue
            if not fat.name_fits(entry.name) or entry.name.lower() in taken:
                self.left_out.append(os.path.relpath(entry.path, self.top))
                continue
            node = self.folder(entry.path) if entry.is_dir() else self.file(entry)
            if node is not None:
                taken.add(entry.name.lower())
                found[entry.name] = node
        self.inside.discard(real)
        return found

    def file(self, entry):
        if not os.access(entry.path, os.R_OK):
            return None
        self.files += 1
        self.bytes += entry.stat().st_size
        if self.files > MOST_FILES or self.bytes > MOST_BYTES:
            raise TooMuch(
                f"{self.top} holds more than {MOST_FILES} files or {MOST_BYTES // MIB} MiB, too "
                "much for a board: start this from a smaller folder."
            )
        return Path(entry.path)


def bring_back(before, after, top):
    """Do to a folder what the board did to its copy: files written, made and deleted.

    `before` is the tree that was given, `after` the one that came back.
    """
    for name, node in after.items():
        path, old = Path(top, name), before.get(name)
        if isinstance(node, dict):
            if not isinstance(old, dict):
                path.mkdir(exist_ok=True)
            bring_back(old if isinstance(old, dict) else {}, node, path)
        elif old is None or isinstance(old, dict) or old.read_bytes() != node:
            path.write_bytes(node)
    for name in before.keys() - after.keys():
        _delete(before[name], Path(top, name))


def _delete(node, path):
    if isinstance(node, dict):
        for name, inside in node.items():
            _delete(inside, path / name)
        path.rmdir()
    else:
        path.unlink()
