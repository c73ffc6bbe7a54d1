# SPDX-License-Identifier: MIT
"""Every feature of QEMU's block device, on the board and seen from the host.

A comment that begins with "qtest" names the case of QEMU's tests/qtest/virtio-blk-test.c that a
test is the counterpart of. The cases msix, nxvirtq and hotplug are about PCI, and have none.
"""

import os
import random
import struct
import time

import pytest
from conftest import INTERFACES
from emulator import Board, Disk, Machine
from station import HARNESS

MIB = 1 << 20
SIZE = 16 * MIB
TIB4 = 4 << 40

# A disk each, in this order on QEMU's command line: name, bytes, options of the device.
DISKS = [
    ("plain", SIZE, "serial=disk-0123456789-abcdefghij"),
    ("geometry", SIZE, "cyls=32,heads=16,secs=63,write-cache=off"),
    ("blocks", SIZE, "logical_block_size=4096,physical_block_size=8192,min_io_size=8192,"
     "opt_io_size=65536"),
    ("huge", TIB4, ""),
    ("queues", SIZE, "num-queues=6"),
    ("bare", SIZE, "config-wce=off,discard=off,write-zeroes=off,indirect_desc=off,event_idx=off"),
    ("limits", SIZE, "max-discard-sectors=100,max-write-zeroes-sectors=7"),
    ("direct", SIZE, "indirect_desc=off,event_idx=off"),
    ("indirect", SIZE, "event_idx=off"),
    ("event_idx", SIZE, "indirect_desc=off"),
    ("segments", SIZE, "queue-size=16"),
]  # fmt: skip

# What the rings of some of them are negotiated with.
FORMS = {
    "direct": [],
    "indirect": ["indirect"],
    "event_idx": ["event_idx"],
    "plain": ["indirect", "event_idx"],
}

PROLOGUE = """
import struct, virtio
from virtio import *
from check import raises, allocates_nothing

def pattern(first, count=1):
    return b"".join([struct.pack("<I", n) * 128 for n in range(first, first + count)])

def form():
    return [flag for flag in ("indirect", "event_idx") if flag in repr(disk.queues[0])]

def used():
    return [int(repr(queue).split("used=")[1].split(",")[0]) for queue in disk.queues]

disk = virtio.Block({number})
"""


def pattern(first, count=1):
    return b"".join(struct.pack("<I", n) * 128 for n in range(first, first + count))


class Bench:
    """A board with all those disks, and what the host holds of them."""

    def __init__(self, folder, modern):
        self.files = {}
        disks = []
        for name, size, options in DISKS:
            path = folder / name
            path.touch()
            os.truncate(path, size)
            self.files[name] = path
            disks.append(Disk(path, options=options))
        more = ["-set", "drive.disk0.discard=unmap", "-set", "drive.disk2.discard=unmap"]
        machine = Machine(modern=modern, disks=disks, more=more)
        self.board = Board(machine)
        self.board.wait_for_prompt()
        self.board.exec(HARNESS.read_bytes())
        check = HARNESS.with_name("target") / "check.py"
        self.board.exec(f"mount_sources()['check.py'] = {check.read_bytes()!r}")

    def run(self, name, code):
        """Run code with one of the disks open, and return what it printed."""
        number = [disk[0] for disk in DISKS].index(name)
        code = PROLOGUE.format(number=number) + code
        try:
            return self.board.exec(code)
        finally:
            self.board.exec("disk.deinit()")

    def on_host(self, name, sector, count=1):
        with open(self.files[name], "rb") as file:
            file.seek(sector * 512)
            return file.read(count * 512)

    def allocated(self, name):
        return os.stat(self.files[name]).st_blocks * 512


