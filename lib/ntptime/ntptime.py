"""The time of day from an NTP server (RFC 5905, as a simple client)."""

# SPDX-License-Identifier: MIT

import socket
from struct import unpack_from
from time import gmtime

import machine

host = "pool.ntp.org"
port = 123
timeout = 1  # seconds

_EPOCH = 2208988800  # 1970 in NTP's seconds, which begin with 1900
_ERA = 1 << 32
_PIVOT = 1704067200  # 2024: what seems to be earlier is of NTP's next era, which begins in 2036


def time():
    """Ask the server; returns seconds since 1970. Raises `OSError`, `ValueError` for a bad answer."""
    request = bytearray(48)
    request[0] = 0x23  # version 4, client
    address = socket.getaddrinfo(host, port, 0, socket.SOCK_DGRAM)[0]
    sock = socket.socket(address[0], socket.SOCK_DGRAM)
    try:
        sock.settimeout(timeout)
        sock.sendto(request, address[-1])
        answer = sock.recv(48)
    finally:
        sock.close()
    if len(answer) < 48 or answer[0] & 7 != 4 or answer[1] == 0:
        raise ValueError("no time in the answer")
    seconds = unpack_from(">I", answer, 40)[0] - _EPOCH
    while seconds < _PIVOT:
        seconds += _ERA
    return seconds


def settime():
    """Set the board's clock by the server."""
    now = gmtime(time())
    machine.RTC().datetime((now[0], now[1], now[2], now[6], now[3], now[4], now[5], 0))
