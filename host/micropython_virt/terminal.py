# SPDX-License-Identifier: MIT
"""A pseudo-terminal that stands for a board's serial port, for programs that want one."""

import os
import select
from contextlib import suppress
from pathlib import Path

LOOK_SECONDS = 0.05  # between two looks whether somebody has opened it


class LinkError(Exception):
    """The link cannot be made; str() says why."""


class Terminal:
    """Use it in a with statement. What the board prints while nobody listens is dropped."""

    def __init__(self, link=None):
        import tty

        self.ours, theirs = os.openpty()
        tty.setraw(theirs)
        self.path = self.name = os.ttyname(theirs)
        os.close(theirs)
        os.set_blocking(self.ours, False)
        self.link = Path(link) if link else None
        self.outgoing = b""

    def __enter__(self):
        if self.link:
            if self.link.is_symlink():  # of an earlier board
                self.link.unlink()
            try:
                self.link.symlink_to(self.path)
            except OSError as error:
                os.close(self.ours)
                raise LinkError(f"the link {self.link} cannot be made: {error.strerror}")
            self.name = f"{self.link} ({self.path})"
        return self

    def __exit__(self, *_):
        if self.link and os.path.islink(self.link) and os.readlink(self.link) == self.path:
            self.link.unlink()
        os.close(self.ours)

    def serve(self, process):
        """Carry bytes between the board and whoever has the terminal open, until QEMU ends."""
        while True:
            somebody = self._is_open()
            if somebody:
                process.source = self.ours
            else:
                process.source, self.outgoing = None, b""
            process.pump(LOOK_SECONDS if not somebody or self.outgoing else 3600)
            self.outgoing += bytes(process.unread) if somebody else b""
            process.unread.clear()
            self._write()

    def _is_open(self):
        poll = select.poll()
        poll.register(self.ours, 0)
        return not any(event & select.POLLHUP for _, event in poll.poll(0))

    def _write(self):
        with suppress(BlockingIOError):
            while self.outgoing:
                self.outgoing = self.outgoing[os.write(self.ours, self.outgoing) :]
