# SPDX-License-Identifier: MIT
"""The network and disks at once: neither has the other's data, nor loses its own."""

import hashlib

import pytest
from conftest import INTERFACES
from emulator import Disk

MIB = 1 << 20
STREAM = 6 * MIB
ON_BOARD = """
import asyncio, hashlib, vfs, virtio

PIECE = 16384
pattern = bytes(range(251)) * 70

def piece(n):
    return memoryview(pattern)[n % 251 : n % 251 + PIECE]

async def take(port):
    reader, writer = await asyncio.open_connection("10.0.2.2", port)
    found, buf = hashlib.sha256(), bytearray(PIECE)
    while count := await reader.readinto(buf):
        found.update(memoryview(buf)[:count])
    writer.close()
    await writer.wait_closed()
    return found.digest()

async def give(port, count):
    reader, writer = await asyncio.open_connection("10.0.2.2", port)
    for n in range(count):
        writer.write(piece(n))
        await writer.drain()
    found = await reader.readexactly(32)
    writer.close()
    await writer.wait_closed()
    return found

async def use(name, first):
    "Write a file and read it again, in turns with the others."
    wrote, read, buf = hashlib.sha256(), hashlib.sha256(), bytearray(PIECE)
    with open(name, "wb") as file:
        for n in range(first, first + 20):
            wrote.update(piece(n))
            file.write(piece(n))
            await asyncio.sleep_ms(0)
    with open(name, "rb") as file:
        while count := file.readinto(buf):
            read.update(memoryview(buf)[:count])
            await asyncio.sleep_ms(0)
    return wrote.digest() == read.digest()

async def files(streams):
    rounds = 0
    while rounds < 4 or not all([stream.done() for stream in streams]):
        assert await use("/busy/%d" % (rounds & 3), rounds), rounds
        rounds += 1

async def main(taken, given):
    streams = [asyncio.create_task(take(taken)), asyncio.create_task(give(given, 400))]
    await files(streams)
    return await streams[0], await streams[1]

disk = virtio.Block(0)
vfs.{kind}.mkfs(disk)
virtio.mount(disk, "/busy")
got = asyncio.run(main({taken}, {given}))
vfs.umount("/busy")
print(" ".join([digest.hex() for digest in got]))
"""


@INTERFACES
@pytest.mark.parametrize("kind", ["VfsFat", "VfsLfs2"])
def test_files_and_streams_at_once_are_whole(online, peer, tmp_path, modern, kind):
    data = bytes(range(256)) * (STREAM // 256)
    arrived = hashlib.sha256()

    def give(connection):
        connection.sendall(data)

    def take(connection):
        left = 400 * 16384
        while left:
            part = connection.recv(min(left, 65536))
            arrived.update(part)
            left -= len(part)
        connection.sendall(arrived.digest())

    image = tmp_path / "busy.img"
    image.write_bytes(bytes(16 * MIB))
    board = online(modern=modern, disks=[Disk(image)])
    code = ON_BOARD.format(kind=kind, taken=peer(give), given=peer(take))
    taken, given = board.exec(code, 120).split()
    pattern = bytes(range(251)) * 70
    sent = b"".join(pattern[n % 251 : n % 251 + 16384] for n in range(400))
    assert taken == hashlib.sha256(data).hexdigest()
    assert given == hashlib.sha256(sent).hexdigest()
