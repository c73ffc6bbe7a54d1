# SPDX-License-Identifier: MIT
"""A disk in plain Python, as the virtio 1.2 specification describes it, and nothing below it."""

from struct import pack_into

from machine import mem16, mem32
from uctypes import addressof

MAGIC, VERSION, DEVICE_ID = 0x000, 0x004, 0x008  # registers, section 4.2.2
FEATURES, FEATURES_SEL, TAKEN, TAKEN_SEL = 0x010, 0x014, 0x020, 0x024
QUEUE_SEL, QUEUE_NUM_MAX, QUEUE_NUM, QUEUE_READY = 0x030, 0x034, 0x038, 0x044
GUEST_PAGE_SIZE, QUEUE_ALIGN, QUEUE_PFN = 0x028, 0x03C, 0x040  # of the legacy interface
QUEUE_DESC = 0x080  # and those of the two rings, 16 bytes further each
NOTIFY, INTERRUPT_STATUS, INTERRUPT_ACK, STATUS, CONFIG = 0x050, 0x060, 0x064, 0x070, 0x100
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK = 1, 2, 4, 8  # section 2.1
NEXT, WRITE = 1, 2  # section 2.7.5
IN, OUT = 0, 1  # section 5.2.6
SIZE, PAGE = 4, 4096


@micropython.asm_thumb
def barrier():
    data(2, 0xF3BF, 0x8F5F)  # dmb  # noqa: F821


class PlainDisk:
    """One request at a time: three descriptors, and a loop until the device has used them."""

    def __init__(self, base):
        self.base = base
        assert self.read(MAGIC) == 0x74726976 and self.read(DEVICE_ID) == 2
        modern = self.read(VERSION) == 2
        self.write(STATUS, 0)  # section 3.1.1, step by step
        while self.read(STATUS):
            pass
        self.add_status(ACKNOWLEDGE)
        self.add_status(DRIVER)
        for half in (0, 1):
            self.write(FEATURES_SEL, half)
            self.write(TAKEN_SEL, half)
            wanted = 1 if modern and half else 0  # VERSION_1, and no more
            self.write(TAKEN, self.read(FEATURES) & wanted)
        if modern:
            self.add_status(FEATURES_OK)
            assert self.read(STATUS) & FEATURES_OK, "the device refuses"
        self.set_up_queue(modern)
        self.add_status(DRIVER_OK)
        self.sectors = self.read(CONFIG)  # below 2^31; the field has 64 bits
        self.header, self.status = bytearray(16), bytearray(1)

    def set_up_queue(self, modern):
        """Section 2.7: the table, the available ring, and in the next page the used ring."""
        self.memory = bytearray(3 * PAGE)  # of which a page begins in the first
        self.desc = addressof(self.memory) + PAGE - 1 & -PAGE
        self.avail = self.desc + 16 * SIZE
        self.used = self.desc + PAGE
        self.write(QUEUE_SEL, 0)
        assert self.read(QUEUE_NUM_MAX) >= SIZE
        self.write(QUEUE_NUM, SIZE)
        if modern:
            for n, address in enumerate((self.desc, self.avail, self.used)):
                self.write(QUEUE_DESC + 16 * n, address)
                self.write(QUEUE_DESC + 16 * n + 4, 0)  # the upper half
            self.write(QUEUE_READY, 1)
        else:
            self.write(GUEST_PAGE_SIZE, PAGE)
            self.write(QUEUE_ALIGN, PAGE)
            self.write(QUEUE_PFN, self.desc // PAGE)

    def request(self, kind, sector, buf):
        """Read or write whole sectors (section 5.2.6): a header, the data, a status byte."""
        pack_into("<IIQ", self.header, 0, kind, 0, sector)
        self.status[0] = 0xFF
        self.describe(0, self.header, NEXT, 1)
        self.describe(1, buf, NEXT | WRITE if kind == IN else NEXT, 2)
        self.describe(2, self.status, WRITE, 0)
        idx = mem16[self.avail + 2]
        mem16[self.avail + 4 + 2 * (idx % SIZE)] = 0  # the chain's first descriptor
        barrier()  # all that before the index
        mem16[self.avail + 2] = idx + 1 & 0xFFFF
        barrier()  # and the index before the bell
        self.notify()
        while mem16[self.used + 2] == idx:
            pass
        barrier()  # the used index before what it speaks of
        self.write(INTERRUPT_ACK, self.read(INTERRUPT_STATUS) & 3)
        if self.status[0]:
            raise OSError(5)  # EIO

    def describe(self, n, buf, flags, following):
        entry = self.desc + 16 * n
        mem32[entry] = addressof(buf)
        mem32[entry + 4] = 0
        mem32[entry + 8] = len(buf)
        mem32[entry + 12] = flags | following << 16

    def notify(self):
        self.write(NOTIFY, 0)

    def read(self, register):
        return mem32[self.base + register]

    def write(self, register, value):
        mem32[self.base + register] = value

    def add_status(self, bit):
        self.write(STATUS, self.read(STATUS) | bit)

    # What a filesystem asks for, as vfs.AbstractBlockDev says.

    def readblocks(self, n, buf):
        self.request(IN, n, buf)

    def writeblocks(self, n, buf):
        self.request(OUT, n, buf)

    def ioctl(self, op, arg):
        return self.sectors if op == 4 else 512 if op == 5 else 0
