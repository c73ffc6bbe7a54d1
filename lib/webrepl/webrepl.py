"""The REPL over a WebSocket (port 8266), for MicroPython's WebREPL clients.

import webrepl
webrepl.start(password="secret")
"""

# SPDX-License-Identifier: MIT

import binascii
import hashlib
import os
import socket

import _webrepl
import websocket

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_CALLBACK = 20  # MicroPython's socket option for a function to be called when data has come
_PORT = 8266

_listener = None
_client = None


def start(port=_PORT, password=None):
    """Listen; the password is that of `webrepl_cfg.py` if none is given. One client at a time."""
    if password is None:
        import webrepl_cfg

        password = webrepl_cfg.PASS
    _webrepl.password(password)
    stop()
    _listen(port, _accept)
    print("WebREPL on port %d" % port)


def start_foreground(port=_PORT, password=None):
    """As `start`, but wait for the first client here."""
    if password is None:
        import webrepl_cfg

        password = webrepl_cfg.PASS
    _webrepl.password(password)
    stop()
    _listen(port, None)
    _accept(_listener)


def stop():
    """End the client's connection, and listen no more."""
    global _listener, _client
    os.dupterm(None)
    for sock in (_client, _listener):
        if sock:
            sock.close()
    _client = _listener = None


def _listen(port, callback):
    global _listener
    _listener = socket.socket()
    _listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _listener.bind(("0.0.0.0", port))
    _listener.listen(1)
    if callback:
        _listener.setsockopt(socket.SOL_SOCKET, _CALLBACK, callback)


def _accept(listener):
    global _client
    sock, peer = listener.accept()
    before = os.dupterm(None)
    os.dupterm(before)
    if before:
        sock.close()  # somebody is connected already
        return
    if not _handshake(sock):
        sock.close()
        return
    print("\nWebREPL connection from", peer[0])
    _client = sock
    stream = _webrepl._webrepl(websocket.websocket(sock, True))
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, _CALLBACK, getattr(os, "dupterm_notify", None))
    os.dupterm(stream)


def _handshake(sock):
    """The server's half of RFC 6455's opening handshake; False for who asks for something else."""
    key = None
    sock.settimeout(5)
    if not sock.readline():
        return False
    while True:
        line = sock.readline()
        if not line:
            return False
        if line == b"\r\n":
            break
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"sec-websocket-key":
            key = value.strip()
    if key is None:
        sock.write(
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nA WebSocket is expected.\n"
        )
        return False
    accept = binascii.b2a_base64(hashlib.sha1(key + _GUID).digest(), newline=False)
    sock.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    )
    sock.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    return True
