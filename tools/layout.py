# SPDX-License-Identifier: MIT
"""Write the constants of lib/virtio/layout.py into the modules that use them.

MicroPython folds a constant of the module's own file only, and viper takes no other as an index, so
each module has a copy of those that it names, between two marked lines. `make layout` writes the
copies; with --check nothing is written, and stale ones are named.
"""

import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "lib/virtio"
TABLE = PACKAGE / "layout.py"
BEGIN = "# From layout.py, by `make layout`.\n"
END = "\n# End of layout.py.\n"
BLOCK = re.compile(re.escape(BEGIN) + "(.*?)" + re.escape(END), re.DOTALL)
ENTRY = re.compile(r"^(_[A-Z][A-Z0-9_]*) = const\(.*\n", re.MULTILINE)


def table():
    """The table's entries by name, in its order: each line, and the comment that heads it."""
    entries = {}
    heading = after = ""
    for line in TABLE.read_text().splitlines(keepends=True):
        entry = ENTRY.match(line)
        if entry:
            if entry[1] in entries:
                sys.exit(f"{TABLE}: {entry[1]} is there twice")
            entries[entry[1]] = line, heading
            after = ""
        elif line.startswith("# "):
            heading = after = after + line
        else:
            after = ""
    return entries


def written(source, entries):
    """The module's source with its block as it should be. ValueError where it says more itself."""
    rest = BLOCK.sub("", source)
    own = {line[1] for line in ENTRY.finditer(rest)} & set(entries)
    if own:
        raise ValueError(f"defines {', '.join(sorted(own))} itself")
    used = set(re.findall(r"\b_[A-Z][A-Z0-9_]*\b", rest))
    block, said = "", ""
    for name, (line, heading) in entries.items():
        if name in used:
            if heading != said:
                block += "\n" + heading
                said = heading
            block += line
    return BLOCK.sub(lambda _: BEGIN + block + END, source)


def main():
    entries = table()
    stale = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path == TABLE:
            continue
        source = path.read_text()
        try:
            fresh = written(source, entries)
        except ValueError as error:
            sys.exit(f"{path.relative_to(PACKAGE)}: {error}, which layout.py has")
        if fresh != source:
            stale.append(path)
            if "--check" not in sys.argv:
                path.write_text(fresh)
    if stale and "--check" in sys.argv:
        names = ", ".join(str(path.relative_to(PACKAGE)) for path in stale)
        sys.exit(f"Stale constants in {names}: run make layout.")


if __name__ == "__main__":
    main()
