"""Filesystems that were damaged at random, on a disk that is memory."""

import random

import os
import vfs
import virtio
from virtio import mount

_COUNT = 4
_SIZE = 5


class Memory:
    """A disk whose blocks are a bytearray."""

    read_only = False

    def __init__(self, data, block_size=512):
        self.data = data
        self.block_size = block_size
        self.block_count = len(data) // block_size

    def readblocks(self, block_num, buf, offset=0):
        at = self._place(block_num, offset or 0, len(buf))
        if at is None:
            return -22
        memoryview(buf)[:] = memoryview(self.data)[at : at + len(buf)]

    def writeblocks(self, block_num, buf, offset=0):
        at = self._place(block_num, offset or 0, len(buf))
        if at is None:
            return -22
        self.data[at : at + len(buf)] = buf

    def _place(self, block_num, offset, length):
        at = block_num * self.block_size + offset
        return at if 0 <= at <= self.block_count * self.block_size - length else None

    def flush(self):
        pass

    def reset(self):
        pass

    def ioctl(self, op, arg):
        if op == _COUNT:
            return self.block_count
        if op == _SIZE:
            return self.block_size
        return 0


def damage(data):
    """Change some of it, mostly where filesystems say what they are."""
    kind = random.randrange(6)
    if kind == 0:
        return data[: random.randrange(1, len(data) // 512) * 512]
    if kind == 1:
        at = random.randrange(len(data) // 512) * 512
        data[at : at + 512] = bytes(512)
    for _ in range(random.randrange(1, 8)):
        most = random.choice((64, 512, 2048, len(data)))
        data[random.randrange(min(most, len(data)))] = random.getrandbits(8)
    return data


def run(image, count, seed):
    """Mount *count* damaged copies; returns how many were mounted, were unknown, were refused."""
    random.seed(seed)
    counts = [0, 0, 0]
    for n in range(count):
        data = damage(bytearray(image))
        try:
            mount(Memory(data), "/damaged")
        except OSError as error:
            if error.errno == 19:
                counts[1] += 1
            elif len(error.args) > 1 or isinstance(error, virtio.VirtioError):
                counts[2] += 1
            else:
                print("step %d of seed %d" % (n, seed))
                raise
            continue
        except Exception:
            print("step %d of seed %d" % (n, seed))
            raise
        counts[0] += 1
        try:
            for n, entry in enumerate(os.ilistdir("/damaged")):
                if n == 50:
                    break  # a damaged folder need not end
                os.stat("/damaged/" + entry[0])
        except (OSError, ValueError):
            pass
        vfs.umount("/damaged")
    return counts
