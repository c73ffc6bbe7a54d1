# SPDX-License-Identifier: MIT
"""QEMU as a child: its console and its monitor, read by one loop, and nothing left behind.

Nothing waits for ever: what is waited for has a deadline. Whatever becomes of this process, QEMU
ends with it.
"""

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress

from .machine import NoFolders, Unusable, forwarded, too_old

LOG_BYTES = 16 << 20  # of the console that are kept
TAIL = 2000  # bytes of it that an error shows
START_SECONDS = 30


class BoardError(Exception):
    """The board did something else than it was asked; str() says what."""

    printed = ""  # by the program, until then


class Hung(BoardError):
    """A deadline was missed."""


class Ended(BoardError):
    """QEMU is not there any more."""

    powered_off = False  # by the program on it, which asked for that


class NoRoom(Ended):
    """This machine has no room for what the board writes to a disk; QEMU would wait for it."""


class Reset(BoardError):
    """The board was reset in the middle of what it did."""


class Faulted(Reset):
    """The same, by a fault that no code could survive; str() has its registers."""


class Process:
    """QEMU, from its start to its end. Use it in a with statement."""

    def __init__(self, machine):
        self.machine = machine
        self.log = bytearray()  # what the console printed, at most LOG_BYTES of it
        self.unread = bytearray()  # the part of it that nobody has taken yet
        self.outgoing = bytearray()
        self.source = None  # a file descriptor whose bytes go to the console as they come
        self.typed = bytes  # makes of them what is sent, and of b"" what is sent at their end
        self.events = []  # of the monitor, that nobody has taken yet
        self.ports = {}  # of the board, and those of 127.0.0.1 that lead to them
        self.console = self.monitor = None
        self._answers = []
        self._lines = bytearray()
        self._errors = tempfile.TemporaryFile()
        self._guard = None
        self._start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Start and end

    def _start(self):
        command = [self.machine.find_qemu(), *self.machine.arguments()]
        pair, options = _channels() if os.name == "posix" else _ports()
        try:
            for name, channel in zip(("console", "monitor"), pair):
                command += ["-chardev", f"socket,id={name},{channel.option}"]
            command += ["-serial", "chardev:console", "-mon", "chardev=monitor,mode=control"]
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                **options,
            )
        finally:
            for channel in pair:
                channel.given()
        try:
            if sys.platform != "linux" and os.name == "posix":
                self._guard = _guard(self.process.pid)
            self.console, self.monitor = [channel.open(self.process) for channel in pair]
            self._greet()
        except BaseException:
            self.close()
            raise

    def _greet(self):
        try:
            self.pump_until(lambda: self._answers, START_SECONDS, "QEMU's start")
        except Ended as ended:
            version = subprocess.run(
                [self.machine.find_qemu(), "--version"], capture_output=True, text=True
            )
            numbers = [int(n) for n in version.stdout.partition("version ")[2].split(".")[:2]]
            if "fsdev is not supported" in str(ended):
                raise NoFolders("this QEMU shows no folders, it was built without 9P")
            raise Unusable(numbers and too_old(numbers) or str(ended))
        version = self._answers.pop(0)["QMP"]["version"]["qemu"]
        complaint = too_old((version["major"], version["minor"]))
        if complaint:
            raise Unusable(complaint)
        self.command("qmp_capabilities")
        if self.machine.ports:
            words = {"command-line": "info usernet"}
            self.ports = forwarded(self.command("human-monitor-command", **words))

    def is_over(self):
        return self.console is None

    def close(self):
        """End QEMU. May be called again."""
        process = getattr(self, "process", None)
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
            self._guard.stdin.close()
            self._guard = None
        for end in (self.console, self.monitor):
            if end is not None:
                end.close()
        self.console = self.monitor = None

    def kill(self):
        self.process.kill()
        self.close()

    # What goes to and fro

    def pump(self, seconds):
        """Send and take what there is, for so long at most. True if something came."""
        if self.console is None:
            raise Ended(f"QEMU has ended\n{self.last_words()}".strip())
        reading = [end for end in (self.console, self.monitor) if end is not None]
        writing = [self.console] if self.outgoing else []
        if self.source is not None and not self.outgoing:
            reading.append(self.source)
        ready, writable, _ = select.select(reading, writing, [], max(0, seconds))
        if writable:
            with suppress(OSError):
                del self.outgoing[: self.console.send(self.outgoing)]
        for end in ready:
            if end is self.source:
                self._read_source()
            else:
                self._take(end)
        return bool(ready)

    def _read_source(self):
        try:
            data = os.read(self.source, 4096)
        except OSError:  # of a terminal that nobody has open any more
            data = b""
        if data:
            self.send(self.typed(data))
        else:
            self.source = None
            self.send(self.typed(b""))

    def _take(self, end):
        try:
            data = end.recv(65536)
        except OSError:
            data = b""
        if not data and end is self.monitor:
            self.monitor.close()
            self.monitor = None
        elif not data:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(2)  # it closes its console first
            while self.monitor is not None:  # what it said last
                self._take(self.monitor)
            ended = Ended(f"QEMU has ended\n{self.last_words()}".strip())
            ended.powered_off = self.process.poll() == 0 and b"\nFATAL: " not in self.log[-TAIL:]
            self.close()
            raise ended
        elif end is self.console:
            self.unread += data
            self.log += data
            if len(self.log) > 2 * LOG_BYTES:
                del self.log[:-LOG_BYTES]
        else:
            self._lines += data
            *lines, self._lines = self._lines.split(b"\n")
            for line in map(json.loads, lines):
                (self.events if "event" in line else self._answers).append(line)
                if line.get("event") == "BLOCK_IO_ERROR" and line["data"]["action"] == "stop":
                    self.close()
                    raise NoRoom(
                        f"a disk of the board could not be written: {line['data']['reason']}"
                    )

    def pump_until(self, condition, seconds, what):
        """Return what the condition gave, as soon as it is true; Hung if it does not get so."""
        end = time.monotonic() + seconds
        while True:
            result = condition()
            if result:
                return result
            left = end - time.monotonic()
            if left <= 0:
                raise Hung(f"{what}: no end within {seconds:g} s")
            self.pump(left)

    def send(self, data):
        self.outgoing += data

    def command(self, name, seconds=20, **arguments):
        """Have QEMU's monitor do something and return its answer."""
        if self.monitor is None:
            raise Ended(f"QEMU has ended\n{self.last_words()}".strip())
        self._answers.clear()
        question = {"execute": name, "arguments": arguments} if arguments else {"execute": name}
        self.monitor.sendall(json.dumps(question).encode() + b"\n")
        self.pump_until(lambda: self._answers, seconds, f"QEMU's monitor, {name}")
        answer = self._answers.pop(0)
        if "error" in answer:
            raise BoardError(f"QEMU's monitor, {name}: {answer['error']['desc']}")
        return answer["return"]

    def was_reset(self):
        """Whether the guest has reset itself since this was asked last."""
        mine, self.events = self.events, []
        return any(e["event"] == "RESET" and e["data"].get("guest") for e in mine)

    def last_words(self):
        """What QEMU complained of, and the end of what the board printed."""
        self._errors.seek(0)
        words = [self._errors.read()[-TAIL:], bytes(self.log[-TAIL:])]
        return "\n".join(w.decode(errors="replace").replace("\r\n", "\n").strip() for w in words)


