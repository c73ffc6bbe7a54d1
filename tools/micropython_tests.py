# SPDX-License-Identifier: MIT
"""Run MicroPython's own test suite, from its source, on the board.

micropython_tests.py MICROPYTHON_DIR WAYS [TEST…], with WAYS of plain, mpy, native, multi: the tests
of multi_net, which run on two boards on a wire, and hosted: those of net_hosted that ask servers on
the Internet, whose place servers of ours take.

The tests that are left out stand in tests/micropython/excluded.txt. Nothing is written into the
source: the suite runs in a folder of links to it.
"""

import fnmatch
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import fat
import step
from emulator import ROOT, Board, Disk, Machine

OWN = ROOT / "tests/micropython"
WORK = ROOT / "build/test-micropython"
MPY_CROSS = ROOT / "build/mpy-cross/mpy-cross"
WAYS = {
    "plain": [],
    "hosted": [],
    "mpy": ["--via-mpy"],
    "native": ["--via-mpy", "--emit", "native"],
}
# Those that run-tests.py takes for a board it does not know, and all others that can run on one.
FOLDERS = ["basics", "micropython", "misc", "extmod", "inlineasm/thumb"]
FOLDERS += ["net_hosted", "float", "stress", "unicode", "import", "io"]

SILENCE = 180  # seconds that a test may take; run-tests.py has limits of its own, but not for all

TOTALS = re.compile(r"\d+ tests (performed|passed|skipped|failed)")


