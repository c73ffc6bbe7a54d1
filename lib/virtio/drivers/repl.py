"""The REPL on a serial port, beside the UART: input is fed to the firmware, which buffers output."""

# SPDX-License-Identifier: MIT

import os

import port_terminal

from ..platform import board

NAME = "org.micropython.repl"  # of the port that is one by agreement

_stalled_ms = 0
_patience_ms = 1000  # that a host that does not read may hold up the program


class Repl:
    """A port as a terminal, in the second place of `os.dupterm`."""

    def __init__(self, port):
        self.port = port
        port.timeout_ms = _patience_ms
        port.on_received = self.receive
        os.dupterm(port_terminal.attach(self.write, self.receive), 1)
        self.receive()

    def receive(self, _=None):
        """Feed what has come. What there is no room for stays in its slot: the host has to wait."""
        board.undisturbed(_feed, self.port)

    def write(self, buf):
        """Called by the firmware. What a host does not read for so long is lost, as by a UART."""
        port = self.port
        if not port.connected:
            return
        try:
            written = port.write(buf)
        except OSError:
            written = None
        port.timeout_ms = _patience_ms if written == len(buf) else _stalled_ms


@micropython.native
def _feed(port):
    while port._at < port._end or port._next():
        count = port_terminal.feed(port._rx.memory, port._at, port._end)
        if not count:
            return
        port._took(count)
        port.timeout_ms = _patience_ms  # who types will read the answer


def start(serial):
    """Have the REPL on a device's port for it; whether there is one."""
    for port in serial.ports():
        if port.name == NAME:
            port._open()
            Repl(port)
            return True
    return False
