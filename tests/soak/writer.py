# SPDX-License-Identifier: MIT
# Runs on the board, as main.py, until the power is cut: writes files, and says when each is
# synced. What a file holds follows from its name, so the host can check it afterwards.
#
#   S n   file n is synced         D n   file n is about to be removed
#   L n   line n of the log is     V n   version n of the file "fixed" is

import os
import struct

ROOT = "/vdb/"
KEPT = 12


def content(n):
    return struct.pack("<I", n) * (n * 7919 % 12000)


def write(name, data):
    with open(ROOT + name, "wb") as file:
        for at in range(0, len(data), 5000):
            file.write(data[at : at + 5000])


def numbers():
    return sorted(
        [int(name[1:]) for name in os.listdir(ROOT) if name[0] == "f" and name[1:].isdigit()]
    )


def log(n):
    with open(ROOT + "log", "a") as file:
        file.write("line %d\n" % n)
        file.flush()
        print("L", n)


present = numbers()
n = present[-1] + 1 if present else 1
print("writing", n)
while True:
    write("f%d" % n, content(n))
    print("S", n)
    present.append(n)
    if len(present) > KEPT:
        print("D", present[0])
        os.remove(ROOT + "f%d" % present.pop(0))
    log(n)
    write("fixed.new", content(n))
    try:
        os.rename(ROOT + "fixed.new", ROOT + "fixed")
    except OSError:  # FAT does not rename onto a file
        os.remove(ROOT + "fixed")
        os.rename(ROOT + "fixed.new", ROOT + "fixed")
    print("V", n)
    n += 1
