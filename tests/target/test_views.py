"""Looking at queues and devices from the prompt."""

import io
import os

import fake
import virtio
from check import raises
from virtio import InvalidParam, PackedVirtQueue, VirtQueue

PACKED = 1 << 34
NOBODY = 0x0B000000  # an address where nothing answers, on this board


class Tap(io.IOBase):
    def __init__(self):
        self.text = b""

    def write(self, data):
        self.text += bytes(data)
        return len(data)

    def readinto(self, buf):
        return None


def printed(function, *args):
    tap = Tap()
    before = os.dupterm(tap)
    try:
        function(*args)
    finally:
        os.dupterm(before)
    return tap.text.decode().replace("\r", "").split("\n")


def split(size=4):
    transport = fake.FakeTransport(queue_max=(size,))
    queue = VirtQueue(transport, 0, size)
    return transport, queue, fake.FakeQueue(transport)


def packed(size=4):
    transport = fake.FakeTransport(features=fake.VERSION_1 | PACKED, queue_max=(size,))
    queue = PackedVirtQueue(transport, 0, size)
    return transport, queue, fake.FakePackedQueue(transport)


def test_the_split_rings_are_what_the_device_sees():
    _, queue, device = split()
    data, room = b"12345", bytearray(7)
    token = queue.add([data], [room])
    rings = queue.rings()
    first = rings.desc[token]
    assert (first.len, first.flags) == (5, fake.NEXT)
    second = rings.desc[first.next]
    assert (second.len, second.flags) == (7, fake.WRITE)
    assert rings.avail.idx == 1 and rings.avail.ring[0] == token
    device.pop()
    device.use(token, 3)
    assert rings.used.idx == 1
    assert (rings.used.ring[0].id, rings.used.ring[0].len) == (token, 3)
    assert queue.pop_used(token) == 3


def test_the_packed_ring_is_what_the_device_sees():
    _, queue, device = packed()
    token = queue.add([b"12345"], [])
    rings = queue.rings()
    assert (rings.desc[0].len, rings.desc[0].id, rings.desc[0].flags) == (5, token, fake.AVAIL)
    device.notify_never()
    assert rings.device.flags == 1
    queue.set_dev_notify(False)
    assert rings.driver.flags == 1


def test_a_field_that_is_written_is_what_the_driver_reads():
    _, queue, _ = split()
    token = queue.add([], [bytearray(4)])
    rings = queue.rings()
    rings.used.ring[0].id = token
    rings.used.ring[0].len = 4
    rings.used.idx = 1
    assert queue.can_pop() and queue.pop_used(token) == 4


def test_a_queue_that_was_given_back_has_no_rings():
    for make in (split, packed):
        _, queue, _ = make()
        queue.deinit()
        raises(InvalidParam, queue.rings)
        raises(InvalidParam, virtio.show, queue)


def test_show_says_whose_each_descriptor_is_and_what_changed():
    for make in (split, packed):
        _, queue, device = make()
        printed(virtio.show, queue)
        token = queue.add([], [bytearray(9)])
        lines = printed(virtio.show, queue)
        assert any(["the device's" in line for line in lines]), lines
        assert any([line.startswith("*") and "9 bytes" in line for line in lines]), lines
        assert not any([line.startswith("*") for line in printed(virtio.show, queue)])
        device.pop()
        device.use(token, 9)
        assert queue.can_pop()
        assert any(["used" in line for line in printed(virtio.show, queue) if line[:1] == "*"])
        queue.pop_used(token)


def test_colours_mark_what_changed_and_what_is_the_devices_and_change_no_text():
    for make in (split, packed):
        _, queue, _ = make()
        printed(virtio.show, queue)
        queue.add([], [bytearray(9)])
        lines = printed(lambda q: virtio.show(q, True), queue)
        (mine,) = [line for line in lines if "9 bytes" in line]
        assert mine.startswith("* \x1b[1m") and mine.endswith("\x1b[0m"), mine
        assert all(["the device's" in line for line in lines if "\x1b[33m" in line])
        assert any(["\x1b[33m" in line for line in lines])
        for code in ("\x1b[1m", "\x1b[33m", "\x1b[0m"):
            lines = [line.replace(code, "") for line in lines]
        plain = printed(virtio.show, queue)
        assert [line[2:] for line in lines[1:]] == [line[2:] for line in plain[1:]]


def said(transport):
    return [line[2:] for line in printed(virtio.diagnose, transport) if line.startswith("!")]


def test_diagnose_finds_the_step_that_is_missing():
    transport = fake.FakeTransport()
    assert "nobody drives it" in said(transport)[0]
    transport.reset()
    transport.add_status(1 | 2)
    texts = said(transport)
    assert "VERSION_1 was not taken" in texts[0] and "FEATURES_OK" in texts[1]
    transport.write_driver_features(fake.VERSION_1 | 1 << 5)
    assert "not offered: its own 5" in said(transport)[0]
    transport.write_driver_features(fake.VERSION_1)
    transport.add_status(8)
    assert [text[:9] for text in said(transport)] == ["DRIVER_OK"]
    transport.add_status(4)
    assert said(transport) == ["it runs without a queue"]


