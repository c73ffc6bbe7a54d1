# SPDX-License-Identifier: MIT
"""What make bench runs on the board: each function returns microseconds a request or a file."""

import os
from time import ticks_diff, ticks_us

import floor
import vfs
import virtio

_AT_LEAST = 30_000  # µs that a measurement lasts
_DISKS = {"/": 1, "/lfs": 2}  # where the files are, as bench.compare's machine has them


def timed(run):
    """Microseconds of one `run(1)`, from as many as make a measurement long enough.

    A run that returns what it took is believed: the C driver sets its device up in each.
    """
    run(1)
    times = 1
    while True:
        start = ticks_us()
        took = run(times)
        if took is None:
            took = ticks_diff(ticks_us(), start)
        if took >= _AT_LEAST:
            return took / times
        times = max(2 * times, times * _AT_LEAST // max(took, 1))


def device(kind, n):
    return [t for t in virtio.scan() if t.device_type == kind][n]


# Disks: requests of `size` bytes, `depth` of them at a time, for blocks that follow each other.
# All of them have the one buffer, so that a large one at depth 128 fits.


def library(n, write, size, depth):
    """Through readblocks and writeblocks one at a time, through the batch calls otherwise."""
    disk, buf = virtio.Block(n), bytearray(size)
    if depth == 1:
        call = disk.writeblocks if write else disk.readblocks

        def run(times):
            for _ in range(times):
                call(0, buf)

    else:
        call = disk.writemany if write else disk.readmany
        requests = [(i * (size // 512), buf) for i in range(depth)]

        def run(times):
            for _ in range(times):
                call(requests)

    try:
        return timed(run) / depth
    finally:
        disk.deinit()


def queue(n, write, size, depth):
    """Through a virtqueue by hand: add, one notification, pop_used."""
    disk, buf = virtio.Block(n), bytearray(size)
    vq = disk.queues[0]
    chains = []
    for i in range(min(depth, vq.size)):
        header, status = bytearray(16), bytearray(1)
        header[0] = write
        header[8:12] = (i * (size // 512)).to_bytes(4, "little")
        chains.append(([header, buf], [status]) if write else ([header], [buf, status]))
    tokens = [0] * depth

    def run(times):
        for _ in range(times):
            for i in range(depth):
                inputs, outputs = chains[i]
                tokens[i] = vq.add(inputs, outputs)
            if vq.should_notify():
                disk.transport.notify(0)
            for i in range(depth):
                while not vq.can_pop():
                    pass
                vq.pop_used(vq.peek_used() if depth > 1 else tokens[0])

    try:
        return timed(run) / depth
    finally:
        disk.deinit()


def bare(n, write, size, depth):
    """The driver in C."""
    address, buf = device(2, n).base, bytearray(size)
    return timed(lambda times: floor.disk(address, write, buf, depth, times)) / depth


# Entropy


def library_entropy(size):
    rng, buf = virtio.Rng(0), bytearray(size)

    def run(times):
        for _ in range(times):
            rng.readinto(buf)

    try:
        return timed(run)
    finally:
        rng.deinit()


def bare_entropy(size):
    address, buf = device(4, 0).base, bytearray(size)
    return timed(lambda times: floor.entropy(address, buf, times))


# Files


def write_file(point, total, piece):
    """Microseconds for writing a file of `total` bytes in calls of `piece` bytes, to the disk."""
    data = bytearray(piece)
    os.chdir(point)
    if "bench.bin" in os.listdir():
        os.remove("bench.bin")
    start = ticks_us()
    with open("bench.bin", "wb") as file:
        for _ in range(total // piece):
            file.write(data)
    os.sync()
    return ticks_diff(ticks_us(), start)


def read_file(point, total, piece):
    data = bytearray(piece)
    mount_again(point)
    os.chdir(point)
    start = ticks_us()
    with open("bench.bin", "rb") as file:
        for _ in range(total // piece):
            file.readinto(data)
    return ticks_diff(ticks_us(), start)


def mount_again(point):
    """So that no cache of the filesystem knows the file, as on Linux."""
    transport = device(2, _DISKS[point])
    (disk,) = [driver for driver in virtio.opened() if driver.transport == transport]
    os.chdir("/")
    vfs.umount(point)
    virtio.mount(disk, point)
