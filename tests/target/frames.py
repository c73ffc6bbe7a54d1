"""Frames from a peer at 10.1.1.2 to the board at 10.1.1.1."""

import struct

MAC = b"\x02\0\0\0\0\x01"
PEER = b"\x02\0\0\0\0\x02"


def ones_complement(data):
    total = 0
    for n in range(0, len(data) - 1, 2):
        total += data[n] << 8 | data[n + 1]
    if len(data) & 1:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ip4(protocol, payload, source=b"\x0a\x01\x01\x02", to=b"\x0a\x01\x01\x01"):
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    head += source + to
    return (
        MAC
        + PEER
        + b"\x08\0"
        + head[:10]
        + struct.pack(">H", ones_complement(head))
        + head[12:]
        + payload
    )


def udp(payload):
    """A datagram from the peer's port 9 to our port 7."""
    ports = struct.pack(">HHH", 9, 7, 8 + len(payload))
    pseudo = b"\x0a\x01\x01\x02\x0a\x01\x01\x01\0\x11" + ports[4:6]
    checksum = ones_complement(pseudo + ports + b"\0\0" + payload) or 0xFFFF
    return ip4(17, ports + struct.pack(">H", checksum) + payload)
