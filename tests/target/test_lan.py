"""The stack between lwIP and slots, with no device: the test is the driver."""

import socket
import struct
from array import array
from time import sleep_ms

import lan_netif
import network
import uctypes
from frames import MAC, PEER, ip4, ones_complement, udp

SLOT, COUNT, HEADER = 2048, 16, 12
FREE, READY = 0, 1
LISTS = 4


class Driver:
    """What lib/virtio/drivers/lan.py is to the stack."""

    def __init__(self):
        self.memory = bytearray(SLOT * COUNT)
        self.state = array("I", [COUNT, 0, HEADER, SLOT])
        self.state.extend(array("I", range(COUNT)))
        self.state.extend(array("I", bytes(4 * COUNT)))
        self.sent = []
        self.lan = network.LAN()

    def __enter__(self):
        lan_netif.attach(MAC, 1500, self.memory, self.state, self.send, self.poll, False)
        lan_netif.link(True)
        return self

    def __exit__(self, *_):
        lan_netif.detach()

    def send(self):
        for n in range(self.state[READY]):
            word = self.state[LISTS + COUNT + n]
            slot, length = word & 0xFFFF, word >> 16
            self.sent.append(bytes(self.memory[SLOT * slot + HEADER : SLOT * slot + length]))
            self.state[LISTS + self.state[FREE]] = slot
            self.state[FREE] += 1
        self.state[READY] = 0

    def poll(self):
        pass

    def input(self, *pieces):
        """A frame, in so many pieces."""
        words = array("I")
        for n, piece in enumerate(pieces):
            more = 0 if n == len(pieces) - 1 else 1 << 31
            words.extend(array("I", [uctypes.addressof(piece), len(piece) | more]))
        lan_netif.input(words, len(pieces))


def ip6(following, payload):
    link_local = b"\xfe\x80" + bytes(6) + b"\0\0\0\xff\xfe\0\0"
    head = struct.pack(">IHBB", 6 << 28, len(payload), following, 255)
    return MAC + PEER + b"\x86\xdd" + head + link_local + b"\x02" + link_local + b"\x01" + payload


def echo_request():
    ping = b"\x08\0\0\0\0\x01\0\x01ping"
    return ip4(1, ping[:2] + struct.pack(">H", ones_complement(ping)) + ping[4:])


def addressed(driver):
    driver.lan.ipconfig(dhcp4=False)
    driver.lan.ifconfig(("10.1.1.1", "255.255.255.0", "10.1.1.2", "10.1.1.2"))
    # The neighbour's address, by its question for ours.
    question = b"\xff" * 6 + PEER + b"\x08\x06\0\x01\x08\0\x06\x04\0\x01" + PEER
    driver.input(question + b"\x0a\x01\x01\x02" + bytes(6) + b"\x0a\x01\x01\x01")
    driver.sent.clear()


def test_the_interface_asks_for_an_address_when_it_has_a_link():
    with Driver() as driver:
        discover = [
            f
            for f in driver.sent
            if f[12:14] == b"\x08\0" and f[23] == 17 and f[36:38] == b"\0\x43"
        ]
        assert discover and discover[0][:6] == b"\xff" * 6 and discover[0][6:12] == MAC
        assert driver.state[FREE] == COUNT and driver.lan.status() == 2


def test_a_frame_in_pieces_is_one_frame():
    with Driver() as driver:
        addressed(driver)
        frame = echo_request()
        for cut in (1, 13, 14, 20, len(frame) - 1):
            driver.input(frame[:cut], frame[cut:])
            (answer,) = driver.sent
            assert answer[34] == 0 and answer[38:] == frame[38:]
            driver.sent.clear()


def test_a_driver_that_raises_takes_the_link_down():
    def broken():
        raise OSError(71)

    driver = Driver()
    driver.send = broken
    with driver:
        assert driver.lan.status() == 0
        lan_netif.link(True)
        assert driver.lan.status() == 0


def test_without_free_slots_frames_are_lost_and_the_stack_lives_on():
    with Driver() as driver:
        addressed(driver)
        driver.state[FREE] = 0
        for _ in range(100):
            driver.input(echo_request())
        assert not driver.sent
        driver.state[FREE] = COUNT
        driver.input(echo_request())
        assert len(driver.sent) == 1