class _Pair:
    """A pair of sockets, one of which QEMU inherits."""

    def __init__(self):
        self.ours, self.theirs = socket.socketpair()
        self.option = f"fd={self.theirs.fileno()}"

    def given(self):
        self.theirs.close()

    def open(self, process):
        self.ours.setblocking(False)
        return self.ours


class _Port:
    """A port of this machine alone, to which QEMU connects: for systems without the other."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.option = f"host=127.0.0.1,port={self.listener.getsockname()[1]},nodelay=on"

    def given(self):
        pass

    def open(self, process):
        end = time.monotonic() + START_SECONDS
        self.listener.settimeout(0.1)
        with self.listener:
            while process.poll() is None and time.monotonic() < end:
                with suppress(TimeoutError):
                    connection, _ = self.listener.accept()
                    connection.setblocking(False)
                    return connection
        # Nobody is there: an end that is closed already says so to whoever reads it.
        ours, theirs = socket.socketpair()
        theirs.close()
        return ours


def _channels():
    pair = [_Pair(), _Pair()]
    # In a session of its own, for Ctrl-C at the terminal is for us to pass on.
    options = {"pass_fds": [p.theirs.fileno() for p in pair], "start_new_session": True}
    if sys.platform == "linux":
        options["preexec_fn"] = _end_with_parent
    return pair, options


def _ports():
    group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    return [_Port(), _Port()], {"creationflags": group}


_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def _end_with_parent():
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _guard(pid):
    """A process that kills QEMU when this one has gone, whatever took it away."""
    return subprocess.Popen(
        ["/bin/sh", "-c", f"read line; kill -9 {pid}"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