def test_diagnose_finds_a_device_that_was_not_notified():
    transport, queue, device = split()
    transport.write_driver_features(fake.VERSION_1)
    transport.add_status(1 | 2 | 4 | 8)
    token = queue.add([], [bytearray(4)])
    assert "was not notified" in said(transport)[0]
    queue.kick()
    assert "was notified" in said(transport)[0]
    device.pop()
    device.use(token, 4)
    assert queue.can_pop()
    assert "wait to be popped" in said(transport)[0]
    transport.device.InterruptStatus = 1
    assert "pending" in said(transport)[0]
    transport.device.InterruptStatus = 0
    transport.device.status |= 64
    assert "asks for a reset" in said(transport)[0]
    queue.deinit()


def has(transport, text):
    return any([text in line for line in said(transport)])


def test_diagnose_finds_rings_that_are_not_what_the_driver_noted():
    transport, queue, device = split()
    token = queue.add([], [bytearray(4)])
    rings = queue.rings()
    for structure, field, text in (
        (rings.avail, "idx", "avail.idx is 7"),
        (rings.desc[token], "flags", "not for the device to write"),
    ):
        before = getattr(structure, field)
        setattr(structure, field, 7 if field == "idx" else 0)
        assert has(transport, text), text
        setattr(structure, field, before)
        assert not has(transport, text), text
    queue.deinit()


def test_diagnose_follows_no_chain_and_no_table_out_of_the_queue():
    for indirect, poke, text in (
        (
            False,
            lambda entry: setattr(entry, "next", 4),
            "goes on at descriptor 4, and there are 4",
        ),
        (False, lambda entry: setattr(entry, "next", 0), "chain 0 does not end"),
        (False, lambda entry: setattr(entry, "flags", 4), "the table of chain 0 is not in"),
        (True, lambda entry: setattr(entry, "addr", NOBODY), "the table of chain 0 is not in"),
        (True, lambda entry: setattr(entry, "addr", entry.addr | 1 << 32), "the table of chain 0"),
        (True, lambda entry: setattr(entry, "len", 0), "the table of chain 0 is not in"),
    ):
        transport = fake.FakeTransport(queue_max=(4,))
        queue = VirtQueue(transport, 0, 4, indirect)
        assert queue.add([b"1"], [bytearray(4), bytearray(1)]) == 0
        assert not has(transport, "chain 0")
        poke(queue.rings().desc[0])
        assert has(transport, text), text
        queue.deinit()


def test_diagnose_finds_an_event_that_never_comes():
    transport = fake.FakeTransport(queue_max=(4,))
    queue = VirtQueue(transport, 0, 4, True, True)
    for wanted in (False, True):
        queue.set_dev_notify(wanted)
        queue.add([b"1"], [bytearray(4)])
        assert not has(transport, "used_event")
    queue.rings().avail.used_event = 3
    assert has(transport, "used_event is 3")
    queue.deinit()


def test_diagnose_finds_a_legacy_queue_in_another_page():
    transport = fake.FakeTransport(version=1, features=0)
    queue = VirtQueue(transport, 0, 8)
    assert not has(transport, "in page")
    transport.device.queues[0]["QueuePFN"] += 1
    assert has(transport, "in page")
    transport.device.queues[0]["QueuePFN"] -= 1
    queue.deinit()


def test_diagnose_finds_a_packed_descriptor_with_the_wrong_wrap_bit():
    transport, queue, device = packed()
    for n in range(6):
        token = queue.add([b"x"], [])
        assert not has(transport, "place"), n
        flags = queue.rings().desc[n & 3].flags
        queue.rings().desc[n & 3].flags = flags ^ (fake.AVAIL | fake.USED)
        assert has(transport, "place %d is not available" % (n & 3))
        queue.rings().desc[n & 3].flags = flags
        device.pop()
        device.use(token, 0)
        assert has(transport, "place %d is used" % (n & 3))
        queue.pop_used(token)
    queue.deinit()


def test_looking_changes_nothing():
    transport, queue, _ = split()
    queue.add([], [bytearray(4)])
    before = bytes(queue._state), list(transport.device.notified), transport.status
    printed(virtio.show, queue)
    printed(virtio.diagnose, transport)
    assert (bytes(queue._state), transport.device.notified, transport.status) == before


def test_a_running_driver_has_nothing_wrong_with_it():
    rng = virtio.Rng(0)
    try:
        rng.read(8)
        assert said(rng.transport) == []
        printed(virtio.show, rng.queues[0])
    finally:
        rng.deinit()
