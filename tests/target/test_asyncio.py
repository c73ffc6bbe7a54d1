"""Awaited requests, on QEMU's devices: nothing polls, nothing is lost, nothing mixed up."""

import asyncio
import struct
import time

import fake
import virtio
from check import raises
from virtio import DeviceFault
from virtio.transport import mmio

SECTORS = 16384  # of disk 0


def pattern(number, length=512):
    return struct.pack("<I", number) * (length // 4)


def on_disk(main):
    """Run main(disk) on disk 0; in the end all descriptors are back."""
    disk = virtio.Block(0)
    try:
        asyncio.run(main(disk))
        queue = disk.queues[0]
        for _ in range(1000):
            if not queue.can_pop() and queue.available_desc() == queue.size:
                break
            time.sleep_ms(1)
        assert queue.available_desc() == queue.size, repr(queue)
    finally:
        disk.deinit()
        asyncio.new_event_loop()


def test_a_read_a_write_and_a_flush_are_awaited():
    async def main(disk):
        data, buf = bytearray(b"\xa5" * 4096), bytearray(4096)
        await disk.awrite(16, data)
        await disk.aflush()
        await disk.aread(16, buf)
        assert buf == data
        for n in range(8):
            await disk.awrite(16 + n, pattern(16 + n))
        await disk.aread(16, buf)
        assert buf == b"".join([pattern(16 + n) for n in range(8)])

    on_disk(main)


def test_what_is_wrong_is_raised_as_in_the_plain_forms():
    async def attempt(kind, coroutine):
        try:
            await coroutine
        except kind:
            return
        raise AssertionError("%s was not raised" % kind.__name__)

    async def main(disk):
        await attempt(ValueError, disk.aread(SECTORS, bytearray(512)))
        await attempt(ValueError, disk.aread(0, bytearray(100)))
        await attempt(ValueError, disk.awrite(-1, bytes(512)))
        await attempt(TypeError, disk.aread(0, bytes(512)))
        await attempt(TypeError, disk.aread(0, 7))
        buf = bytearray(512)
        await disk.aread(3, buf)
        assert buf == pattern(3)

    on_disk(main)


def test_other_tasks_run_while_one_awaits():
    async def main(disk):
        count = 0

        async def idle():
            nonlocal count
            while True:
                count += 1
                await asyncio.sleep_ms(0)

        task = asyncio.create_task(idle())
        buf = bytearray(65536)
        for _ in range(300):
            await disk.aread(0, buf)
        task.cancel()
        # Not one for one: asyncio has no order among what is due in the same millisecond.
        assert count >= 3, count

    on_disk(main)


def test_other_tasks_run_while_one_awaits_a_device_that_answers_as_it_is_looked_at():
    """It uses the chain after the first look, and before the one after enabling interrupts."""

    async def main():
        transport = fake.FakeTransport()
        rng = virtio.Rng(transport)
        queue, device = rng.queues[0], fake.FakeQueue(transport)
        enable_only, count, awaited = queue.set_dev_notify, 0, 0

        def set_dev_notify(enable):
            enable_only(enable)
            if enable:
                fake.answer(device, bytes(8))

        async def idle():
            nonlocal count
            while True:
                count += 1
                await asyncio.sleep_ms(0)

        queue.set_dev_notify = set_dev_notify
        task = asyncio.create_task(idle())
        start = time.ticks_ms()
        while time.ticks_diff(time.ticks_ms(), start) < 30:
            await rng.areadinto(bytearray(8))
            awaited += 1
        task.cancel()
        assert awaited > 3 and count > 3, (awaited, count)
        rng.deinit()

    asyncio.run(main())
    asyncio.new_event_loop()


def test_room_that_abandoned_chains_gave_back_is_seen():
    async def main():
        transport = fake.FakeTransport(queue_max=(4,))
        rng = virtio.Rng(transport)
        queue, device = rng.queues[0], fake.FakeQueue(transport)
        tasks = [asyncio.create_task(rng.areadinto(bytearray(8))) for _ in range(4)]
        await asyncio.sleep_ms(2)
        assert queue.available_desc() == 0
        for task in tasks:
            task.cancel()
        await asyncio.sleep_ms(2)
        # The device uses them while nobody waits, so no interrupt tells of it.
        for _ in range(4):
            fake.answer(device, bytes(8))
        transport.device.on_notify = lambda idx: fake.answer(device, b"answered")
        buf = bytearray(8)
        await asyncio.wait_for_ms(rng.areadinto(buf), 1000)
        assert buf == b"answered"
        rng.deinit()

    asyncio.run(main())
    asyncio.new_event_loop()


def test_16_tasks_on_one_disk_mix_nothing_up():
    async def work(disk, n):
        buf = bytearray(1024)
        for round in range(30):
            at = 1000 + n * 64 + round * 2
            mine = pattern(n << 16 | round, 1024)
            await disk.awrite(at, mine)
            await disk.aread(at, buf)
            assert buf == mine, (n, round)
            if round % 7 == 0:
                await disk.aflush()

    async def main(disk):
        await asyncio.gather(*[work(disk, n) for n in range(16)])
        buf = bytearray(1024)
        for n in range(16):
            for round in range(30):
                await disk.aread(1000 + n * 64 + round * 2, buf)
                assert buf == pattern(n << 16 | round, 1024)

    on_disk(main)


def test_more_tasks_than_the_queue_has_room_for_take_turns():
    async def read(disk, n):
        buf = bytearray(512)
        await disk.aread(n, buf)
        assert buf == pattern(n)

    async def main(disk):
        assert disk.queues[0].size < 400
        await asyncio.gather(*[read(disk, n) for n in range(400)])

    on_disk(main)


def test_cancellations_and_timeouts_among_them_lose_nothing():
    done = []

    async def victim(disk, n):
        # Its buffer stays the device's when it is cancelled: the queue holds it.
        while True:
            await disk.aread(n, bytearray(4096))

    async def hasty(disk, n):
        for _ in range(20):
            try:
                await asyncio.wait_for_ms(disk.aread(n, bytearray(65536)), 1)
            except asyncio.TimeoutError:
                pass

    async def worker(disk, n):
        buf = bytearray(512)
        for round in range(60):
            at = 4000 + n * 100 + round
            await disk.awrite(at, pattern(at * 3))
            await disk.aread(at, buf)
            assert buf == pattern(at * 3), (n, round)
        done.append(n)

    async def main(disk):
        victims = [asyncio.create_task(victim(disk, 8 * n)) for n in range(4)]
        others = [asyncio.create_task(hasty(disk, 200 + 128 * n)) for n in range(4)]
        workers = [asyncio.create_task(worker(disk, n)) for n in range(8)]
        for n in range(40):
            await asyncio.sleep_ms(2)
            victims[n % 4].cancel()
            victims[n % 4] = asyncio.create_task(victim(disk, 8 * n))
        await asyncio.gather(*(workers + others))
        for task in victims:
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
        assert sorted(done) == list(range(8))

    on_disk(main)


def test_plain_and_awaited_requests_go_together():
    async def main(disk):
        async def awaited(n):
            buf = bytearray(512)
            for _ in range(50):
                await disk.aread(n, buf)
                assert buf == pattern(n)

        tasks = [asyncio.create_task(awaited(100 + n)) for n in range(4)]
        buf = bytearray(512)
        for n in range(50):
            disk.readblocks(n, buf)
            assert buf == pattern(n)
            await asyncio.sleep_ms(0)
        await asyncio.gather(*tasks)

    on_disk(main)


def test_a_new_event_loop_can_await_too():
    async def main(disk):
        await disk.aread(1, bytearray(512))

    disk = virtio.Block(0)
    for _ in range(3):
        asyncio.run(main(disk))
        asyncio.new_event_loop()
    disk.deinit()


def test_entropy_is_awaited():
    async def main():
        rng = virtio.Rng(0)
        buffers = [bytearray(n) for n in (0, 1, 64, 4096, 100000)]
        for size in await asyncio.gather(*[rng.areadinto(buf) for buf in buffers]):
            assert size in (0, 1, 64, 4096, 100000)
        assert any(buffers[2]) and any(buffers[4][-32:])
        rng.deinit()

    asyncio.run(main())


def test_a_fault_reaches_every_task_that_waits():
    transport = fake.FakeTransport()
    rng = virtio.Rng(transport)
    faults = []

    async def draw():
        try:
            await rng.areadinto(bytearray(8))
        except DeviceFault:
            faults.append(1)

    async def main():
        tasks = [asyncio.create_task(draw()) for _ in range(3)]
        await asyncio.sleep_ms(1)
        transport.device.status |= mmio.NEEDS_RESET
        # What the interrupt of the configuration change does.
        rng._interrupted(mmio.CONFIG_CHANGE)
        await asyncio.wait_for_ms(asyncio.gather(*tasks), 1000)

    asyncio.run(main())
    assert len(faults) == 3
    raises(DeviceFault, rng.read, 4)
    rng.reset()
    rng.deinit()


# What tasks leave behind


class Fake:
    """A fake entropy device, which answers when a test says so."""

    def __init__(self, packed=False):
        offered = fake.VERSION_1 | (1 << 34 if packed else 0)
        self.transport = fake.FakeTransport(features=offered)
        self.rng = virtio.Rng(self.transport)
        self.queue = self.rng.queues[0]
        self.device = (fake.FakePackedQueue if packed else fake.FakeQueue)(self.transport)
        self.ended = []

    async def read(self, n):
        await self.rng.areadinto(bytearray(8))
        self.ended.append(n)

    def answer_all(self):
        while self.device.waiting:
            fake.answer(self.device, bytes(8))

    def is_idle(self):
        self.queue.can_pop()
        assert self.queue.available_desc() == 8, self.queue
        assert "silent" in repr(self.queue)


def on_both_rings(test):
    def both():
        for packed in (False, True):
            rig = Fake(packed)
            test(rig)
            rig.rng.deinit()
            asyncio.new_event_loop()

    return both


@on_both_rings
def test_chains_of_a_loop_that_was_dropped_come_back_and_its_tasks_do_not_run(rig):
    async def start(count):
        for n in range(count):
            asyncio.create_task(rig.read(n))
        await asyncio.sleep_ms(2)

    for _ in range(5):
        asyncio.run(start(12))  # more than there is room for
        assert rig.queue.available_desc() == 0
        asyncio.new_event_loop()
        rig.answer_all()
        rig.rng._interrupted(mmio.USED_BUFFER)  # as the device does
        rig.is_idle()
        asyncio.run(start(0))
        assert rig.ended == []


@on_both_rings
def test_chains_of_a_dropped_loop_come_back_without_an_interrupt(rig):
    async def start():
        for n in range(8):
            asyncio.create_task(rig.read(n))
        await asyncio.sleep_ms(2)

    asyncio.run(start())
    rig.answer_all()
    asyncio.new_event_loop()
    time.sleep_ms(1200)
    rig.is_idle()
    assert not rig.rng._waiters._ticks and rig.ended == []


@on_both_rings
def test_a_task_that_Ctrl_C_ends_keeps_no_other_waiting(rig):
    async def interrupted():
        try:
            await rig.read(0)
        finally:
            raise KeyboardInterrupt

    async def start():
        asyncio.create_task(interrupted())
        asyncio.create_task(rig.read(1))
        await asyncio.sleep_ms(2)
        fake.answer(rig.device, bytes(8))
        rig.rng._interrupted(mmio.USED_BUFFER)
        await asyncio.sleep_ms(1000)

    async def go_on():
        rig.transport.device.on_notify = lambda idx: rig.answer_all()
        await asyncio.wait_for_ms(rig.read(2), 1000)
        for _ in range(100):
            await asyncio.sleep_ms(1)

    raises(KeyboardInterrupt, asyncio.run, start())
    asyncio.run(go_on())
    assert sorted(rig.ended) == [0, 1, 2]
    rig.is_idle()


@on_both_rings
def test_a_completion_that_a_blocking_request_collects_is_seen(rig):
    async def start():
        task = asyncio.create_task(rig.read(1))
        await asyncio.sleep_ms(2)
        rig.transport.device.on_notify = lambda idx: rig.answer_all()
        rig.rng.read(4)
        start = time.ticks_ms()
        await asyncio.wait_for_ms(task, 2000)
        return time.ticks_diff(time.ticks_ms(), start)

    assert asyncio.run(start()) < 400  # before the next look by the clock
    rig.is_idle()


@on_both_rings
def test_a_task_sees_without_an_interrupt_what_is_finished_and_what_is_broken(rig):
    async def start():
        task = asyncio.create_task(rig.read(1))
        await asyncio.sleep_ms(2)
        rig.answer_all()
        await asyncio.wait_for_ms(task, 3000)
        task = asyncio.create_task(rig.read(2))
        await asyncio.sleep_ms(2)
        rig.transport.device.status |= mmio.NEEDS_RESET
        try:
            await asyncio.wait_for_ms(task, 3000)
        except DeviceFault:
            return
        raise AssertionError("a broken device was believed")

    asyncio.run(start())
    assert rig.ended == [1]


def test_a_batch_of_a_dropped_loop_gives_all_back():
    async def start(disk):
        asyncio.create_task(disk.areadmany([(n, bytearray(512)) for n in range(40)]))
        await asyncio.sleep_ms(0)

    disk = virtio.Block(0)
    for _ in range(10):
        asyncio.run(start(disk))
        asyncio.new_event_loop()
    asyncio.run(disk.aread(1, bytearray(512)))
    queue = disk.queues[0]
    for _ in range(1000):
        if not queue.can_pop() and queue.available_desc() == queue.size:
            break
        time.sleep_ms(1)
    assert queue.available_desc() == queue.size and "silent" in repr(queue)
    disk.deinit()
    asyncio.new_event_loop()
