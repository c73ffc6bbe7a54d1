# SPDX-License-Identifier: MIT
"""A disk in memory."""


class Ram:
    """Blocks of 512 bytes, for FAT and littlefs."""

    def __init__(self, blocks):
        self.data = memoryview(bytearray(512 * blocks))

    def readblocks(self, number, buf, offset=0):
        start = 512 * number + offset
        buf[:] = self.data[start : start + len(buf)]

    def writeblocks(self, number, buf, offset=0):
        start = 512 * number + offset
        self.data[start : start + len(buf)] = buf

    def ioctl(self, operation, argument):
        return {4: len(self.data) // 512, 5: 512, 6: 0}.get(operation)