def about(size):
    """A size of which some blocks are the host's filesystem's own, whose number may change."""
    return pytest.approx(size, abs=MIB // 2)


@pytest.fixture(scope="module", params=[False, True], ids=["legacy", "modern"])
def bench(request, tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("disks"), request.param)
    yield bench
    bench.board.close()


# qtest basic, indirect and idx: requests in each form of the ring.
@pytest.mark.parametrize("name", FORMS)
def test_basic_requests_in_each_form_of_the_ring(bench, name):
    bench.run(
        name,
        f"""
assert form() == {FORMS[name]}
disk.writeblocks(7, pattern(7, 5))
disk.flush()
disk.write_zeroes(9, 1)
disk.discard(32, 8)
buf = bytearray(5 * 512)
disk.readblocks(7, buf)
assert buf == pattern(7, 2) + bytes(512) + pattern(10, 2)
""",
    )
    expected = pattern(7, 2) + bytes(512) + pattern(10, 2)
    assert bench.on_host(name, 6, 7) == bytes(512) + expected + bytes(512)


# qtest basic and indirect: the whole request in two descriptors, direct or in an indirect table.
# A modern device takes any framing (section 2.7.4). QEMU's legacy one takes this too, although the
# MMIO slots never show ANY_LAYOUT, by which qtest basic goes; qtest indirect does not ask for it.
@pytest.mark.parametrize("name", ["direct", "indirect"])
def test_a_request_may_have_two_descriptors(bench, name):
    bench.run(
        name,
        f"""
assert form() == {FORMS[name]}
queue = disk.queues[0]

def request(inputs, outputs):
    token = queue.add(inputs, outputs)
    disk.transport.notify(0)
    while not queue.can_pop():
        pass
    return queue.pop_used(token)

status = bytearray(b"?")
assert request([struct.pack("<IIQ", 1, 0, 20) + pattern(3)], [status]) == 1
assert status == b"\\0"
data = bytearray(512) + b"?"
assert request([struct.pack("<IIQ", 0, 0, 20)], [data]) == 513
assert data == pattern(3) + b"\\0"
""",
    )
    assert bench.on_host(name, 20) == pattern(3)


# qtest idx: one interrupt for two requests, which with event indices is the one that was asked
# for. qtest asks for that of the second; the driver always asks for the next, so it is the first.
@pytest.mark.parametrize(("name", "interrupts"), [("event_idx", 1), ("direct", 2)])
def test_with_event_indices_only_the_next_request_interrupts_until_the_driver_looks(
    bench, name, interrupts
):
    bench.run(
        name,
        f"""
from time import sleep_ms
assert form() == {FORMS[name]}
interrupts = []
disk.transport.listen(interrupts.append)
queue = disk.queues[0]
queue.set_dev_notify(True)

def read(sector):
    status = bytearray(b"?")
    token = queue.add([struct.pack("<IIQ", 0, 0, sector)], [bytearray(512), status])
    disk.transport.notify(0)
    while status == b"?":
        pass
    sleep_ms(20)
    assert status == b"\\0"
    return token

tokens = [read(1), read(2)]
assert interrupts == [1] * {interrupts}, interrupts
for token in tokens:
    queue.pop_used(token)
queue.pop_used(read(3))
assert interrupts == [1] * {interrupts + 1}, interrupts
""",
    )


# A queue of another size than the default, of which qtest has no case. It is the driver that asks
# for it: QEMU's MMIO slots offer 1024 whatever the option queue-size says, so a device that offers
# less is in target/test_batch.py.
@pytest.mark.parametrize("name", ["plain", "direct"])
def test_a_queue_of_8_descriptors_does_it_too(bench, name):
    bench.run(
        name,
        """
class Small(virtio.Block):
    def queue(self, idx, size, frames):
        return super().queue(idx, 8, frames)

disk.deinit()
disk = Small(disk.transport)
assert disk.queues[0].size == 8, disk.queues
disk.writemany([(n, pattern(n)) for n in range(100)])
bufs = [bytearray(512) for _ in range(100)]
disk.readmany([(n, bufs[n]) for n in range(100)])
assert b"".join(bufs) == pattern(0, 100)
disk.writev(200, [pattern(n) for n in range(100)])
disk.flush()
""",
    )
    assert bench.on_host(name, 0, 100) == pattern(0, 100)
    assert bench.on_host(name, 200, 100) == pattern(0, 100)


def test_the_serial_is_read_as_far_as_the_format_has_room(bench):
    bench.run("plain", "assert disk.serial == 'disk-0123456789-abcd', disk.serial")
    bench.run("bare", "assert disk.serial == ''")


def test_geometry_and_topology(bench):
    bench.run(
        "geometry",
        """
assert disk.geometry == (32, 16, 63), disk.geometry
assert disk.topology.physical_block_size == 512
""",
    )
    bench.run("blocks", "assert disk.topology == (8192, 0, 8192, 65536), disk.topology")


def test_the_write_cache_is_read_and_set(bench):
    bench.run(
        "plain",
        """
assert disk.write_cache
disk.write_cache = False
assert not disk.write_cache
disk.writeblocks(0, pattern(0))
disk.flush()
disk.write_cache = True
assert disk.write_cache
""",
    )
    # And by QEMU's word, which a reset of the device alone would put back.
    bench.board.exec(PROLOGUE.format(number=0))
    for enable in (False, True, False):
        for code in (f"disk.write_cache = {enable}", "disk.reset()"):
            bench.board.exec(code)
            drives = {d["device"]: d for d in bench.board.monitor.cmd("query-block")}
            assert drives["disk0"]["inserted"]["cache"]["writeback"] == enable, (enable, code)
    bench.board.exec("disk.deinit()")
    bench.run("geometry", "assert not disk.write_cache")
    bench.run(
        "bare",
        """
assert disk.write_cache
raises(Unsupported, setattr, disk, "write_cache", False)
""",
    )


def test_blocks_of_4096_bytes(bench):
    bench.run(
        "blocks",
        """
assert (disk.block_size, disk.block_count, disk.capacity) == (4096, 4096, 32768)
disk.writeblocks(2, pattern(16, 16))
raises(InvalidParam, disk.writeblocks, 2, bytes(512))
raises(InvalidParam, disk.readblocks, 4095, bytearray(8192))
buf = bytearray(8192)
disk.readblocks(2, buf)
assert buf == pattern(16, 16)
# A part of a block is read, changed and written back whole.
disk.writeblocks(2, b"changed", 4090)
buf = bytearray(9)
disk.readblocks(2, buf, 4089)
assert buf == b"\\0changed\\0", buf
# So are the two ends of a range that has whole blocks between them.
disk.writeblocks(5, b"<" + b"-" * 8190 + b">", 4095)
assert disk.ioctl(5, 0) == 4096 and disk.ioctl(4, 0) == 4096
""",
    )
    expected = bytearray(pattern(16, 16))
    expected[4090:4097] = b"changed"
    ends = bytes(4095) + b"<" + b"-" * 8190 + b">" + bytes(1)
    assert bench.on_host("blocks", 40, 24) == ends
    assert bench.on_host("blocks", 15, 18) == bytes(512) + expected + bytes(512)


def test_blocks_of_4096_bytes_are_the_unit_of_every_request(bench):
    bench.run(
        "blocks",
        """
data = pattern(800, 96)
disk.writev(100, [data[:100], data[100:5000], data[5000:]])
disk.writemany([(112, pattern(896, 8)), (113, pattern(904, 24))])
disk.write_zeroes(101, 2)
disk.write_zeroes(105, 1, unmap=True)
disk.discard(108, 3)
for requests in (disk.writemany, disk.readmany):
    raises(InvalidParam, requests, [(100, bytearray(512))])
raises(InvalidParam, disk.writev, 100, [bytes(512)])
raises(InvalidParam, disk.write_zeroes, 4095, 2)
raises(InvalidParam, disk.discard, 4096, 1)
bufs = [bytearray(length) for length in (4096, 8000, 192)]
disk.readv(100, bufs)
assert b"".join(bufs) == pattern(800, 8) + bytes(8192)
""",
    )
    blocks = [pattern(8 * n, 8) for n in range(100, 116)]
    for n in (1, 2, 5, 8, 9, 10):
        blocks[n] = bytes(4096)
    assert bench.on_host("blocks", 800, 128) == b"".join(blocks)


def test_a_disk_of_4_tebibytes_is_used_to_its_end(bench):
    assert "4096 GiB, no known filesystem" in bench.board.log.read_text()
    bench.run(
        "huge",
        """
last = (4 << 40) // 512 - 1
assert disk.block_count == last + 1 and last > 1 << 32
for first in (0, (1 << 30) - 1, (1 << 31) - 1, (1 << 32) - 1, (1 << 32) + 5, last - 3):
    disk.writeblocks(first, pattern(first & 0xFFFF, 4))
    buf = bytearray(2048)
    disk.readblocks(first, buf)
    assert buf == pattern(first & 0xFFFF, 4), first
disk.writeblocks(last, b"the end", 505)
disk.writemany([(last - 1, pattern(1)), ((1 << 32) - 1, pattern(2))])
raises(InvalidParam, disk.readblocks, last, bytearray(1024))
raises(InvalidParam, disk.writeblocks, last + 1, bytes(512))
raises(InvalidParam, disk.writeblocks, last, b"over", 510)
# Only integers beyond 30 bits are objects.
allocates_nothing(lambda: disk.readblocks(8, buf))
""",
    )
    last = TIB4 // 512 - 1
    assert bench.on_host("huge", last)[505:] == b"the end"
    assert bench.on_host("huge", last - 1) == pattern(1)
    assert bench.on_host("huge", (1 << 32) - 1) == pattern(2)
    assert bench.on_host("huge", 1 << 32) == pattern(0x10000)


def test_several_queues_all_carry_requests(bench):
    bench.run(
        "queues",
        """
assert [queue.idx for queue in disk.queues] == [0, 1, 2, 3]
buf = bytearray(512)
for n in range(40):
    disk.writeblocks(n, pattern(n))
for n in range(40):
    disk.readblocks(n, buf)
    assert buf == pattern(n)
assert all("avail=20, used=20" in repr(queue) for queue in disk.queues), disk.queues
""",
    )
    assert bench.on_host("queues", 0, 40) == pattern(0, 40)


def test_several_queues_take_turns_with_tasks_and_batches_and_after_a_reset(bench):
    bench.run(
        "queues",
        """
import asyncio
disk.writeblocks(0, pattern(0, 40))
disk.reset()

def cleared():
    for buf in bufs:
        buf[:] = bytes(512)
    return [(n, bufs[n]) for n in range(40)]

async def read_all():
    await asyncio.gather(*[disk.aread(n, buf) for n, buf in cleared()])

bufs = [bytearray(512) for _ in range(40)]
for _ in range(2):
    asyncio.run(read_all())
    assert b"".join(bufs) == pattern(0, 40)
    assert used() == [10, 10, 10, 10]
    for expected in ([10, 50, 10, 10], [10, 50, 50, 10]):
        disk.readmany(cleared())
        assert b"".join(bufs) == pattern(0, 40)
        assert used() == expected, disk.queues
    disk.reset()
""",
    )


# qtest basic: its write-zeroes requests, and then some.
def test_write_zeroes(bench):
    bench.run(
        "plain",
        """
disk.writeblocks(4096, pattern(1, 300))
disk.write_zeroes(4097, 10)
disk.write_zeroes(4200, 20, unmap=True)
buf = bytearray(512 * 300)
disk.readblocks(4096, buf)
expected = bytearray(pattern(1, 300))
expected[512:512 * 11] = bytes(512 * 10)
expected[512 * 104:512 * 124] = bytes(512 * 20)
assert buf == expected
""",
    )
    assert bench.on_host("plain", 4096) == pattern(1)
    assert bench.on_host("plain", 4097, 10) == bytes(5120)


def test_only_with_unmap_do_zeros_give_their_space_back(bench):
    bench.run("plain", "for n in range(4): disk.writeblocks(8192 + n * 2048, pattern(n) * 2048)")
    before = bench.allocated("plain")
    bench.run("plain", "disk.write_zeroes(8192, 8192)")
    assert bench.allocated("plain") == about(before)
    bench.run("plain", "disk.write_zeroes(8192, 8192, unmap=True)")
    assert bench.allocated("plain") == about(before - 4 * MIB)


def test_discard_gives_the_space_back(bench):
    bench.run("plain", "for n in range(8): disk.writeblocks(16384 + n * 2048, pattern(n) * 2048)")
    before = bench.allocated("plain")
    assert before >= 8 * MIB
    bench.run("plain", "disk.discard(16384, 16384)")
    assert bench.allocated("plain") == about(before - 8 * MIB)
    bench.run("plain", "disk.writeblocks(20000, pattern(3))")
    bench.run("plain", "disk.write_zeroes(20000, 8, unmap=True)")
    assert bench.on_host("plain", 20000) == bytes(512)


def test_long_ranges_are_cleared_in_as_many_requests_as_the_device_asks_for(bench):
    bench.run(
        "limits",
        """
disk.writeblocks(1000, pattern(1, 400))
disk.write_zeroes(1001, 50)
buf = bytearray(512 * 52)
disk.readblocks(1000, buf)
assert buf == pattern(1) + bytes(512 * 50) + pattern(52)
disk.discard(1052, 348)
used = repr(disk.queues[0])
assert "used=14" in used, used   # 1 write, 8 of at most 7 blocks, 1 read, 4 of at most 100
""",
    )


def test_what_is_not_offered_is_Unsupported(bench):
    bench.run(
        "bare",
        """
raises(Unsupported, disk.discard, 0, 1, errno=95)
raises(Unsupported, disk.write_zeroes, 0, 1, errno=95)
""",
    )


def test_clearing_out_of_range_is_a_ValueError(bench):
    bench.run(
        "plain",
        """
for first, count in ((32767, 2), (32768, 1), (-1, 1), (0, 0), (0, -1)):
    raises(ValueError, disk.discard, first, count)
    raises(ValueError, disk.write_zeroes, first, count)
""",
    )


def test_several_buffers_in_one_request(bench):
    bench.run(
        "plain",
        """
disk.writev(600, [pattern(1)[:100], pattern(1)[100:], pattern(2, 2)])
bufs = [bytearray(n) for n in (512, 1, 511, 512)]
disk.readv(600, bufs)
assert b"".join(bufs) == pattern(1, 3)
assert "used=2" in repr(disk.queues[0])
raises(InvalidParam, disk.writev, 700, [bytes(1)] * 512)
raises(InvalidParam, disk.writev, 700, [])
raises(InvalidParam, disk.writev, 700, [bytes(511)])
raises(InvalidParam, disk.readv, 32767, bufs)
""",
    )
    assert bench.on_host("plain", 600, 3) == pattern(1, 3)


# seg_max is 62 with the driver's queue of 64, and queue-size - 2 where the device's is smaller.
@pytest.mark.parametrize(("name", "most"), [("plain", 62), ("segments", 14)])
def test_buffers_beyond_seg_max_go_in_as_few_requests_as_blocks_allow(bench, name, most):
    bench.run(
        name,
        f"""
def requests(function, block, bufs):
    before = used()[0]
    function(block, bufs)
    return used()[0] - before

most = {most}
for count in (14, 15, 64, 300):
    expected = (count + most - 1) // most
    assert requests(disk.writev, 700, [pattern(n) for n in range(count)]) == expected
    bufs = [bytearray(512) for _ in range(count)]
    assert requests(disk.readv, 700, bufs) == expected
    assert b"".join(bufs) == pattern(0, count)
# Buffers that are cut where a block ends.
data = pattern(1000, 175)
bufs = [data[at:at + 700] for at in range(0, len(data), 700)]
disk.writev(1000, bufs)
bufs = [bytearray(700) for _ in bufs]
disk.readv(1000, bufs)
assert b"".join(bufs) == data
# A block that does not fit into a request.
bufs = [bytearray(512)] * most + [bytearray(8)] * 64
assert requests(lambda *_: raises(InvalidParam, disk.writev, 700, bufs), 700, bufs) == 0
""",
    )
    assert bench.on_host(name, 700, 300) == pattern(0, 300)
    assert bench.on_host(name, 1000, 175) == pattern(1000, 175)


# qtest config and resize: the capacity changes before the first request, and after some.
def test_a_resize_is_seen_without_asking(bench):
    bench.board.exec(PROLOGUE.format(number=0))
    bench.board.exec(f"assert disk.capacity == {SIZE // 512}")
    for size in (32, 24):
        bench.board.exec("""
sizes = []
disk.on_resize = lambda disk: sizes.append((disk.capacity, disk.block_count, disk.ioctl(4, 0)))
""")
        bench.board.monitor.cmd("block_resize", device="disk0", size=size * MIB)
        sectors = size * 2048
        bench.board.exec(f"""
import time
while not sizes:
    time.sleep_ms(10)
assert sizes == [({sectors}, {sectors}, {sectors})], sizes
disk.writeblocks({sectors} - 1, pattern(1))
raises(InvalidParam, disk.readblocks, {sectors}, bytearray(512))
""")
    bench.board.exec("disk.deinit()")
    assert bench.on_host("plain", 24 * 2048 - 1) == pattern(1)


CTRL_C = """
from time import sleep_ms
bufs = [bytearray(512) for _ in range(100)]
requests = [(7 * n, bufs[n]) for n in range(100)]
rounds = 0

def until_ctrl_c():
    global rounds
    try:
        print("begun")
        while True:
            disk.readmany(requests)
            disk.readblocks(7, bufs[0])
            disk.writeblocks(7, bufs[0])
            disk.flush()
            rounds += 1
    except KeyboardInterrupt:
        pass

def check():
    queue = disk.queues[0]
    while queue.available_desc() < queue.size:
        queue.can_pop()  # takes back what Ctrl-C left to the device
        sleep_ms(1)
    assert all([buf is None for buf in queue._held])
    disk.readmany(requests)
    assert all([bufs[n] == pattern(7 * n) for n in range(100)])
"""


def test_ctrl_c_anywhere_in_requests_and_batches_loses_nothing(bench):
    board = bench.board
    bench.run("plain", "disk.writeblocks(0, pattern(0, 701))")
    board.exec(PROLOGUE.format(number=0) + CTRL_C)
    chance = random.Random(1)
    for _ in range(150):
        board.transport.exec_raw_no_follow("until_ctrl_c()\ncheck()\nprint('as it was')")
        with board.deadline(20, "Ctrl-C"):
            board.transport.read_until(1, b"begun\r\n")
            time.sleep(chance.uniform(0, 0.03))
            board.type("\x03")
            output, error = board.transport.follow(10)
        assert output.strip() == b"as it was", error.decode()
    assert int(board.exec("print(rounds)\ndisk.deinit()")) > 150


@INTERFACES
def test_a_request_that_is_slept_for_allocates_nothing(start, modern):
    slow = f"driver=null-co,node-name=slow,size={MIB},latency-ns=3000000"
    for packed in ("off", "on") if modern else ("off",):
        device = f"virtio-blk-device,drive=slow,packed={packed}"
        board = start(modern=modern, more=["-blockdev", slow, "-device", device])
        board.wait_for_prompt()
        board.exec(HARNESS.with_name("target").joinpath("check.py").read_bytes())
        board.exec("""
import virtio
disk, data, part = virtio.Block(0), bytearray(4096), bytearray(100)
requests = [(n, data) for n in range(40)]
naps = 0
wait = disk.transport.wait

def counted(timeout_ms):
    global naps
    naps += 1
    wait(timeout_ms)

disk.transport.wait = counted

def cycle():
    disk.readblocks(0, data)
    disk.writeblocks(0, part, 100)
    disk.flush()
    disk.readmany(requests)

allocates_nothing(cycle)
assert naps >= 8, naps
""")
        board.close()
