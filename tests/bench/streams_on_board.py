# SPDX-License-Identifier: MIT
"""What make bench-instructions runs on the board behind instructions_on_board.py: folders and ports.

Both devices are memory, which answers within `notify`, as there.
"""

# ruff: noqa: F821 - what is not here is there

import gc
import os
from array import array
from struct import pack, unpack_from

import uctypes
import vfs
import virtio
from machine import mem8
from micropython import const

_CONSOLE = const(3)
_NINE_P = const(9)
_QUEUE_NUM = const(0x38 // 4)  # a register, in words
_KILO = const(1024)


# 9P


class Folder(Memory):
    """A 9P server of one file, `f`, whose answers are made beforehand; by the request's kind."""

    def __init__(self):
        self.answers = array("I", bytes(4 * 128))
        self.kept = []
        self.asked = []
        self.noting = False
        for kind, body in BODIES.items():
            self.keep(kind, body)
        super().__init__(_NINE_P)
        for n, byte in enumerate(pack("<H", 4) + b"fake"):
            mem8[uctypes.addressof(self.memory) + 0x100 + n] = byte

    def keep(self, kind, body):
        answer = pack("<IBH", 7 + len(body), kind + 1, 0) + body
        self.kept.append(answer)
        self.answers[kind] = uctypes.addressof(answer)

    def notify(self, idx):
        if self.noting:
            self.asked.append(waiting(self.memory))
        answer_9p(self.memory, self.answers)


QID = bytes(13)
# Rlopen, Rgetattr of a plain file of 4 KiB, Rversion, Rattach, Rwalk of one name, Rread, Rclunk.
BODIES = {
    12: QID + bytes(4),
    24: pack("<Q", 0x7FF) + QID + pack("<IIIQQQ", 0x8000, 0, 0, 1, 0, 4096) + bytes(96),
    100: pack("<IH", 512 * 1024, 8) + b"9P2000.L",
    104: QID,
    110: pack("<H", 1) + QID,
    116: pack("<I", 4096),
    118: pack("<I", 4096),
    120: b"",
}


def waiting(memory):
    """The request that is waiting, and the lengths of the buffers for its answer."""
    registers = mem32_words(memory)
    size = registers[_QUEUE_NUM]
    avail, used, table = registers[0x90 // 4], registers[0xA0 // 4], registers[0x80 // 4]
    head = mem16[avail + 4 + 2 * (mem16[used + 2] % size)]
    request, lengths = b"", []
    entry = table + 16 * head
    if mem16[entry + 12] & 4:
        entry = table = mem32[entry]
    while True:
        length, flags = mem32[entry + 8], mem16[entry + 12]
        if flags & 2:
            lengths.append(length)
        else:
            request += uctypes.bytes_at(mem32[entry], length)
        if not flags & 1:
            return request, lengths
        entry = table + 16 * mem16[entry + 14]


@micropython.viper
def answer_9p(memory, answers):
    """Answer every available request: as long as its kind says; Rread's data are what is there."""
    registers = ptr32(memory)
    size = registers[_QUEUE_NUM]
    avail = ptr16(registers[0x90 // 4])
    used = registers[0xA0 // 4]
    ring = ptr32(used + 4)
    seen = int(ptr16(used)[1])
    while seen != int(avail[1]):
        head = int(avail[2 + (seen & (size - 1))])
        table = registers[0x80 // 4]
        d = ptr32(table + 16 * head)
        if d[3] & 4:
            table = d[0]
            d = ptr32(table)
        request = ptr8(d[0])
        kind = request[4]
        source = ptr8(ptr32(answers)[kind])
        while d[3] & 2 == 0:
            d = ptr32(table + 16 * (d[3] >> 16))
        target = ptr8(d[0])
        length = source[0]
        i = 0
        while i < length:
            target[i] = source[i]
            i = i + 1
        target[5] = request[5]
        target[6] = request[6]
        if kind == 116:
            length = length + 4096
            target[0] = length
            target[1] = length >> 8
        ring[2 * (seen & (size - 1))] = head
        ring[2 * (seen & (size - 1)) + 1] = length
        seen = (seen + 1) & 0xFFFF
        ptr16(used)[1] = seen
    ptr16(used)[2 + 4 * size] = seen


def folder_counts():
    transport = Folder()
    p9 = virtio.P9(transport)
    virtio.mount(p9, "/fake")
    data = bytearray(4096)
    file = open("/fake/f", "r+b")
    words = file.handle()
    names = {"p9": p9, "words": words, "data": data, "os": os}
    yield from operation("9P: a read of 4 KiB", transport, p9, "p9.file_read(words, data)", names)
    yield from operation(
        "9P: a write of 4 KiB", transport, p9, "p9.file_write(words, data)", names
    )
    yield from operation("9P: a status", transport, p9, "os.stat('/fake/f')", names)
    opened = "open('/fake/f', 'rb').close()"
    yield from operation("9P: open and close", transport, p9, opened, names)
    file.close()
    vfs.umount("/fake")
    p9.deinit()


def operation(name, transport, p9, what, names):
    """Its instructions, the answers taken off and the true `notify` put on; its requests."""
    transport.noting = True
    exec(what, globals(), names)
    transport.noting = False
    asked, transport.asked = transport.asked, []
    whole = count(what, **names)
    p9.reap()
    for request, lengths in asked:
        inputs, outputs = [bytearray(request)], [bytearray(n) for n in lengths]
        chain = {"queue": p9._queue, "transport": transport, "inputs": inputs, "outputs": outputs}
        whole -= count(_ANSWER, before=_ADD, after=_POP, **chain)
        whole += real_notify(transport)
    yield name, "instructions", whole
    yield name + ", requests", "requests", len(asked)


# Serial ports


class Console(Memory):
    """A console device without MULTIPORT, which does nothing until it is told to."""

    def __init__(self):
        self.places = [array("I", bytes(12)) for _ in range(2)]
        self.noting = False
        self.notified = 0
        super().__init__(_CONSOLE)

    def queue_used(self, idx):
        return False  # the registers are those of one queue

    def queue_set(self, idx, size, descriptors, driver_area, device_area):
        self.places[idx][:] = array("I", (size, driver_area, device_area))

    def notify(self, idx):
        if self.noting:
            self.notified += 1

    def use(self, idx, most, length):
        use(self.places[idx], most, length)


@micropython.viper
def use(places: ptr32, most: int, length: int):
    """Use available chains, that many at most, and have a notification for the next."""
    size = places[0]
    avail = ptr16(places[1])
    used = places[2]
    ring = ptr32(used + 4)
    seen = int(ptr16(used)[1])
    while seen != int(avail[1]) and most:
        ring[2 * (seen & (size - 1))] = avail[2 + (seen & (size - 1))]
        ring[2 * (seen & (size - 1)) + 1] = length
        seen = (seen + 1) & 0xFFFF
        most = most - 1
    ptr16(used)[1] = seen
    ptr16(used)[2 + 4 * size] = avail[1]


def port_counts():
    transport = Console()
    serial = virtio.Serial(transport)
    port = serial.port()
    names = {"port": port, "transport": transport, "data": bytearray(_KILO)}
    write = ("port.write(data)", "transport.use(1, 8, 0)")
    yield from transfer("a port: a write of 1 KiB", transport, *write, names)
    read = ("port.readinto(data)", "transport.use(0, 1, %d)" % _KILO)
    yield from transfer("a port: readinto of 1 KiB", transport, *read, names)
    serial.deinit()


def transfer(name, transport, what, before, names):
    """Its instructions with the true `notify`, and how often that is called."""
    exec(before, globals(), names)
    transport.noting, transport.notified = True, 0
    exec("result = " + what, globals(), names)
    transport.noting = False
    assert names.pop("result") == _KILO
    notified = transport.notified
    whole = count(what, before=before, **names)
    instead = count("transport.notify(0)", transport=transport)
    yield name, "instructions", whole + notified * (real_notify(transport) - instead)
    yield name + ", notifications", "calls", notified


def stream_counts():
    """As in instructions_on_board.py."""
    gc.collect()
    gc.disable()
    return list(folder_counts()) + list(port_counts())
