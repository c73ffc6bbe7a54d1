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
import virtio
from virtio.mmio import MmioTransport

_REPEAT = micropython.const(64)  # of each, at different places in a tick
_VERSION_1 = micropython.const(1 << 0)  # of the upper half
_RINGS = micropython.const(1 << 28 | 1 << 29)  # INDIRECT_DESC, EVENT_IDX
_QUEUE_MAX = micropython.const(512)
_BLOCK = micropython.const(2)
_ENTROPY = micropython.const(4)


class Memory(MmioTransport):
    """A device of plain memory, which answers all there is within `notify`.

    Nothing waits for it, so what is measured is the driver and no device. What the answer
    itself takes is measured alone, and taken off; see `Counter.without_answer`.
    """

    def __init__(self, device_type):
        self.memory = bytearray(0x200)
        words = uctypes.struct(
            uctypes.addressof(self.memory), {"words": (uctypes.ARRAY, 128 | uctypes.UINT32)}
        ).words
        words[0x00 // 4] = 0x74726976
        words[0x04 // 4] = 2
        words[0x08 // 4] = device_type
        # Both halves of the features read the same; what a bit means in the other one, no
        # driver here takes.
        words[0x10 // 4] = _VERSION_1 | _RINGS
        words[0x34 // 4] = _QUEUE_MAX
        words[0x100 // 4] = 1 << 21  # capacity in sectors: 1 GiB
        super().__init__(uctypes.addressof(self.memory))

    def notify(self, idx):
        answer(self.memory)


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


def make_queue(indirect, size=256):
    transport = Memory(_ENTROPY)
    transport.reset()
    queue = virtio.VirtQueue(transport, 0, size, indirect, True)
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


def batch(disk, header, data, status):
    """As `request`, of a batch of 32, which the device answers at once."""
    whole = count("disk.readmany(requests)", disk=disk, requests=[(8, data)] * 32)
    names = {"queue": disk.queues[0], "transport": disk.transport, "tokens": [0] * 32}
    names["inputs"], names["outputs"] = [header], [data, status]
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
    yield "readmany of 32 times 4 KiB", batch(disk, header, data, status)
    rng = virtio.Rng(Memory(_ENTROPY))
    yield (
        "Rng.readinto of 64 bytes",
        request(rng, "driver.readinto(data)", (), [little], data=little),
    )
    disk.deinit()
    rng.deinit()


# Heap


def used():
    gc.collect()
    return gc.mem_alloc()


def heap():
    """Bytes of heap that stay with the import and with each driver; the real devices."""
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


def allocations():
    queue = make_queue(True, 32)
    inputs, outputs = buffers(3)

    def cycle():
        token = queue.add(inputs, outputs)
        if queue.should_notify():
            queue._transport.notify(0)
        queue.can_pop()
        queue.pop_used(token)

    yield "add, notify, pop_used", allocated(cycle)
    queue.deinit()
    disk, rng, data = virtio.Block(0), virtio.Rng(0), bytearray(4096)
    yield "readblocks", allocated(lambda: disk.readblocks(8, data))
    yield "writeblocks", allocated(lambda: disk.writeblocks(8, data))
    yield "flush", allocated(disk.flush)
    yield "Rng.readinto", allocated(lambda: rng.readinto(data))
    disk.deinit()
    rng.deinit()


def counts():
    """Everything, as a list of (what, unit, number) in a fixed order."""
    gc.collect()
    gc.disable()
    found = [(name, "instructions", n) for name, n in queue_counts()]
    found += [(name, "instructions", n) for name, n in driver_counts()]
    found += [(name, "bytes a request", n) for name, n in allocations()]
    found += [(name, "bytes of heap", n) for name, n in heap()]
    return found
