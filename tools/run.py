# SPDX-License-Identifier: MIT
"""Run the board with a disk and entropy, its REPL on this terminal.

From the environment: DISK (another disk image, or none), SHARE (a folder that the board sees), IMAGE (a second one), ROM (another image of the
ROM filesystem), MODERN (0 or 1), NET (user, isolated or none) and QEMU_ARGS. Without a terminal
the lines of the standard input are typed at the REPL's prompt, and the end of the input ends the
board; so does a fault, with exit status 120. With --mpremote the REPL is that of mpremote, or what
MPREMOTE asks it for.
"""

import fcntl
import os
import select
import shlex
import struct
import subprocess
import sys
import threading
import time
import tty
from contextlib import contextmanager, suppress
from pathlib import Path

import fat
from emulator import (
    PROMPT,
    QEMU,
    ROOT,
    Board,
    BoardError,
    Disk,
    Ended,
    Folder,
    Machine,
    free_port,
)
from micropython_virt.machine import NETDEVS

SIZE = 64  # MiB
BOARD_PORT = 80  # the one that is forwarded
ROM_SIZE = 64 << 20  # of the machine's flash bank
README = b"""\
This disk belongs to the board that make run starts. It is kept from one run to the next.
What stands in main.py here runs when the board starts.

Files come to it, and back, in three ways. While the board runs, by mpremote:

    make repl MPREMOTE="cp data.txt : + ls"

While it is off, by the mtools, on the image of this disk:

    mcopy -i build/disk.img main.py ::

And a folder becomes a second disk, which the board only reads, at /vdb:

    make image DIR=folder
    make run IMAGE=build/image.img
"""
CONTINUED = b"... "
CTRL_U = b"\x15"  # deletes the line so far
SILENCE = 60  # seconds without output or prompt after which the start has failed
FAULT = 120  # exit status
FATAL = b"\nFATAL: "
# What make repl speaks to: docs/serial-ports.md
PORT = ["-device", "virtio-serial-device,max_ports=3", "-chardev", "pty,id=repl"]
PORT += ["-device", "virtserialport,chardev=repl,name=org.micropython.repl"]
LINK = ROOT / "build/board.tty"
LAST_WORDS = 1  # seconds in which a board that has met a fault says what it was


class Faulted(Exception):
    pass


def disks():
    """The board's disk, if it has one."""
    given = os.environ.get("DISK")
    return [] if given == "none" else [disk(given)]


def disk(given):
    if given:
        path = Path(given)
        if not path.exists():
            sys.exit(f"There is no disk image {given}: DISK must name one.")
        return Disk(path.absolute())
    path = ROOT / "build/disk.img"
    if not path.exists():
        whole = path.with_suffix(".new")
        try:
            fat.make(whole, SIZE, {"README.txt": README})
        except OSError as error:
            sys.exit(f"The disk image {path} could not be made: {error}.")
        whole.rename(path)
    return Disk(path)


def folders():
    """The folder that the board sees at /host, or at / where it has no disk."""
    given = os.environ.get("SHARE")
    if not given:
        return []
    path = Path(given)
    if not path.is_dir():
        sys.exit(f"There is no folder {given}: SHARE must name one.")
    return [Folder(path.absolute())]


def image():
    """The second disk, which make image made."""
    given = os.environ.get("IMAGE")
    if not given:
        return []
    path = Path(given)
    if not path.exists():
        sys.exit(f"There is no disk image {given}: IMAGE must name one.")
    return [Disk(path.absolute(), readonly=True)]


def network():
    """The fields of a Machine that give it a network, and what to say of it."""
    kind = os.environ.get("NET") or "user"
    if kind == "none":
        return {}, ""
    if kind not in NETDEVS:
        sys.exit(f"NET is {kind}: it must be user, isolated or none.")
    port = free_port()
    said = f"The board's port {BOARD_PORT} is http://127.0.0.1:{port} here."
    return {"net": NETDEVS[kind], "ports": {BOARD_PORT: port}}, said


def in_use(path):
    """Whether a QEMU has the image open, which locks some of its first bytes for that."""
    with open(path, "r+b") as file:
        lock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 100, 200, 0)
        kind, *_ = struct.unpack("hhqqi", fcntl.fcntl(file, fcntl.F_OFD_GETLK, lock))
        return kind != fcntl.F_UNLCK


