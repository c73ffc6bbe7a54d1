"""Readings of a sensor in a file, each with a checksum, so that a power cut loses one at most."""

import struct
from binascii import crc32

_RECORD = "<IhI"  # seconds, value, checksum
_SIZE = struct.calcsize(_RECORD)


class DataLog:
    def __init__(self, path):
        self.path = path

    def append(self, seconds, value):
        body = struct.pack("<Ih", seconds, value)
        with open(self.path, "ab") as file:
            file.write(struct.pack(_RECORD, seconds, value, crc32(body)))

    def __iter__(self):
        """Pairs of seconds and value, up to the first record that is damaged."""
        try:
            file = open(self.path, "rb")
        except OSError:
            return
        with file:
            while True:
                record = file.read(_SIZE)
                if len(record) < _SIZE:
                    return
                seconds, value, checksum = struct.unpack(_RECORD, record)
                if crc32(record[:6]) != checksum:
                    return
                yield seconds, value


def mean(log):
    """The mean of all values; None where there are none."""
    count = total = 0
    for _, value in log:
        count += 1
        total += value
    return total / count if count else None
