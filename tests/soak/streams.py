# SPDX-License-Identifier: MIT
"""Folders of the host and serial ports, for long: large files, a large tree, an echo, soft resets.

From the environment: MOVED, the MiB of the file that goes there and back; ECHOED, the MB of the echo;
RESETS, how many soft resets.
"""

import hashlib
import os
import random
import socket
import subprocess
import threading

from emulator import Board, BoardError, Folder, Machine
from soak.powercut import Lost

MIB = 1 << 20
MOVED = int(os.environ.get("MOVED") or 256)
ECHOED = int(os.environ.get("ECHOED") or 100)
RESETS = int(os.environ.get("RESETS") or 1000)
FILES = 500
NAMES = (
    "plain",
    "with spaces",
    "ümläut",
    "日本語",
    "quote's \"\\",
    "new\nline",
    "-dash",
    "x" * 240,
)
REPL = "org.micropython.repl"
LOOK = 50  # resets between two looks at the port

COPY = """
import hashlib, os
buf = bytearray(1 << 20)
digest = hashlib.sha256()
with open('/in', 'rb') as source, open('/out', 'wb') as target:
    while n := source.readinto(buf):
        digest.update(memoryview(buf)[:n])
        target.write(memoryview(buf)[:n])
print(digest.digest().hex())
"""
COPY_TREE = """
import os
def copy(source, target):
    os.mkdir(target)
    for name, kind, _, size in os.ilistdir(source):
        if kind == 0x4000:
            copy(source + '/' + name, target + '/' + name)
        else:
            with open(source + '/' + name, 'rb') as f, open(target + '/' + name, 'wb') as g:
                assert g.write(f.read()) == size
copy('/here', '/there')
"""
ECHO = """
import virtio
serial = virtio.Serial(0)
port = serial.port('echo')
port.timeout_ms = 60000
buf = bytearray(65536)
left = {count}
while left:
    n = port.readinto(buf)
    assert port.write(memoryview(buf)[:n]) == n
    left -= n
port.flush()
"""


def digest(path):
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(MIB):
            found.update(piece)
    return found.hexdigest()


def large_file(folder, interface, seed):
    chance = random.Random(seed)
    with open(folder / "in", "wb") as file:
        for _ in range(MOVED):
            file.write(chance.randbytes(MIB))
    with Board(Machine(modern=interface == "modern", folders=[Folder(folder)])) as board:
        board.wait_for_prompt()
        said = board.exec(COPY, 1800).strip()
    wanted, found = digest(folder / "in"), digest(folder / "out")
    if not said == wanted == found:
        raise Lost(f"{wanted[:16]}… is {said[:16]}… to the board, and {found[:16]}… came back")
    yield f"{MOVED} MiB read, and written, sha256 {found[:16]}…"


def tree(folder, seed):
    chance = random.Random(seed)
    at = [folder / "here"]
    at[0].mkdir()
    for n in range(FILES):
        if chance.random() < 0.1:
            at.append(chance.choice(at) / f"in {n} {chance.choice(NAMES)}"[:250])
            at[-1].mkdir()
        path = chance.choice(at) / f"{n} {chance.choice(NAMES)}"[:250]
        path.write_bytes(chance.randbytes(chance.choice((0, 1, 100, 16384, 100000))))
    with Board(Machine(folders=[Folder(folder)])) as board:
        board.wait_for_prompt()
        board.exec(COPY_TREE, 300)
    result = subprocess.run(
        ["diff", "-r", folder / "here", folder / "there"], capture_output=True, text=True
    )
    if result.returncode:
        raise Lost(f"diff -r finds: {result.stdout[:1000]}")
    yield f"{FILES} files in {len(at)} folders, diff -r finds nothing"


def echo(folder, interface, seed):
    count = ECHOED * 1000 * 1000
    more = ["-device", "virtio-serial-device,max_ports=2"]
    more += ["-chardev", f"socket,path={folder}/echo,server=on,wait=off,id=c"]
    more += ["-device", "virtserialport,chardev=c,name=echo"]
    with Board(Machine(modern=interface == "modern", more=more)) as board:
        board.wait_for_prompt()
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(f"{folder}/echo")
            peer.settimeout(60)
            sent = hashlib.sha256()

            def send():
                chance = random.Random(seed)
                left = count
                while left:
                    piece = chance.randbytes(min(left, 1 << 16))
                    sent.update(piece)
                    peer.sendall(piece)
                    left -= len(piece)

            came = hashlib.sha256()

            def receive():
                left = count
                while left:
                    piece = peer.recv(min(left, 1 << 16))
                    came.update(piece)
                    left -= len(piece)

            threads = [threading.Thread(target=each, daemon=True) for each in (send, receive)]
            for thread in threads:
                thread.start()
            board.exec(ECHO.format(count=count), 1800)
            for thread in threads:
                thread.join(60)
    if sent.digest() != came.digest():
        raise Lost(f"sent {sent.hexdigest()[:16]}…, and {came.hexdigest()[:16]}… came back")
    yield f"{ECHOED} MB there and back, sha256 {came.hexdigest()[:16]}…"


def resets(folder):
    """Soft resets with the REPL on a port, which answers after them."""
    more = ["-device", "virtio-serial-device,max_ports=2"]
    more += ["-chardev", f"socket,path={folder}/repl,server=on,wait=off,id=c"]
    more += ["-device", f"virtserialport,chardev=c,name={REPL}"]
    with Board(Machine(more=more)) as board:
        board.wait_for_prompt()
        with board.drained(), socket.socket(socket.AF_UNIX) as peer:
            peer.connect(f"{folder}/repl")
            peer.settimeout(60)
            for n in range(1, RESETS + 1):
                peer.sendall(b"\x03\x04")
                wait_for(peer, b"soft reboot")
                wait_for(peer, b">>> ")
                if n % LOOK == 0:
                    peer.sendall(b"print('reset', %d * 2)\r" % n)
                    wait_for(peer, b"reset %d\r\n" % (2 * n))
    yield f"{RESETS} soft resets, and the port answers"


def wait_for(peer, text):
    """Read up to and with a text."""
    found = b""
    while not found.endswith(text):
        piece = peer.recv(1)
        if not piece:
            raise Lost(f"the port was closed after {found[-200:]!r}")
        found += piece
