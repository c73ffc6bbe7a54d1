"""The queue against QEMU's block device, in every form the device can do."""

import matrix
import pytest
import virtio
from disk0 import pattern
from matrix import Driven, read_checked
from virtio.transport import mmio

pytestmark = pytest.mark.board(
    qemu_args="-global virtio-blk-device.packed=on -global virtio-rng-device.packed=on "
    "-device virtio-keyboard-device,packed=on"
)
SECTORS = 10000  # of disk 0


def every_form(test):
    def all_forms():
        transport = virtio.scan()[0]
        for form in matrix.forms(transport):
            try:
                with Driven(transport, form) as driven:
                    test(driven)
            except Exception as error:
                print("form (ring, indirect, event_idx):", form)
                raise error

    return all_forms


@pytest.mark.timeout(300)
@every_form
def test_3000_requests_in_batches_are_answered_byte_for_byte(driven):
    read_checked(driven, 3000, SECTORS)


@every_form
def test_a_batch_takes_one_notify_at_most(driven):
    # The device polls its ring while it works, so there may be fewer; never more.
    assert 0 < read_checked(driven, 320, SECTORS) <= 10


def test_sizes_from_3_to_the_maximum_work():
    transport = virtio.scan()[0]
    for ring in ("split",) if transport.legacy else ("split", "packed"):
        size = 4
        while size <= transport.max_queue_size(0):
            with Driven(transport, (ring, False, False), size) as driven:
                read_checked(driven, 3 * size, SECTORS, size // 4)
            size *= 2


def test_drivers_do_not_know_which_ring_they_have():
    transport = virtio.scan()[0]
    for ring in ("split",) if transport.legacy else ("split", "packed"):
        disk, rng = virtio.Block(0, ring=ring), virtio.Rng(0, ring=ring)
        for driver in disk, rng:
            assert ("packed" in repr(driver.queues[0])) == (ring == "packed")
        buf = bytearray(4096)
        disk.readblocks(8, buf)
        assert buf[512:516] == b"\x09\0\0\0" and len(rng.read(100)) == 100
        disk.deinit()
        rng.deinit()


def test_a_disks_own_requests_in_every_form():
    for form in matrix.forms(virtio.scan()[0]):
        with matrix.OwnRequests(form) as disk:
            matrix.own_reads_checked(disk, 960, SECTORS)
            for count in (1, 5, 64, 300):
                bufs = [bytearray(512 * (1 + n % 3)) for n in range(count)]
                disk.readmany([(n * 29, bufs[n]) for n in range(count)])
                for n in range(count):
                    assert bufs[n] == pattern(n * 29, 1 + n % 3), (form, count, n)
            disk.writemany([(n * 29, bufs[n]) for n in range(300)])
            disk.writeblocks(7, pattern(7))
            disk.flush()
            matrix.own_reads_checked(disk, 320, SECTORS)
            assert disk.queues[0].available_desc() == disk.queues[0].size


def test_deinit_with_requests_in_flight_leaves_the_device_without_them():
    transport = virtio.scan()[0]
    for form in matrix.forms(transport):
        driven = Driven(transport, form)
        reads = [matrix.Read(1) for _ in range(8)]
        for read in reads:
            read.prepare(5)
            driven.queue.add(read.inputs, read.outputs)
        driven.notify()
        driven.queue.deinit()
        # QEMU 7.2 offers RING_RESET and its MMIO transport has no register for it, so it
        # takes the reset of the device. Either way no byte changes from here on.
        before = [bytes(read.data) for read in reads]
        for _ in range(20):
            transport.reset()
        assert [bytes(read.data) for read in reads] == before


def test_ring_reset_is_believed_only_when_the_queue_has_stopped():
    transport = virtio.scan()[0]
    with Driven(transport, ("split", False, False)):
        transport.features |= 1 << 40
        stopped = transport.queue_reset(0)
        assert stopped == (not transport.queue_used(0))
        assert not (stopped and transport.legacy)


def test_a_device_told_that_it_failed_is_brought_back_by_reset():
    disk = virtio.Block(0)
    buf = bytearray(512)
    disk.readblocks(3, buf)
    disk.transport.fail()
    assert disk.transport.status & mmio.FAILED
    try:
        disk.readblocks(3, buf)
        raise AssertionError("a failed device was asked")
    except virtio.DeviceFault:
        pass
    disk.reset()
    disk.readblocks(4, buf)
    assert buf[:4] == b"\x04\0\0\0"
    disk.deinit()


class Keyboard(virtio.device.Device):
    TYPE = 18
    lengths = False

    def _setup(self):
        self.queue(0, 4)
        self.status = self.queue(1, 4, lengths=self.lengths)


class Strict(Keyboard):
    lengths = True


def test_a_device_that_counts_what_it_read_is_borne_where_the_driver_says_so():
    # An event of section 5.8.6.2: an LED on. QEMU tells the eight bytes that it has read.
    led = bytearray(b"\x11\0\0\0\x01\0\0\0")
    rings = ("split",) if virtio.scan()[0].legacy else ("split", "packed")
    for ring in rings:
        keyboard = Keyboard(0, ring=ring)
        for _ in range(20):
            assert keyboard.status.add_notify_wait_pop((led,), (), None, 2000) == 0
        assert keyboard.status.available_desc() == 4
        keyboard.deinit()
        keyboard = Strict(0, ring=ring)
        try:
            keyboard.status.add_notify_wait_pop((led,), (), None, 2000)
            raise AssertionError("believed")
        except virtio.DeviceFault:
            pass
        keyboard.deinit()


def walk(function, pads):
    """Call the function, and itself, to the end of the stack."""
    function()
    if pads:
        pad(walk, function, pads - 1)
    else:
        walk(function, pads)


def pad(function, *arguments):
    """One frame more, so that the stack ends in another place."""
    function(*arguments)


@pytest.mark.timeout(300)
def test_where_the_stack_ends_in_a_request_none_is_lost():
    for form in matrix.forms(virtio.scan()[0]):
        with matrix.OwnRequests(form) as disk:
            disk.timeout_ms = 3000
            queue, buf = disk.queues[0], bytearray(512)
            header, status = bytearray(16), bytearray(1)
            batch = [(n, bytearray(512)) for n in range(4)]
            for function in (
                lambda: disk.readblocks(7, buf),
                lambda: disk.readmany(batch),
                lambda: queue.add_notify_wait_pop((header,), (buf, status), None, 3000),
            ):
                for pads in range(3):
                    try:
                        walk(function, pads)
                        raise AssertionError("no end")
                    except RuntimeError:
                        pass
            for n in range(100):
                disk.readblocks(n, buf)
                assert buf == pattern(n)
            assert queue.available_desc() == queue.size, (form, queue)
