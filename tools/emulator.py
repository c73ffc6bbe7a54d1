# SPDX-License-Identifier: MIT
"""A board in QEMU: its command line, its process, its console and its monitor.

Nothing here waits for ever. Whatever is asked of a board has a deadline; a board that misses it
is killed, and what it printed last is part of the error. QEMU dies with the process (precisely:
the thread) that started it, whatever becomes of that.
"""

import os
import select
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tty
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "host"))

from micropython_virt import machine
from micropython_virt.machine import Disk, Folder, drive, escape
from micropython_virt.process import BoardError, Ended, Hung

QEMU = ["setpriv", "--pdeathsig", "KILL", "qemu-system-arm"]
PROMPT = b">>> "
BEGUN = "begun\x06"
MONITOR_SECONDS = 20  # that an answer of QEMU's monitor may take
TAIL = 2000  # bytes of the console that an error shows


reserved = []


def free_port():
    """A port of 127.0.0.1 for a program that takes one, which nobody else is given meanwhile.

    It is bound until this process ends, but not listened at, so that the program can bind it, too.
    """
    reserved.append(socket.socket())
    reserved[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved[-1].bind(("127.0.0.1", 0))
    return reserved[-1].getsockname()[1]


def built(name):
    return ROOT / "build" / os.environ.get("BOARD", "QEMU_VIRT_ARM") / name


IMAGES = {
    "elf": lambda: ["-kernel", built("firmware.elf")],
    "bios": lambda: ["-bios", built("firmware.bin")],
    "flash": lambda: [
        "-drive",
        f"if=pflash,unit=0,format=raw,readonly=on,file={escape(built('flash.img'))}",
    ],
}


@dataclass
class Machine(machine.Machine):
    """A machine with the firmware that stands in build/."""

    boot: list = field(default_factory=list)
    image: str = "elf"
    qemu = QEMU

    def __post_init__(self):
        self.boot = IMAGES[self.image]()


class Raised(BoardError):
    """Code on the board raised an exception; str() is its traceback."""


class Board:
    """A machine that runs, its console on a pseudo-terminal. Use it in a with statement."""

    def __init__(self, machine):
        self.machine = machine
        self.folder = tempfile.TemporaryDirectory(prefix="board-")
        self.log = Path(self.folder.name, "console")
        self.errors = Path(self.folder.name, "errors")
        self.expired = None  # the deadline that was missed
        self.unread = b""  # of the console, beyond what wait_for waited for
        self.transport = None
        self.console = None
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Start and end

    def start(self):
        """Start QEMU on a pseudo-terminal of ours.

        Of one that it makes itself QEMU looks but once a second whether somebody has it open: until
        then it throws away what the guest prints, and takes nothing that is typed.
        """
        from qemu.qmp.legacy import QEMUMonitorProtocol

        ours, theirs = socket.socketpair()
        master, self.console = os.openpty()
        tty.setraw(self.console)
        self.pty = os.ttyname(self.console)
        command = [*self.machine.qemu, *self.machine.arguments(), "-S"]
        console = f"serial,id=console,path=/dev/fdset/1,logfile={self.log}"
        command += ["-add-fd", f"fd={master},set=1", "-chardev", console]
        command += ["-serial", "chardev:console"]
        command += ["-chardev", f"socket,id=qmp,fd={theirs.fileno()}"]
        command += ["-mon", "chardev=qmp,mode=control"]
        self.started = time.monotonic()
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=[theirs.fileno(), master],
            )
        theirs.close()
        os.close(master)
        self.monitor = QEMUMonitorProtocol(ours)
        try:
            with self.deadline(20, "QEMU's start"):
                self.monitor.connect()
                self.monitor.settimeout(MONITOR_SECONDS)
                self.monitor.cmd("cont")
        except BaseException:
            self.close()
            raise

    @property
    def ports(self):
        """The ports of the board that are forwarded, and those of 127.0.0.1 that lead to them."""
        asked = {"command-line": "info usernet"}
        return machine.forwarded(self.monitor.cmd("human-monitor-command", **asked))

    def chardev(self, label):
        """Return the name of the pseudo-terminal that QEMU has opened for a character device."""
        chardevs = self.monitor.cmd("query-chardev")
        (name,) = [each["filename"] for each in chardevs if each["label"] == label]
        return name.removeprefix("pty:")

    def close(self):
        """End QEMU, by its monitor if that still answers."""
        if self.process.poll() is None:
            try:
                with self.deadline(5, "QEMU's end"):
                    self.monitor.cmd("quit")
                    self.process.wait()
            except Exception:  # it does not answer, whatever the monitor says of that
                self.process.kill()
        self.process.wait()
        with suppress(Exception):  # the other end is gone; what the monitor makes of it is its own
            self.monitor.close()
        self.disconnect()
        if self.console is not None:
            os.close(self.console)
            self.console = None
        self.folder.cleanup()

    # Deadlines

    @contextmanager
    def deadline(self, seconds, what):
        """Kill QEMU if the block takes longer, so that whatever waits for the board comes back."""
        timer = threading.Timer(seconds, self.expire, [f"{what}: no end within {seconds} s"])
        timer.start()
        try:
            yield
        except Exception as error:
            if self.expired is None:
                if isinstance(error, BoardError) or self.alive():
                    raise
                raise Ended(f"{what}: QEMU has ended\n{self.last_words()}") from None
        finally:
            timer.cancel()
        if self.expired is not None:
            self.process.wait()
            raise Hung(f"{self.expired}\n{self.last_words()}")

    def expire(self, what):
        self.expired = what
        self.process.kill()

    def alive(self):
        """Whether QEMU runs; one that has just closed its console gets a moment to end."""
        try:
            self.process.wait(timeout=0.5)
            return False
        except subprocess.TimeoutExpired:
            return True

    def last_words(self):
        """Return what QEMU complained of, and the end of what the board printed."""
        words = [path.read_bytes() for path in (self.errors, self.log) if path.exists()]
        return "\n".join(text[-TAIL:].decode(errors="replace").strip() for text in words)

    # The console as a person uses it

    def type(self, text):
        os.write(self.console, text.encode() if isinstance(text, str) else text)

    def read(self, seconds):
        """Return what the console printed, b"" if that was nothing for so long."""
        ready, _, _ = select.select([self.console], [], [], seconds)
        if not ready:
            return b""
        try:
            data = os.read(self.console, 4096)
        except OSError:  # the pseudo-terminal's other end is closed
            data = b""
        if not data:
            self.alive()
            raise Ended(f"QEMU has ended\n{self.last_words()}")
        return data

    @contextmanager
    def drained(self):
        """Read the console beside what the caller does: one that nobody reads stops all of QEMU."""
        ended = threading.Event()

        def drain():
            with suppress(BoardError):  # QEMU has ended
                while not ended.is_set():
                    self.read(0.1)

        thread = threading.Thread(target=drain)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def wait_for(self, text, seconds=30):
        """Return what the console prints, up to and with the text."""
        text = text.encode() if isinstance(text, str) else text
        with self.deadline(seconds, f"waiting for {text!r}"):
            while text not in self.unread:
                self.unread += self.read(seconds)
        before, _, self.unread = self.unread.partition(text)
        return (before + text).decode(errors="replace")

    def wait_for_prompt(self, seconds=30):
        return self.wait_for(PROMPT, seconds)

    # The console as mpremote uses it

    def connect(self, soft_reset=False):
        from mpremote.transport_serial import SerialTransport

        if self.transport is None:
            self.transport = SerialTransport(self.pty)
        if soft_reset or not self.transport.in_raw_repl:
            self.transport.enter_raw_repl(soft_reset=soft_reset)

    def disconnect(self):
        """Give the console back to a person, or to another program."""
        transport, self.transport = self.transport, None
        if transport is None:
            return
        # Where QEMU has ended there is nobody to tell, and mpremote cannot set the port's lines.
        with suppress(OSError):
            if transport.in_raw_repl:
                transport.exit_raw_repl()
        with suppress(OSError):
            transport.close()
        transport.serial.close()

    def exec(self, code, seconds=30, what="code on the board"):
        """Run code on the board and return what it printed; Raised holds its traceback."""
        from mpremote.transport import TransportError

        with self.deadline(seconds, what):
            try:
                self.connect()
                output, error = self.transport.exec_raw(code, timeout=None)
            except TransportError as transport_error:
                raise BoardError(f"{what}: {transport_error}\n{self.last_words()}")
        if error:
            raise Raised(output.decode(errors="replace") + error.decode(errors="replace"))
        return output.decode(errors="replace").replace("\r\n", "\n")

    def begin(self, code):
        """Have the board run code, and come back once it does: a Ctrl-C before that is input."""
        self.connect()
        self.transport.exec_raw_no_follow(f"print({BEGUN!r})\n{code}")
        with self.deadline(30, "the begin of code on the board"):
            self.transport.read_until(1, f"{BEGUN}\r\n".encode(), timeout=None)

    def soft_reset(self, seconds=30):
        from mpremote.transport import TransportError

        with self.deadline(seconds, "soft reset"):
            try:
                self.connect(soft_reset=True)
            except TransportError as transport_error:
                raise BoardError(f"soft reset: {transport_error}\n{self.last_words()}")

    def power_off(self, seconds=10):
        """Have the board power itself off, and QEMU end by that."""
        with self.deadline(seconds, "power off"):
            self.connect()
            self.type("import board; board.poweroff()\x04")  # there will be no answer to read
            self.process.wait()

    def mpremote(self, *arguments, seconds=60, **options):
        """Run the mpremote command on this board and return what it printed."""
        self.disconnect()
        command = [sys.executable, "-m", "mpremote", "connect", self.pty, *arguments]
        what = shlex.join(["mpremote", *map(str, arguments)])
        with self.deadline(seconds, what):
            result = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=seconds + 5,
                **{"stdin": subprocess.DEVNULL} | options,
            )
            if result.returncode != 0:
                raise BoardError(
                    f"{what}: exit {result.returncode}\n{result.stdout}{result.stderr}"
                )
        return result.stdout
