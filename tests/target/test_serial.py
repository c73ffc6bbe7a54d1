"""The serial driver, by a device over RAM that tells what a test has it tell."""

from struct import pack, unpack_from

import virtio
from check import raises
from virtio import DeviceFault, slowmotion
from virtio.features import VERSION_1
from virtio.slowmotion import fill, readable

SIZE, MULTIPORT, EMERGENCY = 1, 2, 4
READY, ADD, REMOVE, PORT_READY, CONSOLE, RESIZE, OPEN, NAME = range(8)


class Ports:
    """A device of as many ports; it takes what is written, and tells what it is asked to."""

    def __init__(self, count=2, features=MULTIPORT, tells=()):
        config = pack("<HHII", 100, 40, count, 0)
        self.transport = slowmotion.Transport(
            device_type=3,
            features=VERSION_1 | features,
            queue_max=(8,) * (2 * count + 2),
            config=config,
        )
        self.device = self.transport.device
        self.device.on_notify = self.serve
        self.tells = list(tells)
        self.heard = []
        self.written = b""

    def serve(self, idx):
        half = self.device.queue(idx)
        if idx == 3:
            while half.waiting:
                head, buffers = half.take()
                self.heard.append(unpack_from("<IHH", readable(buffers)))
                half.use(head, 0)
                if self.heard[-1][1] == READY:
                    for message in self.tells:
                        self.tell(*message)
        elif idx % 2:
            while half.waiting:
                head, buffers = half.take()
                self.written += readable(buffers)
                half.use(head, 0)

    def tell(self, number, event, value, more=b""):
        self.put(2, pack("<IHH", number, event, value) + more)

    def put(self, idx, data, length=None):
        half = self.device.queue(idx)
        head, buffers = half.take()
        written = fill(buffers, data)
        half.use(head, written if length is None else length)


ONE = ((1, ADD, 1), (1, NAME, 1, b"one"), (1, OPEN, 1))


class Opened:
    def __init__(self, *arguments, **fields):
        self.fake = Ports(*arguments, **fields)
        self.serial = virtio.Serial(self.fake.transport)

    def __enter__(self):
        return self.serial, self.fake

    def __exit__(self, *_):
        self.serial.deinit()


def test_the_device_hears_what_the_specification_asks_for():
    with Opened(tells=ONE) as (serial, fake):
        port = serial.port("one")
        assert fake.heard == [(0, READY, 1), (1, PORT_READY, 1), (1, OPEN, 1)], fake.heard
        assert port.connected and serial.size is None and not serial.emergency(b"x")
        assert port.write(b"to the host") == 11 and fake.written == b"to the host"
        fake.put(4, b"from the host")
        assert port.any() == 13 and port.read(4) == b"from" and port.read(9) == b" the host"
        port.close()
        assert fake.heard[-1] == (1, OPEN, 0)


def test_a_name_may_end_in_a_zero_or_not():
    for name in (b"one", b"one\0"):
        tells = ((1, ADD, 1), (1, NAME, 1, name))
        with Opened(tells=tells) as (serial, _):
            assert [port.name for port in serial.ports()] == ["one"]


def test_the_console_has_a_size():
    tells = ((0, ADD, 1), (0, CONSOLE, 1), (0, RESIZE, 0, pack("<HH", 132, 50)))
    with Opened(features=MULTIPORT | SIZE, tells=tells) as (serial, fake):
        assert serial.size == (100, 40)
        port = serial.port(0)
        assert port.console and port.size == (132, 50)


def test_control_messages_that_make_no_sense_do_no_harm():
    tells = (
        (7, ADD, 1),  # a port beyond those that there are
        (1, NAME, 1, b"before it was added"),
        (1, REMOVE, 1),
        (1, 77, 1),
    )
    tells = tells + ONE + ((1, RESIZE, 0, b"\1"),)
    with Opened(tells=tells) as (serial, _):
        assert [port.number for port in serial.ports()] == [1]
        assert serial.port("one").size is None


def test_half_a_control_message_is_a_fault():
    with Opened(tells=ONE) as (serial, fake):
        port = serial.port("one")
        fake.put(2, b"half")
        raises(DeviceFault, serial.ports)
        raises(DeviceFault, port.write, b"x")
        serial.reset()
        assert port.write(b"on") == 2


def test_a_length_beyond_a_slot_is_a_fault():
    with Opened(tells=ONE) as (serial, fake):
        port = serial.port("one")
        fake.put(4, b"some", 5000)
        raises(DeviceFault, port.read, 4)
        serial.reset()
        fake.put(4, b"some")
        assert port.read(4) == b"some"


def test_an_empty_buffer_from_the_device_is_passed_over():
    with Opened(tells=ONE) as (serial, fake):
        port = serial.port("one")
        for _ in range(20):
            fake.put(4, b"")
            assert port.any() == 0
        fake.put(4, b"x")
        assert port.read(1) == b"x"


def test_a_device_of_no_ports_is_a_fault():
    fake = Ports(count=2)
    fake.transport.memory[0x104:0x108] = bytes(4)
    raises(DeviceFault, virtio.Serial, fake.transport)


def test_more_than_there_are_slots_goes_round():
    with Opened(tells=ONE) as (serial, fake):
        port = serial.port("one")
        data = bytes(range(256)) * 500
        assert port.write(data) == len(data) and fake.written == data
        port.flush()
