# SPDX-License-Identifier: MIT
"""What make bench-instructions runs on the board: counts of guest instructions and of heap.

Under -icount shift=0 an instruction takes a nanosecond of the guest's clock. The counter moves
once in 16 of them, so each count is the mean of many that begin at different places in a tick.
"""

import gc
import sys
from time import ticks_cpu, ticks_diff

import micropython
import uctypes
from machine import mem16, mem32
import virtio
from virtio.device.packed import PackedVirtQueue
from virtio.storage.cache import Cache
from virtio.transport.mmio import MmioTransport

_REPEAT = micropython.const(64)  # of each, at different places in a tick
_VERSION_1 = micropython.const(1 << 0)  # of the upper half
_PACKED = micropython.const(1 << 2)  # of the upper half
_RINGS = micropython.const(1 << 28 | 1 << 29)  # INDIRECT_DESC, EVENT_IDX
_QUEUE_MAX = micropython.const(512)
_BLOCK = micropython.const(2)
_ENTROPY = micropython.const(4)


class Memory(MmioTransport):
    """A device of plain memory, which answers all there is within `notify`.

    Nothing waits for it, so what is measured is the driver and no device. What the answer
    itself takes is measured alone, and taken off; see `request`.
    """

    def __init__(self, device_type, packed=False):
        self.memory = bytearray(0x200)
        words = mem32_words(self.memory)
        words[0x00 // 4] = 0x74726976
        words[0x04 // 4] = 2
        words[0x08 // 4] = device_type
        # Both halves of the features read the same; what a bit means in the other one, no
        # driver here takes, but for a disk's SEG_MAX.
        words[0x10 // 4] = _VERSION_1 | _RINGS | (_PACKED if packed else 0)
        words[0x34 // 4] = _QUEUE_MAX
        words[0x100 // 4] = 1 << 21  # capacity in sectors: 1 GiB
        words[0x10C // 4] = 126  # segments in a request
        self.answer = answer_packed if packed else answer
        super().__init__(uctypes.addressof(self.memory))

    def notify(self, idx):
        self.answer(self.memory)


@micropython.viper
def answer(memory):
    """Use every available chain: its writable length, and 0 in the last byte, a disk's status."""
    registers = ptr32(memory)
    size = registers[0x38 // 4]
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
        written = 0
        while True:
            if d[3] & 2:
                written += d[2]
            if d[3] & 1 == 0:
                break
            d = ptr32(table + 16 * (d[3] >> 16))
        if d[3] & 2:
            ptr8(d[0])[d[2] - 1] = 0
        ring[2 * (seen & (size - 1))] = head
        ring[2 * (seen & (size - 1)) + 1] = written
        seen = (seen + 1) & 0xFFFF
        ptr16(used)[1] = seen
    # avail_event: the next chain is to be notified
    ptr16(used)[2 + 4 * size] = seen


@micropython.viper
def answer_packed(memory):
    """The same on a packed ring. Where it is, is kept behind the configuration space."""
    registers = ptr32(memory)
    size = registers[0x38 // 4]
    ring = registers[0x80 // 4]
    idx = registers[0x1FC // 4]  # its bit above the place is 0 while the wrap counter is 1
    while True:
        first = ptr32(ring + 16 * (idx & (size - 1)))
        ours = 0x80
        used = 0x8080
        if idx & size:
            ours = 0x8000
            used = 0
        if first[3] >> 16 & 0x8080 != ours:
            break
        d = first
        written = 0
        if d[3] >> 16 & 4:
            left = d[2] >> 4
            d = ptr32(d[0])
            while True:
                if d[3] >> 16 & 2:
                    written += d[2]
                left -= 1
                if left == 0:
                    break
                d = ptr32(int(d) + 16)
        else:
            while True:
                if d[3] >> 16 & 2:
                    written += d[2]
                if d[3] >> 16 & 1 == 0:
                    break
                idx += 1
                d = ptr32(ring + 16 * (idx & (size - 1)))
        if d[3] >> 16 & 2:
            ptr8(d[0])[d[2] - 1] = 0
        idx = (idx + 1) & (2 * size - 1)
        first[2] = written
        ptr16(first)[7] = used
    registers[0x1FC // 4] = idx
    # The device's event structure: the next chain is to be notified
    event = ptr16(registers[0xA0 // 4])
    event[0] = idx & (size - 1)
    if idx & size == 0:
        event[0] = idx | 0x8000
    event[1] = 2


# ruff: disable[F821]
@micropython.asm_thumb
def synchronize():
    """Return at one and the same instruction of a tick.

    Seventeen instructions a round, one more than a tick: that the counter moves by two between
    two looks at it comes once in 16 rounds, and says where in the tick the second look was.
    """
    mov(r1, 0)
    label(ROUND)
    data(2, 0xEC53, 0x2F1E)  # mrrc p15, 1, r2, r3, c14: the low word of CNTVCT in r2
    sub(r3, r2, r1)
    mov(r1, r2)
    cmp(r3, 2)
    beq(THERE)
    nop()
    nop()
    nop()
    nop()
    nop()
    nop()
    nop()
    nop()
    nop()
    nop()
    nop()
    b(ROUND)
    label(THERE)
    mov(r0, 0)


# ruff: enable[F821]


@micropython.viper
def jitter(n: int):
    while n > 0:
        n -= 1


_LOOP = """
def run({names}):
    total = 0
    synchronize()
    for phase in range({repeat}):
        {before}
        jitter(phase)
        start = ticks_cpu()
        {what}
        total += ticks_diff(ticks_cpu(), start)
        {after}
    return total
"""


def nanoseconds(what, before, after, names):
    text = _LOOP.format(
        names=", ".join(names),
        repeat=_REPEAT,
        before=before.replace("\n", "\n        "),
        what=what.replace("\n", "\n        "),
        after=after.replace("\n", "\n        "),
    )
    scope = {"ticks_cpu": ticks_cpu, "ticks_diff": ticks_diff, "jitter": jitter}
    scope["synchronize"] = synchronize
    exec(text, scope)
    scope["run"](**names)  # the first time some look-ups miss the interpreter's cache
    return scope["run"](**names) * 16


def count(what, before="pass", after="pass", **names):
    """Instructions of some lines of Python; the names are the local variables they use."""
    # With nothing between them: what the two readings of the counter take.
    nothing = nanoseconds("pass", "pass", "pass", {})
    return (nanoseconds(what, before, after, names) - nothing) // _REPEAT


def real_notify(transport):
    """What `notify` takes when it is the transport's own, on the same registers."""
    return count("transport.notify(0)", transport=MmioTransport(transport.base))


# Queue


def make_queue(indirect, size=256, packed=False):
    transport = Memory(_ENTROPY, packed)
    transport.reset()
    kind = PackedVirtQueue if packed else virtio.VirtQueue
    queue = kind(transport, 0, size, indirect, True)
    queue.set_dev_notify(False)  # as drivers do
    return queue


def buffers(n):
    """The inputs and outputs of a chain: as a disk has it, a header, the data, a status."""
    if n == 1:
        return (), [bytearray(64)]
    return [bytearray(16)], [bytearray(4096) for _ in range(n - 2)] + [bytearray(1)]


def queue_counts():
    for form in ("direct", "indirect"):
        queue = make_queue(form == "indirect")
        names = {"queue": queue, "transport": queue._transport, "tokens": [0] * 32}
        for n in (1, 2, 3, 8):
            names["inputs"], names["outputs"] = buffers(n)
            yield "add of %d, %s" % (n, form), count(_ADD, after=_ANSWER + _POP, **names)
            yield "pop_used of %d, %s" % (n, form), count(_POP, before=_ADD + _ANSWER, **names)
        names["inputs"], names["outputs"] = buffers(3)
        adds = count(_ADDS, after=_ANSWER + _POPS, **names)
        pops = count(_POPS, before=_ADDS + _ANSWER, **names)
        yield "32 adds of 3 and 32 pops, %s" % form, adds + pops
        if form == "direct":
            yield (
                "should_notify",
                count("queue.should_notify()", before=_ADD, after=_ANSWER + _POP, **names),
            )
            yield "can_pop, nothing there", count("queue.can_pop()", **names)
            yield "notify", real_notify(queue._transport)
        queue.deinit()


def packed_counts():
    for form in ("direct", "indirect"):
        queue = make_queue(form == "indirect", packed=True)
        names = {"queue": queue, "transport": queue._transport}
        for n in (1, 3):
            names["inputs"], names["outputs"] = buffers(n)
            yield "add of %d, packed, %s" % (n, form), count(_ADD, after=_ANSWER + _POP, **names)
            yield (
                "pop_used of %d, packed, %s" % (n, form),
                count(_POP, before=_ADD + _ANSWER, **names),
            )
        if form == "direct":
            yield (
                "should_notify, packed",
                count("queue.should_notify()", before=_ADD, after=_ANSWER + _POP, **names),
            )
        queue.deinit()


def other_counts():
    """The queue as it is made, which wants interrupts; other buffers; all four calls in one."""
    header, data, status = bytearray(16), bytearray(4096), bytearray(1)
    for form in ("direct", "indirect"):
        queue = make_queue(form == "indirect")
        names = {"queue": queue, "transport": queue._transport}
        names["inputs"], names["outputs"] = [header], [data, status]
        queue.set_dev_notify(True)
        yield (
            "pop_used of 3, %s, interrupts wanted" % form,
            count(_POP, before=_ADD + _ANSWER, **names),
        )
        queue.set_dev_notify(False)
        if form == "indirect":
            whole = count("queue.add_notify_wait_pop(inputs, outputs)", **names)
            answer = count(_ANSWER, before=_ADD, after=_POP, **names)
            yield "add_notify_wait_pop of 3", whole - answer + real_notify(queue._transport)
        else:
            names["inputs"], names["outputs"] = [bytes(16), bytes(4096), bytes(1)], ()
            yield "add of 3 bytes", count(_ADD, after=_ANSWER + _POP, **names)
            names["inputs"] = [memoryview(header)]
            names["outputs"] = [memoryview(data), memoryview(status)]
            yield "add of 3 memoryviews", count(_ADD, after=_ANSWER + _POP, **names)
        queue.deinit()


_ADD = "token = queue.add(inputs, outputs)\n"
_ANSWER = "transport.notify(0)\n"
_POP = "queue.pop_used(token)\n"
_ADDS = """\
for i in range(32):
    tokens[i] = queue.add(inputs, outputs)
"""
_POPS = """\
for i in range(32):
    queue.pop_used(tokens[i])
"""


# Drivers


def request(driver, what, inputs, outputs, **names):
    """A request of a driver, its device's answer taken off and the true `notify` put on."""
    whole = count(what, driver=driver, **names)
    names = {"queue": driver.queues[0], "transport": driver.transport}
    names["inputs"], names["outputs"] = inputs, outputs
    return whole - count(_ANSWER, before=_ADD, after=_POP, **names) + real_notify(driver.transport)


def batch(disk, what, data, inputs, outputs):
    """As `request`, of a batch of 32, which the device answers at once."""
    whole = count(what, disk=disk, requests=[(8, data)] * 32)
    names = {"queue": disk.queues[0], "transport": disk.transport, "tokens": [0] * 32}
    names["inputs"], names["outputs"] = inputs, outputs
    answer = count(_ANSWER, before=_ADDS, after=_POPS, **names)
    return whole - answer + real_notify(disk.transport)


def driver_counts():
    header, data, status, little = bytearray(16), bytearray(4096), bytearray(1), bytearray(64)
    disk = virtio.Block(Memory(_BLOCK))
    yield (
        "readblocks of 4 KiB",
        request(disk, "driver.readblocks(8, data)", [header], [data, status], data=data),
    )
    yield (
        "writeblocks of 4 KiB",
        request(disk, "driver.writeblocks(8, data)", [header, data], [status], data=data),
    )
    yield (
        "readmany of 32 times 4 KiB",
        batch(disk, "disk.readmany(requests)", data, [header], [data, status]),
    )
    rng = virtio.Rng(Memory(_ENTROPY))
    yield (
        "Rng.readinto of 64 bytes",
        request(rng, "driver.readinto(data)", (), [little], data=little),
    )
    yield from more_of_a_disk(disk, header, data, status)
    disk.deinit()
    rng.deinit()
    disk = virtio.Block(Memory(_BLOCK, packed=True))
    yield (
        "readblocks of 4 KiB, packed",
        request(disk, "driver.readblocks(8, data)", [header], [data, status], data=data),
    )
    yield (
        "readmany of 32 times 4 KiB, packed",
        batch(disk, "disk.readmany(requests)", data, [header], [data, status]),
    )
    disk.deinit()


def more_of_a_disk(disk, header, data, status):
    reads, writes = ([header], [data, status]), ([header, data], [status])
    view, fixed = memoryview(data), bytes(4096)
    yield (
        "readblocks of 4 KiB, offset 0",
        request(disk, "driver.readblocks(8, data, 0)", *reads, data=data),
    )
    yield (
        "readblocks of 4 KiB, memoryview",
        request(disk, "driver.readblocks(8, data)", *reads, data=view),
    )
    yield (
        "writeblocks of 4 KiB, bytes",
        request(disk, "driver.writeblocks(8, data)", *writes, data=fixed),
    )
    yield (
        "writemany of 32 times 4 KiB",
        batch(disk, "disk.writemany(requests)", data, *writes),
    )
    cache, block = Cache(disk), bytearray(512)
    cache.readblocks(8, block)
    yield (
        "Cache.readblocks of 512 bytes, there",
        count("cache.readblocks(8, block)", cache=cache, block=block),
    )


# The plain driver of examples/


def plain_counts():
    """A read of examples/plain_disk.py, counted as `request` does."""
    transport, data = Memory(_BLOCK), bytearray(4096)
    registers = mem32_words(transport.memory)

    class Answered(PlainDisk):  # noqa: F821 - which was run before this
        def notify(self):
            mem32[self.base + 0x50] = 0
            answer(transport.memory)

    disk = Answered(transport.base)
    disk.readblocks(8, data)
    assert registers[0x38 // 4] == 4 and disk.status[0] == 0
    ring = [disk.used + 2, disk.avail + 2]

    def unanswer():
        mem16[ring[0]] = mem16[ring[1]] - 1 & 0xFFFF

    whole = count("disk.readblocks(8, data)", disk=disk, data=data)
    alone = count(
        "answer(memory)",
        before="unanswer()",
        memory=transport.memory,
        answer=answer,
        unanswer=unanswer,
    )
    yield "readblocks of 4 KiB, the plain driver", whole - alone


def mem32_words(memory):
    layout = {"words": (uctypes.ARRAY, 128 | uctypes.UINT32)}
    return uctypes.struct(uctypes.addressof(memory), layout).words


# Heap


def used():
    gc.collect()
    return gc.mem_alloc()


def heap():
    """Bytes of heap that stay with the import and with each driver; the real devices.

    Each the middle one of some, for what the collector finds on the stack may name what is no more:
    at the end, which is too much then, or at the start, which takes it from what came since.
    """
    found = {}
    for _ in range(7):
        for name, taken in heap_once():
            found.setdefault(name, []).append(taken)
    for name, each in found.items():
        yield name, sorted(each)[len(each) // 2]


def heap_once():
    for name in list(sys.modules):
        if name.startswith("virtio"):
            del sys.modules[name]
    scope = {}
    start = used()
    exec("import virtio", scope)
    imported = used()
    yield "import virtio", imported - start
    exec("disk = virtio.Block(0)", scope)
    with_disk = used()
    yield "a disk", with_disk - imported
    exec("rng = virtio.Rng(0)", scope)
    with_rng = used()
    yield "an entropy device", with_rng - with_disk
    yield "import, a disk, an entropy device", with_rng - start
    exec("disk.deinit(); rng.deinit()", scope)
    scope.clear()  # something on the stack may name it yet


def allocated(call):
    """Bytes of heap that a call takes, once it has been made before."""
    call()
    before = gc.mem_alloc()
    for _ in range(16):
        call()
    taken = (gc.mem_alloc() - before) // 16
    if not taken:
        micropython.heap_lock()  # not even for a moment
        try:
            call()
        finally:
            micropython.heap_unlock()
    return taken


def cycle(queue, inputs, outputs):
    token = queue.add(inputs, outputs)
    if queue.should_notify():
        queue._transport.notify(0)
    queue.can_pop()
    queue.pop_used(token)


def queue_allocations():
    inputs, outputs = buffers(3)
    views = [memoryview(buf) for buf in outputs]
    for packed, form in ((False, ""), (True, ", packed")):
        queue = make_queue(True, 32, packed)
        yield "add, notify, pop_used" + form, allocated(lambda: cycle(queue, inputs, outputs))
        yield (
            "add, notify, pop_used, bytes and memoryviews" + form,
            allocated(lambda: cycle(queue, (b"header",), views)),
        )
        yield (
            "add_notify_wait_pop" + form,
            allocated(lambda: queue.add_notify_wait_pop(inputs, outputs)),
        )
        queue.deinit()


def disk_allocations(disk):
    """readv and writev are not here: the lists they make of the buffers are theirs by nature."""
    data, part, fixed = bytearray(4096), bytearray(100), bytes(4096)
    view, requests = memoryview(data), [(8, data)] * 32
    yield "readblocks", allocated(lambda: disk.readblocks(8, data))
    yield "readblocks, memoryview", allocated(lambda: disk.readblocks(8, view))
    yield "readblocks, offset 0", allocated(lambda: disk.readblocks(8, data, 0))
    yield "readblocks, part of a block", allocated(lambda: disk.readblocks(8, part, 100))
    yield "writeblocks", allocated(lambda: disk.writeblocks(8, data))
    yield "writeblocks, bytes", allocated(lambda: disk.writeblocks(8, fixed))
    yield "writeblocks, part of a block", allocated(lambda: disk.writeblocks(8, part, 100))
    yield "readmany", allocated(lambda: disk.readmany(requests))
    yield "writemany", allocated(lambda: disk.writemany(requests))
    yield "flush", allocated(disk.flush)


def allocations():
    yield from queue_allocations()
    disk = virtio.Block(0)
    yield from disk_allocations(disk)
    disk.deinit()
    disk = virtio.Block(Memory(_BLOCK, packed=True))
    for what, taken in disk_allocations(disk):
        yield what + ", packed", taken
    disk.deinit()
    rng, data = virtio.Rng(0), bytearray(4096)
    view = memoryview(data)
    yield "Rng.readinto", allocated(lambda: rng.readinto(data))
    yield "Rng.readinto, memoryview", allocated(lambda: rng.readinto(view))
    rng.deinit()


def counts():
    """Everything, as a list of (what, unit, number) in a fixed order."""
    gc.collect()
    gc.disable()
    found = [(name, "instructions", n) for name, n in queue_counts()]
    found += [(name, "instructions", n) for name, n in driver_counts()]
    found += [(name, "instructions", n) for name, n in packed_counts()]
    found += [(name, "instructions", n) for name, n in other_counts()]
    found += [(name, "instructions", n) for name, n in plain_counts()]
    found += [(name, "bytes a request", n) for name, n in allocations()]
    found += [(name, "bytes of heap", n) for name, n in heap()]
    return found