def rom():
    """The image of the ROM filesystem, which is kept as the disk is; None for one in memory."""
    given = os.environ.get("ROM")
    path = Path(given).absolute() if given else ROOT / "build/rom.img"
    if given and not path.exists():
        sys.exit(f"There is no image {given}: ROM must name one.")
    if not path.exists() or path.stat().st_size == 0:
        path.touch()
        os.truncate(path, ROM_SIZE)
    if path.stat().st_size != ROM_SIZE:
        sys.exit(f"{path} has {path.stat().st_size} bytes: an image of the ROM has {ROM_SIZE}.")
    if not given and in_use(path):
        print(f"Another board uses {path}: the ROM of this one is not kept.", flush=True)
        return None
    return path


def machine():
    modern = os.environ.get("MODERN") or "1"
    if modern not in ("0", "1"):
        sys.exit(f"MODERN is {modern}: it must be 1, or 0 for the legacy interface.")
    more = shlex.split(os.environ.get("QEMU_ARGS") or "")
    net, said = network()
    if said:
        print(said, flush=True)
    return Machine(
        image="flash",
        modern=modern == "1",
        disks=[*disks(), *image()],
        folders=folders(),
        rom=rom(),
        more=more,
        **net,
    )


def run_on_terminal():
    print("Ctrl-A X ends the board.", flush=True)
    command = [*QEMU, *machine().arguments(), "-serial", "mon:stdio"]
    os.execvp(command[0], command)


def run_mpremote(commands):
    asked = machine()
    asked.more = PORT + asked.more
    with Board(asked) as board:
        show(board.wait_for_prompt(SILENCE).encode())
        with terminal(board) as path:
            print(f"\nThe board's REPL is {path}, and {LINK.relative_to(ROOT)}.", flush=True)
            command = [sys.executable, "-m", "mpremote", "connect", path]
            return subprocess.run(command + (commands or ["repl"])).returncode


@contextmanager
def terminal(board):
    """The name of the port that has the REPL, which is much faster than the console.

    The console is read meanwhile: one that nobody reads would stop all of QEMU.
    """
    path = board.chardev("repl")
    ended = threading.Event()
    reader = threading.Thread(target=read_all, args=[board, ended])
    reader.start()
    # Kept open, for QEMU looks only once a second whether somebody is there.
    port = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        tty.setraw(port)
        wait_for_port(port)
        LINK.unlink(missing_ok=True)
        LINK.symlink_to(path)
        yield path
    finally:
        if LINK.is_symlink() and os.readlink(LINK) == path:
            LINK.unlink()
        ended.set()
        reader.join()
        os.close(port)


def read_all(board, ended):
    with suppress(BoardError):  # QEMU has ended
        while not ended.is_set():
            board.read(0.1)


def wait_for_port(port):
    """Return when there is a prompt on it; type until then."""
    end = time.monotonic() + SILENCE
    shown = b""
    while not shown.endswith(PROMPT):
        if time.monotonic() > end:
            raise BoardError(f"There is no prompt on the board's port: {shown!r}")
        os.write(port, b"\r")
        while select.select([port], [], [], 0.2)[0]:
            shown += os.read(port, 4096)


def show(output):
    sys.stdout.buffer.write(output.replace(b"\r", b""))
    sys.stdout.flush()


def show_to_prompt(board, silence):
    """Show what the board prints until it waits for a line; return that prompt."""
    line = b""
    said = b""
    while True:
        output = board.read(silence)
        if not output:
            raise BoardError(f"The board has shown no prompt, and nothing else for {silence} s.")
        show(output)
        said = said[-len(FATAL) :] + output
        if FATAL in said:
            show_last_words(board)
            raise Faulted
        line = (line + output).rpartition(b"\n")[2]
        if line == PROMPT or line.startswith(CONTINUED) and line.strip() == CONTINUED.strip():
            return line


def show_last_words(board):
    end = time.monotonic() + LAST_WORDS
    while (left := end - time.monotonic()) > 0:
        show(board.read(left))


def type_lines(board, lines):
    prompt = show_to_prompt(board, SILENCE)
    for line in lines:
        if prompt != PROMPT:
            board.type(CTRL_U)  # the REPL has indented this line, and the input brings its own
        board.type(line.rstrip("\r\n").expandtabs(4) + "\r")
        prompt = show_to_prompt(board, None)
    show(b"\n")


def run_on_input():
    with Board(machine()) as board:
        try:
            type_lines(board, sys.stdin)
        except Ended:
            if board.process.wait() != 0:
                raise


def main():
    mpremote = sys.argv[1:] == ["--mpremote"]
    commands = shlex.split(os.environ.get("MPREMOTE") or "")
    if mpremote and (commands or sys.stdin.isatty()):
        sys.exit(run_mpremote(commands))
    elif not sys.stdin.isatty():
        run_on_input()
    else:
        run_on_terminal()


if __name__ == "__main__":
    try:
        main()
    except Faulted:
        sys.exit(FAULT)
    except BoardError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
