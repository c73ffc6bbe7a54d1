# SPDX-License-Identifier: MIT
"""What a program does with a network: sockets, the interface, frames by hand. For engine.py."""

import asyncio
import errno
import socket

import inject
import network
import virtio
from devices import any_end
from engine import bound, eventually, expect
from virtio.drivers.net import reclaim
from virtio.platform import dma

GATEWAY = "10.0.2.2"
NOBODY = (GATEWAY, 1)  # a port of the host's where nobody listens
HERE = "127.0.0.1"
DATA = bytes([n * 7 & 0xFF for n in range(251)]) * 20
TIMEOUT = 5


class Sockets:
    """The interface, on QEMU's user network."""

    def __init__(self, ring):
        self.lan = network.LAN()
        self.unsettled = False
        self.port = 8000
        self.up()
        self.free_open = dma.available()
        self.operations = bound(self, OPERATIONS)

    def up(self):
        # What there was no memory to begin, nor to reset, is the program's to let go.
        for driver in virtio.opened():
            if isinstance(driver, virtio.Net) and driver.transport.failed:
                driver.deinit()
        self.lan.active(True)
        if self.lan.ipconfig("dhcp4"):
            # By hand: an answer of DHCP's may come at any time.
            self.lan.ipconfig(dhcp4=False)
            self.lan.ipconfig(addr4="10.0.2.15/24", gw4=GATEWAY)
        eventually(self.lan.isconnected, lambda: self.lan)

    # What the engine asks for

    def before(self, kind):
        asyncio.new_event_loop()
        self.kind = kind
        self.unsettled = False
        self.up()
        self.port += 1

    def bears(self, error):
        # wait_for() has a task, too, for which there may be no memory.
        if isinstance(error, (asyncio.TimeoutError, asyncio.CancelledError)):
            return self.kind in (inject.NO_MEMORY, inject.NO_MORE_MEMORY, inject.RECURSION)
        # One for whose number there was no memory has none.
        return isinstance(error, OSError) and error.errno in (None, errno.ENOMEM)

    def visit(self):
        """Ask the host for what it refuses: the answer comes through the driver."""
        try:
            refused()
        except OSError:
            if not self.unsettled:
                raise

    def check(self):
        """The interface is up, and data gets through, both here and to the host."""
        asyncio.new_event_loop()
        self.unsettled = False
        self.up()
        refused()
        self.port += 1
        expect(exchange(self) == DATA, "other data came")
        nets = [driver for driver in virtio.opened() if isinstance(driver, virtio.Net)]
        expect(len(nets) == 1, "opened:", nets)
        (net,) = nets
        rx = net.rx.queue
        eventually(lambda: not rx.can_pop(), lambda: rx)
        refused()
        reclaim(net)  # as the driver itself does where few are free
        expect(net.state[1] == 0, net.state[1], "slots are left to be sent")
        expect(net.state[0] >= net.tx.count - 8, net.state[0], "slots are free")
        expect(dma.available() == self.free_open, dma.available(), "of", self.free_open, "DMA")
        # As many as there are connections, less those that the collector has yet to close.
        some = [socket.socket() for _ in range(40)]
        for s in some:
            s.close()


def refused():
    s = socket.socket()
    try:
        s.settimeout(TIMEOUT)
        s.connect(NOBODY)
    except OSError as error:
        if error.errno != errno.ECONNREFUSED:
            raise
    finally:
        s.close()


def exchange(world):
    """Send to a server on this board, which sends it back."""
    listener = socket.socket()
    ours = theirs = None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HERE, world.port))
        listener.listen(2)
        ours = socket.socket()
        ours.settimeout(TIMEOUT)
        ours.connect((HERE, world.port))
        theirs = listener.accept()[0]
        theirs.settimeout(TIMEOUT)
        ours.write(DATA)
        theirs.write(theirs.read(len(DATA)))
        return ours.read(len(DATA))
    finally:
        for s in (listener, ours, theirs):
            if s:
                s.close()


def datagrams(world):
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        b.bind((HERE, world.port))
        b.settimeout(TIMEOUT)
        for n in range(5):
            a.sendto(DATA[:n], (HERE, world.port))
        return [b.recv(100) for _ in range(5)]
    finally:
        a.close()
        b.close()


def streams(world):
    async def serve(reader, writer):
        writer.write(await reader.readexactly(500))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(serve, HERE, world.port)
        reader, writer = await asyncio.open_connection(HERE, world.port)
        try:
            writer.write(DATA[:500])
            await writer.drain()
            return await reader.readexactly(500)
        finally:
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()

    # Of a server's task that there was no memory for, the client hears nothing.
    return asyncio.run(asyncio.wait_for(main(), TIMEOUT))


def look_up(world):
    return socket.getaddrinfo(GATEWAY, 80)[0][-1]


def down_and_up(world):
    world.unsettled = True
    world.lan.active(False)
    world.up()
    world.unsettled = False


def down(world):
    world.unsettled = True
    world.lan.active(False)


def frames(world):
    net = virtio.Net(0)
    try:
        us = bytes((10, 0, 2, 15))
        ask = b"\xff" * 6 + net.mac + b"\x08\x06" + bytes((0, 1, 8, 0, 6, 4, 0, 1))
        ask += net.mac + us + bytes(6) + bytes((10, 0, 2, 2))
        net.send(ask)
        buf = bytearray(1514)
        while True:
            net.recvinto(buf, 1000 * TIMEOUT)
            if buf[12:14] == b"\x08\x06" and buf[21] == 2:
                return bytes(buf[28:32])
    finally:
        net.deinit()


def returns(expected):
    def verify(world, done, result):
        if done:
            expect(result == expected, "it returned", result)

    return verify


def closed(world, done, result):
    returns(bytes((10, 0, 2, 2)))(world, done, result)
    for driver in virtio.opened():
        if isinstance(driver, virtio.Net):
            driver.deinit()


OPERATIONS = {
    "exchange": (None, exchange, returns(DATA)),
    "refused": (None, lambda world: refused(), any_end),
    "datagrams": (None, datagrams, returns([DATA[:n] for n in range(5)])),
    "streams": (None, streams, returns(DATA[:500])),
    "getaddrinfo": (None, look_up, returns((GATEWAY, 80))),
    "down and up": (None, down_and_up, any_end),
    "frames": (down, frames, closed),
}