def excluded(way):
    """Patterns of the tests left out in this way of running the suite."""
    for line in (OWN / "excluded.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            ways, test, _ = line.split(maxsplit=2)
            if ways == "all" or way in ways.split(","):
                yield test


def link_source(source):
    """Links for all that run-tests.py looks for around itself; the folder it works in is ours."""
    (WORK / "tests").mkdir(parents=True, exist_ok=True)
    links = {WORK / "tools": source / "tools"}
    links |= {WORK / "tests" / entry.name: entry for entry in (source / "tests").iterdir()}
    for link, target in links.items():
        link.unlink(missing_ok=True)
        if target.suffix == ".py":
            shutil.copy(
                target, link
            )  # from where it lies it finds the tests, and tells one's name
        else:
            link.symlink_to(target)


def make_disk(source):
    """What tests look for on the board: unittest, modules to import, files to read."""
    image = WORK / "disk.img"
    fat.make(image, 16, {})
    fat.tool("mmd", "-i", image, "::lib")
    fat.tool("mcopy", "-i", image, OWN / "unittest.py", "::lib")
    tests = source / "tests"
    fat.tool("mcopy", "-i", image, "-s", *(tests / "import").iterdir(), "::")
    fat.tool("mcopy", "-i", image, "-s", tests / "io/data", "::")
    fat.tool("mcopy", "-i", image, *(tests / "unicode/data").iterdir(), "::data")
    return Disk(image)


def command(way, pty, which):
    words = ["env", "-C", WORK / "tests", sys.executable, WORK / "tests/run-tests.py"]
    words += ["-t", f"port:{pty}", *WAYS[way], "-r", results(way)]
    for test in excluded(way):
        # Some releases have the path from the root here.
        words += ["-e", "(^|/)" + fnmatch.translate(test)]
    return words + which


def results(way):
    return WORK / f"results-{way}"


# A board of the wire. The peer's address is asked of the interface, which has it after each reset.
WIRED = """\
import network
network.LAN().ipconfig(dhcp4=False, addr4="10.1.1.%d/24")
"""


def wired(source, number):
    """A machine on the wire, with the certificates that tests read."""
    image = WORK / f"wired{number}.img"
    fat.make(image, 8, {"boot.py": (WIRED % number).encode()})
    fat.tool("mcopy", "-i", image, *(source / "tests/multi_net").glob("*.der"), "::")
    role = "server=on" if number == 1 else "server=off"
    path = WORK / "wire"
    return Machine(
        disks=[Disk(image)],
        net=f"stream,{role},addr.type=unix,addr.path={path}",
        net_options=f"mac=52:54:00:00:00:0{number}",
    )


def run_multi(source, tests):
    """Run the tests of two boards, say how it went, and return whether nothing failed."""
    link_source(source)
    (WORK / "wire").unlink(missing_ok=True)
    log = ROOT / "build/log/micropython-multi.log"
    log.unlink(missing_ok=True)
    left_out = list(excluded("multi"))
    names = sorted(f"multi_net/{path.name}" for path in (source / "tests/multi_net").glob("*.py"))
    names = tests or [name for name in names if name not in left_out]
    with Board(wired(source, 1)) as first, Board(wired(source, 2)) as second:
        for board in (first, second):
            board.wait_for_prompt()
        words = ["env", "-C", WORK / "tests", sys.executable, WORK / "tests/run-multitests.py"]
        words += ["-i", f"pyb:{first.pty}", "-i", f"pyb:{second.pty}", *names]
        title = "MicroPython's tests, on two boards"
        environment = {"MICROPY_CPYTHON3": sys.executable}
        passed = step.run(title, words, log, environment, SILENCE)
    lines = log.read_text(errors="replace").splitlines()
    said = [line for line in lines if re.match(r"\d+ tests|(skip|FAIL)", line)]
    print("\n".join(said or lines[-step.SHOWN :]))
    return passed


# In the place of the module of that name: what the tests ask for is on the host, and nobody is
# at the addresses where nobody is to be.
HOSTED = """\
from usocket import *
import usocket
def getaddrinfo(host, port, *more):
    port = {ports}.get((host, port), port)
    host = "10.0.2.2" if host == "micropython.org" else "10.0.2.200"
    return usocket.getaddrinfo(host, port, *more)
"""
ONLINE = b"""\
import network, time
while not network.LAN().isconnected(): time.sleep_ms(1)
"""
# What those print that ask CPython, which is to ask nobody.
EXPECTED = {"connect_timeout": "True\nTrue\n"}


def certificates():
    """A file with a key, the certificate of the host of that key, and that of who signed it."""
    new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
    for words in (
        f"{new} -keyout ca.key -out ca.pem -subj /CN=ca",
        f"{new} -keyout host.key -out host.pem -subj /CN=micropython.org -CA ca.pem -CAkey ca.key",
    ):
        subprocess.run(words.split(), cwd=WORK, check=True, capture_output=True)
    path = WORK / "server.pem"
    path.write_text("".join((WORK / f).read_text() for f in ("host.key", "host.pem", "ca.pem")))
    return path


def listen(context=None):
    """Accept connections and say nothing, in TLS where there is a context; returns the port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        try:
            if context:
                connection = context.wrap_socket(connection, server_side=True)
            while connection.recv(1000):
                pass
        except OSError:
            pass
        connection.close()

    def accept():
        while True:
            threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return server.getsockname()[1]


def run_hosted(source, tests):
    """Run the tests that ask servers, say how it went, and return whether nothing failed."""
    link_source(source)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates())
    ports = {("micropython.org", 80): listen(), ("micropython.org", 443): listen(context)}
    image = WORK / "hosted.img"
    module = HOSTED.format(ports=ports).encode()
    fat.make(image, 8, {"boot.py": ONLINE, "socket.py": module})
    fat.tool("mmd", "-i", image, "::lib")
    fat.tool("mcopy", "-i", image, OWN / "unittest.py", "::lib")
    fat.tool("mmove", "-i", image, "::socket.py", "::lib")
    folder = WORK / "tests/hosted"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(results("hosted"), ignore_errors=True)
    folder.mkdir()
    for path in (source / "tests/net_hosted").glob("*_*.py*"):
        if path.name.startswith(("connect_", "ssl_")):
            shutil.copy(path, folder)
    for name, text in EXPECTED.items():
        (folder / f"{name}.py.exp").write_text(text)
    log = ROOT / "build/log/micropython-hosted.log"
    log.unlink(missing_ok=True)
    with Board(Machine(disks=[Disk(image)], net="user")) as board:
        board.wait_for_prompt()
        words = command("hosted", board.pty, tests or ["-d", "hosted"])
        title = "MicroPython's tests, on servers of ours"
        environment = {"MICROPY_CPYTHON3": sys.executable}
        passed = step.run(title, words, log, environment, SILENCE)
    lines = log.read_text(errors="replace").splitlines()
    print("\n".join([line for line in lines if TOTALS.match(line)] or lines[-step.SHOWN :]))
    return passed


def run(source, way, tests):
    """Run the suite in one way, say how it went, and return whether nothing failed."""
    link_source(source)
    shutil.rmtree(results(way), ignore_errors=True)
    log = ROOT / f"build/log/micropython-{way}.log"
    log.unlink(missing_ok=True)
    environment = {"MICROPY_MPYCROSS": str(MPY_CROSS), "MICROPY_CPYTHON3": sys.executable}
    title = f"MicroPython's tests, {way}"
    # Some tests fill the memory, in a time that run-tests.py limits; so there is not much of it.
    with Board(Machine(memory="64M", disks=[make_disk(source)])) as board:
        board.wait_for_prompt()
        which = tests or ["-d", *FOLDERS]
        passed = step.run(title, command(way, board.pty, which), log, environment, SILENCE)
        # Where there are no results the suite has not come to its end.
        if not passed and any(results(way).glob("*.json")):
            # Some measure time, and fail on a host that is busy elsewhere. Not twice.
            again = command(way, board.pty, ["--run-failures"])
            passed = step.run(f"{title}, those that failed", again, log, environment, SILENCE)
    lines = log.read_text(errors="replace").splitlines()
    totals = [line for line in lines if TOTALS.match(line)]
    print("\n".join(totals or lines[-step.SHOWN :]))
    if not passed:
        subprocess.run(
            [sys.executable, WORK / "tests/run-tests.py", "--print-failures", "-r", results(way)]
        )
    return passed


def main():
    source, ways, *tests = sys.argv[1:]
    source = Path(source).resolve()
    own = {"multi": run_multi, "hosted": run_hosted}
    outcomes = [
        own[way](source, tests) if way in own else run(source, way, tests) for way in ways.split()
    ]
    sys.exit(0 if all(outcomes) else "The whole output is in build/log/micropython-*.log.")


if __name__ == "__main__":
    main()
