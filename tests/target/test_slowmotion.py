"""The device in slow motion, as a user takes it: both halves of a queue in one program."""

import virtio
from check import raises
from virtio import VirtQueue, slowmotion
from virtio.features import EVENT_IDX, INDIRECT_DESC, RING_PACKED, VERSION_1

WRAP = 65530


def set_up(size=4, packed=False, event_idx=False, indirect=False):
    """A driver's first steps, by hand: the transport, its device, and a queue."""
    features = VERSION_1 | (RING_PACKED if packed else 0)
    features |= (EVENT_IDX if event_idx else 0) | (INDIRECT_DESC if indirect else 0)
    transport = slowmotion.Transport(features=features, queue_max=(size,))
    transport.reset()
    transport.add_status(1 | 2)
    transport.write_driver_features(features)
    transport.add_status(8)
    kind = virtio.PackedVirtQueue if packed else VirtQueue
    queue = kind(transport, 0, size, indirect, event_idx)
    transport.add_status(4)
    return transport.device, queue


def every_form(test):
    def run():
        for packed in (False, True):
            for event_idx in (False, True):
                device, queue = set_up(packed=packed, event_idx=event_idx)
                try:
                    test(device, queue)
                finally:
                    queue.deinit()

    return run


@every_form
def _a_request(device, queue):
    out, room = b"ping", bytearray(4)
    token = queue.add([out], [room])
    head, buffers = device.take()
    assert slowmotion.readable(buffers) == b"ping"
    assert [(b.length, bool(b.writable)) for b in buffers] == [(4, False), (4, True)]
    device.use(head, slowmotion.fill(buffers, b"pong"))
    assert queue.pop_used(token) == 4 and room == b"pong"


def test_a_request_is_played_by_hand():
    _a_request()


@every_form
def _across_the_wrap(device, queue):
    device.start_at(WRAP)
    half = device.queue()
    for n in range(20):
        room = bytearray(1)
        token = queue.add([], [room])
        assert queue.should_notify()
        head, buffers = device.take()
        device.use(head, slowmotion.fill(buffers, bytes((n,))))
        assert half.wants_interrupt, n
        half.notify_next()
        assert queue.pop_used(token) == 1 and room[0] == n
    assert "avail=%d, used=%d" % (WRAP + 20 & 0xFFFF, WRAP + 20 & 0xFFFF) in repr(queue)
    token = queue.add([], [bytearray(1)])
    raises(ValueError, device.start_at, 0)


def test_the_indices_start_where_one_likes():
    _across_the_wrap()


@every_form
def _interrupts(device, queue):
    half = device.queue()
    for wanted in (True, False, True):
        queue.set_dev_notify(wanted)
        token = queue.add([], [bytearray(1)])
        head, _ = device.take()
        device.use(head, 1)
        assert half.wants_interrupt == wanted
        queue.pop_used(token)


def test_it_knows_whether_the_driver_wants_an_interrupt():
    _interrupts()


def test_an_interrupt_calls_the_driver_and_is_acknowledged():
    device, queue = set_up()
    reasons = []
    device.transport.listen(reasons.append)
    device.interrupt()
    device.change_config(0, b"\x07")
    assert reasons == [1, 2] and device.acknowledged == [1, 2] and not device.InterruptStatus
    assert device.transport.read_config((0, 1)) == (7,)
    device.ask_for_reset()
    raises(virtio.DeviceFault, device.transport.check)


def test_a_drivers_mistakes_are_seen():
    device, queue = set_up(indirect=True)
    raises(slowmotion.DriverFault, device.take)
    rings = queue.rings()

    def chain(*descriptors):
        device.start_at(0)
        for n, (length, flags, following) in enumerate(descriptors):
            entry = rings.desc[n]
            entry.addr, entry.len, entry.flags, entry.next = 0x40000000, length, flags, following
        rings.avail.ring[0] = 0
        rings.avail.idx = 1
        raises(slowmotion.DriverFault, device.take)

    chain((0, 0, 0))  # empty
    chain((4, slowmotion.NEXT, 7))  # out of the table
    chain((4, slowmotion.NEXT, 1), (4, slowmotion.NEXT, 0))  # a loop
    chain((4, slowmotion.NEXT | slowmotion.WRITE, 1), (4, 0, 0))  # WRITE first
    chain((24, slowmotion.INDIRECT, 0))  # a table and a half
    chain((16, slowmotion.INDIRECT | slowmotion.NEXT, 1))
    device.start_at(0)
    rings.avail.idx = 500
    raises(slowmotion.DriverFault, device.take)


def test_a_driver_runs_on_one_that_answers_by_itself():
    transport = slowmotion.Transport(device_type=4)
    device = transport.device
    device.on_notify = lambda idx: slowmotion.answer(device.queue(idx), b"not random!")
    rng = virtio.Rng(transport)
    try:
        assert rng.read(11) == b"not random!"
    finally:
        rng.deinit()
    assert device.status == 0


def test_a_queue_that_is_set_up_again_begins_anew():
    device, queue = set_up()
    queue.add([], [bytearray(1)])
    device.take()
    queue.deinit()
    queue = VirtQueue(device.transport, 0, 4)
    token = queue.add([], [bytearray(1)])
    head, _ = device.take()
    device.use(head, 1)
    assert queue.pop_used(token) == 1
