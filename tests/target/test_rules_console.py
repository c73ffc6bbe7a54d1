"""The specification's rules for drivers of console devices, on one in slow motion: see tests/rules."""

import struct

import fake
import pytest
import uctypes
import virtio

pytestmark = pytest.mark.board(interface=("modern",))

MULTIPORT, PACKED = 1 << 1, 1 << 34
DEVICE_READY, DEVICE_ADD, PORT_READY, CONSOLE_PORT, PORT_OPEN = 0, 1, 3, 4, 6


class Console:
    """A console device of two ports: what it was told, and what it tells."""

    def __init__(self, version=2, packed=0):
        self.told = []
        self.parts = []  # how many buffers each message had
        offered = MULTIPORT | (0 if version == 1 else fake.VERSION_1 | packed)
        config = struct.pack("<HHII", 80, 25, 2, 0)
        self.transport = fake.FakeTransport(3, version, offered, (8,) * 6, config)
        self.half = fake.FakePackedQueue if packed else fake.FakeQueue
        self.halves = {}
        self.transport.device.on_notify = self.work
        self.serial = virtio.Serial(self.transport)

    def queue(self, idx):
        if idx not in self.halves:
            self.halves[idx] = self.half(self.transport, idx)
        return self.halves[idx]

    def work(self, idx):
        if idx == 3:
            queue = self.queue(3)
            while queue.waiting:
                head, buffers = queue.pop()
                assert not any([writable for _, _, writable in buffers])
                self.told.append(struct.unpack("<IHH", fake.readable(buffers)))
                self.parts.append(len(buffers))
                queue.use(head, 0)

    def tell(self, number, event, value=1):
        head, buffers = self.queue(2).pop()
        message = struct.pack("<IHH", number, event, value)
        uctypes.bytearray_at(buffers[0][0], len(message))[:] = message
        self.queue(2).use(head, len(message))
        self.transport.device.interrupt()
        self.serial.ports()


def every_form(test):
    def run():
        for version, packed in ((1, 0), (2, 0), (2, PACKED)):
            console = Console(version, packed)
            try:
                test(console)
            finally:
                console.serial.deinit()

    return run


@every_form
def _device_ready(console):
    assert console.told == [(0, DEVICE_READY, 1)]


def test_a_device_of_several_ports_is_told_that_the_driver_is_ready():
    _device_ready()


@every_form
def _console_port(console):
    console.tell(1, DEVICE_ADD)
    assert console.told[-1] == (1, PORT_READY, 1)
    console.tell(1, CONSOLE_PORT)
    assert console.told[-1] == (1, PORT_OPEN, 1), console.told
    assert console.serial.ports()[0].console


def test_a_port_that_is_to_be_a_console_is_opened():
    _console_port()


@every_form
def _directions(console):
    for number in (0, 1):
        console.tell(number, DEVICE_ADD)
        port = console.serial.port(number)
        console.tell(number, PORT_OPEN)
        assert port.write(b"to the host") == 11
        receive, transmit = (0, 1) if number == 0 else (4, 5)
        count = 0
        while console.queue(receive).waiting:
            assert all([writable for _, _, writable in console.queue(receive).pop()[1]])
            count += 1
        assert count
        head, buffers = console.queue(transmit).pop()
        assert not any([writable for _, _, writable in buffers])
        console.queue(transmit).use(head, 0)
        port.timeout_ms = 0
        port.close()


def test_a_receive_queue_has_nothing_to_read_and_a_transmit_queue_nothing_to_write():
    _directions()


@every_form
def _one_descriptor(console):
    console.tell(0, DEVICE_ADD)
    assert set(console.parts) == {1}
    while console.queue(2).waiting:
        assert len(console.queue(2).pop()[1]) == 1


def test_a_control_message_is_one_descriptor():
    _one_descriptor()