def test_a_question_that_waits_for_its_other_half_goes_with_the_interface():
    question = b"\0\0\2\0\0\1\0\0\0\0\0\0" + b"\x0aboard-name\x05local\0\0\1\0\1"
    name = network.hostname().encode()
    question = question.replace(b"\x0aboard-name", bytes((len(name),)) + name)
    datagram = struct.pack(">HHHH", 5353, 5353, 8 + len(question), 0) + question
    with Driver() as driver:
        addressed(driver)
        driver.input(ip4(17, datagram, to=b"\xe0\0\0\xfb"))
    sleep_ms(700)  # longer than its answers are waited for
    with Driver() as driver:
        addressed(driver)
        driver.input(echo_request())
        assert len([frame for frame in driver.sent if frame[23] == 1]) == 1


def test_frames_of_every_wrong_form_do_no_harm():
    seed = SEED

    def random(below):
        nonlocal seed
        seed = (seed * 1103515245 + 12345) & 0x3FFFFFFF
        return (seed >> 8) % below

    udp = struct.pack(">HHHH", 68, 67, 8 + 240, 0) + bytes(240)
    tcp = struct.pack(">HHIIBBHHH", 1000, 80, 1, 2, 0x50, 0x12, 1000, 0, 0)
    options = (
        struct.pack(">HHIIBBHHH", 1000, 80, 1, 2, 0xF0, 0x02, 1000, 0, 0)
        + b"\x02\x04\xff\xff\x03\0" * 7
    )
    dns = (
        struct.pack(">HHHH", 53, 5353, 40, 0)
        + b"\x12\x34\x84\0\0\1\0\1\0\0\0\0\xc0\x0c\xc0\x0c"
        + bytes(24)
    )
    advert = (
        b"\x86\0\0\0\x40\0\xff\xff"
        + bytes(8)
        + b"\x01\x01"
        + PEER
        + b"\x03\x04\x40\xc0"
        + bytes(28)
    )
    frames = [
        echo_request(), ip4(17, udp), ip4(6, tcp), ip4(6, options), ip4(17, dns), ip4(2, bytes(8)),
        ip6(58, advert), ip6(58, b"\x87\0\0\0" + bytes(20)), ip6(0, bytes(8) + advert), ip6(17, dns),
        ip6(44, b"\x11\0\0\x01\0\0\0\x01" + udp), ip6(6, tcp),
        b"\xff" * 6 + PEER + b"\x08\x06\0\x01\x08\0\x06\x04\0\x02" + bytes(20), bytes(14),
    ]  # fmt: skip
    with Driver() as driver:
        addressed(driver)
        for n in range(ROUNDS):
            frame = bytearray(frames[random(len(frames))])
            for _ in range(random(6)):
                frame[random(len(frame))] = random(256)
            length = len(frame) if random(4) else random(len(frame)) + 1
            driver.input(memoryview(frame)[:length])
            if n % 500 == 0:
                driver.sent.clear()
                driver.state[FREE] = COUNT
        addressed(driver)
        driver.input(echo_request())
        assert len(driver.sent) == 1


def test_checksums_of_every_length_are_made_and_checked():
    data = bytes([(n * 167 + 13) & 255 for n in range(200)]) + b"\xff" * 100
    with Driver() as driver:
        addressed(driver)
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("10.1.1.1", 7))
        s.setblocking(False)
        for n in range(len(data)):
            driver.sent.clear()
            s.sendto(memoryview(data)[n % 4 : n], ("10.1.1.2", 9))
            (frame,) = driver.sent
            pseudo = frame[26:34] + b"\0\x11" + frame[38:40]
            assert ones_complement(pseudo + frame[34:]) == 0, n
            frame = udp(data[:n])
            driver.input(frame)
            assert s.recv(300) == data[:n], n
            if n:
                wrong = bytearray(frame)
                wrong[-1] ^= 1
                driver.input(wrong)
                try:
                    assert not s.recv(300), n
                except OSError:
                    pass
        s.close()


SEED = 20261127
ROUNDS = 20000
