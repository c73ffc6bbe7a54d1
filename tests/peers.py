# SPDX-License-Identifier: MIT
"""Peers for a board on QEMU's user network, which shows the host's 127.0.0.1 as 10.0.2.2."""

import contextlib
import socket
import threading

import pytest
from emulator import free_port
from micropython_virt.machine import ANY_PORT

HOST = "10.0.2.2"
CONNECT = f"""
import hashlib, socket
def connect(port):
    s = socket.socket()
    s.connect(({HOST!r}, port))
    return s
"""

LISTEN = """
import socket, time
def listen(port):
    global listener
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen(4)
"""


@pytest.fixture
def peer():
    """Serve one function of a connection on the host; returns the port."""
    servers = []

    def serve(function):
        server = socket.create_server(("127.0.0.1", 0), backlog=128)
        servers.append(server)

        def run():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=handle, args=(connection,), daemon=True).start()

        def handle(connection):
            with contextlib.suppress(OSError), connection:
                connection.settimeout(60)
                function(connection)

        threading.Thread(target=run, daemon=True).start()
        return server.getsockname()[1]

    yield serve
    for server in servers:
        server.close()


@pytest.fixture
def online(start):
    """Start a board on QEMU's user network, with its address."""

    def online(netdev="user", **fields):
        board = start(net=netdev, **fields)
        board.wait_for_prompt()
        board.exec(
            "import network, time\n"
            "lan = network.LAN()\n"
            "for _ in range(10000):\n"
            "    if lan.isconnected(): break\n"
            "    time.sleep_ms(1)\n"
            "assert lan.isconnected(), lan\n",
            20,
        )
        return board

    return online


def forwarded(online, port, **fields):
    """A board whose port is forwarded; returns it with the host's port."""
    board = online(ports={port: ANY_PORT}, **fields)
    return board, board.ports[port]


def finish(board, seconds=60):
    """Wait for its end, and return what it printed and what it raised."""
    with board.deadline(seconds, "code on the board"):
        output, error = board.transport.follow(timeout=None)
    return output.decode(), error.decode()
