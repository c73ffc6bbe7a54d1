# SPDX-License-Identifier: MIT
"""Write the lists by which mip installs the library, whole or the queue with one driver.

A list of one driver has the modules that it imports, at its start or when it needs them, and those
that they import. With --check nothing is written, and stale lists are named.
"""

import json
import re
import sys
from pathlib import Path

LIB = Path(__file__).resolve().parent.parent / "lib"
DRIVERS = ("block", "net", "rng")
VERSION = re.compile(r'__version__ = "(.*?)"')
IMPORT = re.compile(r"^ *from (\.+)([\w.]*) import ([^#\n]*)", re.M)


def imported(path):
    """The files of the package that a module of it imports, with those of their folders."""
    for dots, name, words in IMPORT.findall(path.read_text()):
        folder = path.parents[len(dots) - 1]
        target = folder.joinpath(*name.split("."))
        modules = [target] if name and not target.is_dir() else []
        if target.is_dir():
            modules = [target / word.split()[0] for word in words.split(",")]
        for module in modules:
            found = module.with_suffix(".py")
            yield found if found.exists() else module.parent / "__init__.py"


def closed(roots):
    """These files, all that they import, and the `__init__.py` of each folder."""
    found, left = set(), list(roots)
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += imported(path)
            if path.parent != LIB:
                left.append(path.parent / "__init__.py" if path.name != "__init__.py" else path)
    return found


def lists():
    """Each list's file, and its text."""
    package = LIB / "virtio"
    version = VERSION.search((package / "__init__.py").read_text())[1]
    files = {"package": set(package.rglob("*.py"))}
    for driver in DRIVERS:
        roots = ("__init__", "features", f"drivers/{driver}")
        files[driver] = closed([package / f"{root}.py" for root in roots])
    for name, paths in files.items():
        names = sorted(path.relative_to(LIB).as_posix() for path in paths)
        text = {"urls": [[name, name] for name in names], "deps": [], "version": version}
        yield LIB / f"{name}.json", json.dumps(text, indent=2) + "\n"


def main():
    stale = []
    for path, text in lists():
        if not path.exists() or path.read_text() != text:
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(text)
    if stale and "--check" in sys.argv:
        sys.exit(f"Stale lists for mip, {', '.join(stale)}: run make lists.")


if __name__ == "__main__":
    main()
