# SPDX-License-Identifier: MIT
"""What a program does with serial ports, of which QEMU joins two and two. For engine.py."""

import asyncio
import select

import inject
import virtio
from devices import FAULTY, TIMEOUT_MS, any_end
from engine import bound, eventually, expect
from tasks import awaited
from virtio.platform import dma
from virtio.transport import mmio

NAMES = ("one", "two", "three", "four")
DATA = bytes([n * 11 & 0xFF for n in range(251)]) * 200
SOME = DATA[:6000]
END = b"<that is the end of it>"
VISIT = b"visit "


class Ports:
    """A device with the ports of NAMES: one leads to two, three to four."""

    def __init__(self, ring):
        self.ring = ring
        self.serial = None
        self.ports = {}
        self.free = dma.available()
        self.unsettled = False
        self.open()
        self.free_open = dma.available()
        self.operations = bound(self, OPERATIONS)

    def open(self):
        if self.serial is None:
            self.serial = virtio.Serial(0, ring=self.ring)
        for port in self.serial.ports():
            port.timeout_ms = TIMEOUT_MS
            if not port.is_open:
                self.serial.port(port.name)
            self.ports[port.name] = port
        expect(sorted(self.ports) == sorted(NAMES), "ports:", self.ports)
        for port in self.ports.values():
            eventually(lambda: port.connected or self.serial.ports() is None, lambda: port)

    def close(self):
        for device in virtio.opened():
            device.deinit()
        self.serial = None
        self.ports = {}
        expect(dma.available() == self.free, dma.available(), "of", self.free, "bytes of DMA")
        for transport in virtio.scan():
            status = transport.status
            expect(status & FAULTY != mmio.DRIVER_OK, "left running:", transport, status)

    # What the engine asks for

    def before(self, kind):
        asyncio.new_event_loop()
        self.unsettled = False
        self.open()
        for port in self.ports.values():
            port.timeout_ms = TIMEOUT_MS
            drain(port)

    def bears(self, error):
        return isinstance(error, RuntimeError)

    def visit(self):
        """Use the other ports, and look at the ones that are in use."""
        try:
            self.ports["three"].write(VISIT)
            for port in self.ports.values():
                port.any()
        except (OSError, KeyError):
            if not self.unsettled:
                raise

    def check(self):
        """What is written on one end is read at the other, and all slots are where they belong."""
        asyncio.new_event_loop()
        self.unsettled = False
        said = drain(self.ports["four"], END, self.ports["three"])
        expect(said == VISIT * (len(said) // len(VISIT)), "on the other port:", said[:30])
        for a, b in (("one", "two"), ("two", "one"), ("four", "three")):
            drain(self.ports[b], END, self.ports[a])
            self.ports[a].write(DATA[:20000])
            found = drain(self.ports[b], END, self.ports[a])
            expect(found == DATA[:20000], a, "to", b, len(found), found[:16])
        expect(virtio.opened() == [self.serial], "opened:", virtio.opened())
        expect(self.serial.transport.status & FAULTY == mmio.DRIVER_OK, "not running")
        for port in self.ports.values():
            port.flush()
            rx = port._rx.queue
            eventually(
                lambda: not rx.can_pop() and rx.available_desc() == rx.size - port._rx.count,
                lambda: "%d descriptors of %r of %r" % (rx.available_desc(), rx, port),
            )
        expect(dma.available() == self.free_open, dma.available(), "of", self.free_open, "DMA")


def drain(port, end=b"", other=None):
    """All that has come to a port; with an end that the other port sends, all up to there."""
    if other is not None:
        other.write(end)
    port.timeout_ms = TIMEOUT_MS if end else 0
    found = b""
    buf = bytearray(4096)
    while not (end and found.endswith(end)):
        count = port.readinto(buf)
        if not count:
            expect(not end, "the end has not come:", len(found), found[-40:])
            break
        found += buf[:count]
    port.timeout_ms = TIMEOUT_MS
    return found[: len(found) - len(end)]


# Each operation is (prepare, run, verify), of the world.


def write(world):
    return world.ports["one"].write(SOME)


def write_much(world):
    return world.ports["one"].write(DATA)


def arrived(data):
    """What was accepted has arrived, and if it was interrupted, all of it up to somewhere."""

    def verify(world, done, result):
        found = drain(world.ports["two"], END, world.ports["one"])
        expect(found == data[: len(found)], "arrived:", len(found), found[:16])
        expect(not done or result in (None, len(found)), "it returned", result, "of", len(found))
        expect(not done or len(found) == len(data), "arrived:", len(found), "of", len(data))

    return verify


def sent(world):
    world.ports["two"].write(SOME)


def lines_sent(world):
    world.ports["two"].write(b"a line\nand another one\n")


def readinto(world):
    buf = bytearray(len(SOME))
    view = memoryview(buf)
    done = 0
    while done < len(buf):
        done += world.ports["one"].readinto(view[done:])
    return bytes(buf)


def read(world):
    return world.ports["one"].read(len(SOME))


def readline(world):
    return world.ports["one"].readline()


def rest(data, whole):
    """It read the data, and if it was interrupted, what is left is the end of all that was sent."""

    def verify(world, done, result):
        found = drain(world.ports["one"], END, world.ports["two"])
        expect(not done or result == data, "it returned", result and (len(result), result[:16]))
        left = whole[len(data) :]
        expect(whole.endswith(found) and (not done or found == left), "left:", found[:16])

    return verify


def nothing(world):
    port = world.ports["one"]
    port.timeout_ms = 0
    return port.readinto(bytearray(10)), port.read(10), port.any()


def is_nothing(world, done, result):
    expect(not done or result == (None, None, 0), "it returned", result)


def timeout(world):
    port = world.ports["one"]
    port.timeout_ms = 2
    try:
        port.readinto(bytearray(10))
    except virtio.Timeout:
        pass


def poll(world):
    poller = select.poll()
    poller.register(world.ports["one"], select.POLLIN)
    return [mask for _, mask in poller.poll(TIMEOUT_MS)]


def readable(world, done, result):
    expect(not done or result == [select.POLLIN], "it returned", result)
    rest(b"", SOME)(world, False, None)


def flush(world):
    world.ports["one"].write(SOME)
    world.ports["one"].flush()


async def _talk(world):
    for port in world.ports.values():
        port.timeout_ms = 0
    reader, writer = [asyncio.StreamReader(world.ports[name]) for name in ("two", "one")]
    writer.write(SOME)
    await writer.drain()
    return await reader.readexactly(len(SOME))


def talk(world):
    return awaited(_talk(world))


def talked(world, done, result):
    expect(not done or result == SOME, "it returned", result and len(result))
    drain(world.ports["two"], END, world.ports["one"])


# Opening, resetting, closing


def port_closed(world):
    world.ports["one"].close()
    world.unsettled = True


def unsettled(world):
    world.unsettled = True


def open_port(world):
    return world.serial.port("one").name


def close_port(world):
    world.ports["one"].close()


def open_again(world, done, _):
    world.open()


def closed(world):
    world.close()
    world.unsettled = True


def open_serial(world):
    world.serial = virtio.Serial(0, ring=world.ring)
    world.serial.port("three")


def close_serial(world):
    world.serial.deinit()


def reset_serial(world):
    world.serial.reset()


def reset_again(world, done, _):
    if not done:
        world.serial.reset()
    world.open()


def reopen(world, done, _):
    world.close()
    world.open()


def ports(world):
    return len(world.serial.ports())


def are_four(world, done, result):
    expect(not done or result == 4, "it returned", result)


OPERATIONS = {
    "write": (None, write, arrived(SOME)),
    "write-much": (None, write_much, arrived(DATA)),
    "readinto": (sent, readinto, rest(SOME, SOME)),
    "read": (sent, read, rest(SOME, SOME)),
    "readline": (lines_sent, readline, rest(b"a line\n", b"a line\nand another one\n")),
    "nothing": (None, nothing, is_nothing),
    "timeout": (None, timeout, any_end),
    "poll": (sent, poll, readable),
    "flush": (None, flush, arrived(SOME)),
    "asyncio": (None, talk, talked),
    "ports": (None, ports, are_four),
    "port-open": (port_closed, open_port, open_again),
    "port-close": (unsettled, close_port, open_again),
    "serial-open": (closed, open_serial, reopen),
    "serial-close": (unsettled, close_serial, reopen),
    "serial-reset": (unsettled, reset_serial, reset_again),
}
