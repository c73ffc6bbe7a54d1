# SPDX-License-Identifier: MIT
"""A command on a terminal of its own, as a person has it; use it in a with statement."""

import os
import pty
import select
import signal
import termios
import time

import pytest
from emulator import ROOT


def outside_make():
    """This process's environment without what a make around it has put there."""
    inside = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    return {name: value for name, value in os.environ.items() if name not in inside}


class Terminal:
    def __init__(self, command, seconds=60):
        self.unread = b""
        self.deadline = time.monotonic() + seconds
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execvpe(command[0], command, outside_make())

    def type(self, text):
        os.write(self.fd, text)

    def wait_for(self, text):
        while text not in self.unread:
            otherwise = f"no {text!r} in {self.unread!r}"
            more = self.read(otherwise)
            assert more, otherwise
            self.unread += more
        self.unread = self.unread.partition(text)[2]

    def wait_until_keys_pass(self):
        """Wait until the command has taken the terminal over: before, keys are the terminal's."""
        while termios.tcgetattr(self.fd)[3] & termios.ICANON:
            assert time.monotonic() < self.deadline, "the command does not take keys"
            time.sleep(0.01)

    def read(self, otherwise):
        """Return what the command printed, b"" when it has ended."""
        ready, _, _ = select.select([self.fd], [], [], max(0, self.deadline - time.monotonic()))
        if not ready:
            pytest.fail(otherwise)
        try:
            return os.read(self.fd, 4096)
        except OSError:  # nobody has the other end open any more
            return b""

    def end(self):
        """Wait for the command's end and return its exit code."""
        while self.read("the command does not end"):
            pass
        _, status = os.waitpid(self.pid, 0)
        self.pid = None
        return os.waitstatus_to_exitcode(status)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.pid is not None:
            os.killpg(self.pid, signal.SIGHUP)
            os.waitpid(self.pid, 0)
        os.close(self.fd)
