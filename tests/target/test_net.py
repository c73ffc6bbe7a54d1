"""The network device, a fake one: what QEMU's does not do, and what no device should."""

import errno
import socket
import struct

import fake
import micropython
import network
import uctypes
import virtio
from check import allocates_nothing, raises
from frames import ones_complement, udp
from virtio import DeviceFault, InvalidParam, Timeout, Unsupported
from virtio.drivers import lan
from virtio.platform import board

CSUM, GUEST_CSUM = 1 << 0, 1 << 1
MTU, MAC, MRG_RXBUF, STATUS = 1 << 3, 1 << 5, 1 << 15, 1 << 16
CTRL_VQ, CTRL_RX, CTRL_MAC_ADDR, ANY_LAYOUT = 1 << 17, 1 << 18, 1 << 23, 1 << 27
PACKED = 1 << 34
OURS = b"\x02\0\0\0\0\x01"
FRAME = b"\xff" * 6 + OURS + b"\x88\xb5" + bytes(range(100))


class Wire:
    """A network device in the test's hands: what it was sent, and what comes in."""

    def __init__(self, features=MAC | STATUS | MRG_RXBUF, version=2, mtu=1500, link=1):
        offered = features | (fake.VERSION_1 if version == 2 else 0)
        config = OURS + struct.pack("<HHH", link, 1, mtu)
        self.transport = fake.FakeTransport(1, version, offered, (64, 64, 4), config)
        self.net = virtio.Net(self.transport)
        kind = fake.FakePackedQueue if offered & PACKED else fake.FakeQueue
        self.rx, self.tx = kind(self.transport, 0), kind(self.transport, 1)
        self.header = 12 if version == 2 or features & MRG_RXBUF else 10

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.net.deinit()

    def sent(self):
        """The next frame that was sent, without its header; the device has used it."""
        header, frame = self.sent_with_header()
        assert header == bytes(self.header)
        return frame

    def sent_with_header(self):
        token, buffers = self.tx.pop()
        data = fake.readable(buffers)
        self.tx.use(token, 0)
        return data[: self.header], data[self.header :]

    def arrive(self, frame, buffers=1, length=None, flags=0, start=0, offset=0):
        """Have a frame come in, in so many buffers, as many bytes in each but the last."""
        header = struct.pack("<BBHHHHH", flags, 0, 0, 0, start, offset, buffers)
        data = header[: self.header] + frame
        part = (len(data) + buffers - 1) // buffers
        for n in range(buffers):
            token, pieces = self.rx.pop()
            piece = data[n * part : (n + 1) * part]
            at = 0
            for address, room, write in pieces:
                assert write
                count = min(room, len(piece) - at)
                uctypes.bytearray_at(address, count)[:] = piece[at : at + count]
                at += count
            self.rx.use(token, len(piece) if length is None else length)


def receive(net, size=2000):
    buf = bytearray(size)
    count = net.recvinto(buf, 100)
    return bytes(buf[:count])


FORMS = (
    dict(),
    dict(features=MAC),
    dict(features=MAC | MRG_RXBUF | PACKED),
    dict(features=MAC, version=1),
    dict(features=MAC | ANY_LAYOUT, version=1),
    dict(features=MAC | MRG_RXBUF | ANY_LAYOUT, version=1),
)


def test_frames_cross_in_every_form():
    for form in FORMS:
        with Wire(**form) as wire:
            for n in range(200):  # more than the rings have places
                frame = FRAME[: 14 + n % 100]
                wire.net.send(frame)
                assert wire.sent() == frame
                wire.arrive(frame)
                assert receive(wire.net) == frame


def test_all_slots_are_with_the_device_from_the_start_and_after_a_reset():
    for form in FORMS:
        with Wire(**form) as wire:
            legacy_split_header = form.get("version") == 1 and form["features"] == MAC
            count = 32 if legacy_split_header else 64
            for _ in range(2):
                kind = type(wire.rx)
                rx, found = kind(wire.transport, 0), 0
                while rx.waiting:
                    _, buffers = rx.pop()
                    assert sum([length for _, length, _ in buffers]) >= 1526  # section 5.1.6.3.1
                    found += 1
                assert found == count
                assert 0 in wire.transport.device.notified
                wire.net.reset()


def test_no_buffer_is_announced_before_driver_ok():
    notified = []
    write = fake.FakeDevice.write_QueueNotify

    def watch(device, value):
        notified.append(device.status & 4)
        write(device, value)

    fake.FakeDevice.write_QueueNotify = watch
    try:
        with Wire():
            pass
    finally:
        fake.FakeDevice.write_QueueNotify = write
    assert notified and all(notified)


def test_a_legacy_device_gets_the_header_in_a_descriptor_of_its_own():
    with Wire(features=MAC, version=1) as wire:
        wire.net.send(FRAME)
        _, buffers = wire.tx.pop()
        assert [length for _, length, _ in buffers] == [10, len(FRAME)]


def test_a_frame_in_several_buffers_is_put_together():
    with Wire() as wire:
        frame = FRAME + bytes(3000)
        wire.arrive(frame, buffers=2)
        wire.arrive(FRAME)
        assert receive(wire.net, 4000) == frame
        assert receive(wire.net) == FRAME


def test_what_a_receiver_raises_does_not_end_what_the_interrupt_came_into():
    def out_of_memory():
        raise MemoryError("a receiver's own")

    for reasons in (1, 2, 3):
        with Wire(MAC) as wire:
            wire.net.rx.queue.heard = True
            wire.net.received = out_of_memory
            wire.arrive(FRAME)
            wire.transport.device.interrupt(reasons)  # the handler prints it
            wire.net.received = None


def test_who_comes_in_while_a_frame_is_received_receives_the_next_one():
    for features in (MAC, MAC | PACKED):
        with Wire(features) as wire:
            queue, found = wire.net.rx.queue, []
            look = queue._look

            def other(_):
                found.append(receive(wire.net))

            def looks(queue, words):
                queue._look = look
                count = look(queue, words)
                micropython.schedule(other, None)
                return count

            wire.arrive(FRAME)
            wire.arrive(FRAME + b"next")
            queue._look = looks
            assert receive(wire.net) == FRAME
            while not found:
                pass
            assert found == [FRAME + b"next"]


def test_who_comes_in_while_a_frame_is_sent_does_not_have_its_slot():
    for features in (MAC, MAC | PACKED):
        with Wire(features) as wire:
            wire.net.timeout_ms = 100
            for _ in range(64):
                wire.net.send(FRAME)
            wire.sent()
            queue, said = wire.net.tx.queue, []
            look = queue._look

            def other(_):
                try:
                    wire.net.send(FRAME)
                except Timeout:
                    said.append(Timeout)

            def looks(queue, words):
                queue._look = look
                count = look(queue, words)
                micropython.schedule(other, None)
                return count

            queue._look = looks
            wire.net.send(FRAME + b"last")
            while not said:
                pass
            assert [wire.sent() for _ in range(64)] == [FRAME] * 63 + [FRAME + b"last"]


def test_what_does_not_fit_into_the_buffer_is_lost():
    with Wire() as wire:
        wire.arrive(FRAME)
        wire.arrive(FRAME[:50])
        assert receive(wire.net, 20) == FRAME[:20]
        assert receive(wire.net) == FRAME[:50]


# What a device says of a frame's checksum, section 5.1.6.
NEEDS_CSUM, DATA_VALID = 1, 2
START = 34  # of a datagram
CHECKSUM_FORMS = tuple(
    [
        dict(features=MAC | CSUM | GUEST_CSUM | more)
        for more in (MRG_RXBUF, 0, PACKED, MRG_RXBUF | PACKED)
    ]
    + [
        dict(features=MAC | CSUM | GUEST_CSUM, version=1),
        dict(features=MAC | CSUM | GUEST_CSUM | MRG_RXBUF | ANY_LAYOUT, version=1),
    ]
)


def partial(frame):
    """A datagram whose checksum is that of the pseudo header, as a device hands it over."""
    pseudo = frame[26:34] + b"\0\x11" + frame[38:40]
    return frame[:40] + struct.pack(">H", ones_complement(pseudo) ^ 0xFFFF) + frame[42:]


def test_a_checksum_that_the_device_has_left_is_completed():
    for form in CHECKSUM_FORMS:
        with Wire(**form) as wire:
            most = 3 if form["features"] & MRG_RXBUF else 1
            for n in range(60):
                frame = udp(bytes([(7 * i + 31 * n) & 255 for i in range(40 + n)]))
                for buffers in range(1, most + 1):
                    wire.arrive(partial(frame), buffers, None, NEEDS_CSUM, START, 6)
                    assert receive(wire.net) == frame, (form, n, buffers)
            # What does not fit counts too, and nothing is written behind what does.
            for size in (100, 42, 41, 40, 20):
                wire.arrive(partial(frame), 1, None, NEEDS_CSUM, START, 6)
                buf = bytearray(b"-" * 200)
                assert wire.net.recvinto(memoryview(buf)[:size], 100) == min(size, len(frame))
                assert buf[:size] == (frame + b"-" * 100)[:size] and buf[size] == 0x2D, size


def test_a_checksum_of_zero_is_written_as_its_other_form():
    ports = struct.pack(">HHHH", 9, 7, 10, 0)
    pseudo = b"\x0a\x01\x01\x02\x0a\x01\x01\x01\0\x11\0\x0a"
    frame = udp(struct.pack(">H", ones_complement(pseudo + ports)))
    assert frame[40:42] == b"\xff\xff"
    with Wire(**CHECKSUM_FORMS[0]) as wire:
        wire.arrive(partial(frame), 1, None, NEEDS_CSUM, START, 6)
        assert receive(wire.net) == frame


def test_flags_that_were_not_negotiated_change_nothing():
    frame = partial(udp(b"as it came"))
    for form in FORMS:
        with Wire(**form) as wire:
            wire.arrive(frame, 1, None, NEEDS_CSUM | DATA_VALID, 60000, 60000)
            assert receive(wire.net) == frame


def test_a_checksum_beyond_the_frame_is_a_fault_and_a_reset_mends_it():
    frame = udp(b"payload!")
    for features in (CSUM | GUEST_CSUM | MAC, CSUM | GUEST_CSUM | MAC | PACKED):
        for start, offset in (
            (len(frame) - 1, 0),
            (len(frame), 0),
            (START, len(frame) - START - 1),
            (0xFFFF, 0),
            (0, 0xFFFF),
            (0xFFFF, 0xFFFF),
        ):
            with Wire(features) as wire:
                wire.arrive(frame, 1, None, NEEDS_CSUM, start, offset)
                raises(DeviceFault, wire.net.recvinto, bytearray(100), 20)
                reset(wire)
        with Wire(features) as wire:  # the last two bytes are within it
            wire.arrive(frame, 1, None, NEEDS_CSUM, len(frame) - 2, 0)
            assert receive(wire.net)[:-2] == frame[:-2]


def test_frames_that_are_none_are_refused():
    with Wire() as wire:
        raises(InvalidParam, wire.net.send, FRAME[:13])
        raises(InvalidParam, wire.net.send, bytes(4000))
        raises(TypeError, wire.net.send, 5)
        raises(TypeError, wire.net.recvinto, b"read-only")
        assert not wire.tx.waiting


def test_no_answer_is_a_timeout_and_nothing_is_lost():
    with Wire() as wire:
        raises(Timeout, wire.net.recvinto, bytearray(100), 20)
        wire.net.timeout_ms = 20
        for _ in range(64):
            wire.net.send(FRAME)
        raises(Timeout, wire.net.send, FRAME)
        assert wire.sent() == FRAME
        wire.net.send(FRAME)
        wire.arrive(FRAME)
        assert receive(wire.net) == FRAME


def test_a_device_that_lies_is_a_fault_and_a_reset_mends_it():
    def short(wire):
        wire.arrive(FRAME, length=13)  # less than a header and addresses

    def long(wire):
        wire.arrive(FRAME, length=1 << 20)

    def none(wire):
        wire.arrive(FRAME)
        token, pieces = wire.rx.pop()
        uctypes.bytearray_at(pieces[0][0], 12)[:] = bytes(12)  # in no buffers
        wire.rx.use(token, 100)
        receive(wire.net)

    def too_many(wire):
        token, pieces = wire.rx.pop()
        uctypes.bytearray_at(pieces[0][0], 12)[:] = bytes(10) + b"\xff\xff"
        wire.rx.use(token, 100)

    def unfinished(wire):
        token, pieces = wire.rx.pop()
        uctypes.bytearray_at(pieces[0][0], 12)[:] = bytes(10) + b"\x02\0"
        wire.rx.use(token, 100)

    def twice(wire):
        token, _ = wire.rx.pop()
        for _ in range(2):
            wire.rx.use(token, 100)

    def unknown(wire):
        wire.rx.use(1000, 100)

    for features in (MAC | MRG_RXBUF, MAC | MRG_RXBUF | PACKED):
        for lie in (short, long, none, too_many, unfinished, twice, unknown):
            with Wire(features) as wire:
                lie(wire)
                raises(DeviceFault, wire.net.recvinto, bytearray(100), 20)
                raises(DeviceFault, wire.net.send, FRAME)
                reset(wire)


def test_a_device_that_lies_of_what_it_has_sent_is_a_fault_and_a_reset_mends_it():
    def twice(wire):
        token, _ = wire.tx.pop()
        for _ in range(2):
            wire.tx.use(token, 0)

    def unknown(wire):
        wire.tx.use(1000, 0)

    def not_sent(wire):
        wire.tx.use(9, 0)

    for features in (MAC | MRG_RXBUF, MAC | MRG_RXBUF | PACKED):
        for lie in (twice, unknown, not_sent):
            with Wire(features) as wire:
                for _ in range(3):
                    wire.net.send(FRAME)
                lie(wire)
                raises(DeviceFault, wire.net.send, FRAME)
                raises(DeviceFault, wire.net.recvinto, bytearray(100), 20)
                reset(wire)


def reset(wire):
    wire.net.reset()
    kind = type(wire.rx)
    wire.rx, wire.tx = kind(wire.transport, 0), kind(wire.transport, 1)
    wire.net.send(FRAME)
    assert wire.sent() == FRAME


def test_frames_and_lies_at_random_are_frames_or_faults():
    """Whatever lengths and counts a device tells, what comes out is what it wrote, or a fault."""
    seed = SEED

    def random(below):
        nonlocal seed
        seed = (seed * 1103515245 + 12345) & 0x3FFFFFFF
        return (seed >> 8) % below

    buf = bytearray(5000)
    got = faults = 0
    for turn in range(ROUNDS // 250):
        with Wire(MAC | MRG_RXBUF | (PACKED if turn & 1 else 0)) as wire:
            for _ in range(250):
                frame = bytes([random(256) for _ in range(14 + random(60))]) * (1 + random(20))
                pieces = 1 + random(3) if len(frame) > 200 else 1
                lie = random(8) == 0
                length = random(4) * random(3000) if lie else None
                # Without GUEST_CSUM what a header says of checksums is nothing.
                flags = random(4)
                wire.arrive(frame, pieces, length, flags, random(65536), random(65536))
                try:
                    count = wire.net.recvinto(buf, 0)
                    assert lie or buf[:count] == frame
                    got += 1
                except (DeviceFault, Timeout):
                    assert lie
                    faults += 1
                    wire.net.reset()
                    kind = type(wire.rx)
                    wire.rx, wire.tx = kind(wire.transport, 0), kind(wire.transport, 1)
    assert got and faults
    return got, faults


def opened_by(fake_net):
    """The interface on a device in the test's hands."""
    ours, lan.Net = lan.Net, lambda _: fake_net
    try:
        lan.start()
    finally:
        lan.Net = ours


def test_a_device_that_lies_takes_the_link_down_and_no_socket_raises():
    for features in (MAC, MAC | PACKED):
        with Wire(features) as wire:
            opened_by(wire.net)
            try:
                interface = network.LAN()
                interface.ipconfig(dhcp4=False)
                interface.ifconfig(("10.1.1.1", "255.255.255.0", "10.1.1.2", "10.1.1.2"))
                s = socket.socket()
                s.setblocking(False)
                try:
                    s.connect(("10.1.1.2", 80))
                except OSError as error:
                    assert error.errno == errno.EINPROGRESS
                assert interface.status() == 3
                wire.rx.use(1000, 60)
                wire.net.received()
                assert interface.status() == 0
                s.close()
            finally:
                lan.stop()


MDNS = b"\x01\0\x5e\0\0\xfb", b"\x33\x33\0\0\0\xfb"  # 224.0.0.251, ff02::fb


class Stack:
    """The interface on a fake device, at 10.1.1.1, and a socket at port 7."""

    def __init__(self, features, mtu=1500):
        self.wire = Wire(features, mtu=mtu)

    def __enter__(self):
        opened_by(self.wire.net)
        interface = network.LAN()
        interface.ipconfig(dhcp4=False)
        interface.ifconfig(("10.1.1.1", "255.255.255.0", "10.1.1.2", "10.1.1.2"))
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("10.1.1.1", 7))
        self.socket.setblocking(False)
        self.sent()
        return self

    def __exit__(self, *_):
        self.socket.close()
        lan.stop()

    def takes(self, frame, flags=0, start=0, offset=0):
        """What the socket receives of a frame."""
        self.wire.arrive(frame, 1, None, flags, start, offset)
        self.wire.net.received()
        try:
            return self.socket.recv(2000)
        except OSError as error:
            assert error.errno == errno.EAGAIN
            return None

    def sent(self):
        """All frames that were sent, each with its header, but for what mDNS says by its timers."""
        found = []
        while self.wire.tx.waiting:
            header, frame = self.wire.sent_with_header()
            if frame[:6] not in MDNS:
                found.append((header, frame))
        return found


def test_the_stack_takes_what_the_device_vouches_for_and_checks_the_rest():
    for more in (0, PACKED):
        with Stack(MAC | CSUM | GUEST_CSUM | more) as stack:
            good = udp(b"datagram")
            wrong = good[:-1] + b"!"
            assert stack.takes(good) == b"datagram"
            assert stack.takes(wrong) is None
            assert stack.takes(partial(good), NEEDS_CSUM, START, 6) == b"datagram"
            assert stack.takes(wrong, DATA_VALID) == b"datagra!"
            assert stack.takes(partial(good)) is None
            assert stack.takes(wrong) is None
        with Stack(MAC | CSUM | more) as stack:
            assert stack.takes(wrong, DATA_VALID) is None
            assert stack.takes(partial(good), NEEDS_CSUM, START, 6) is None


def test_a_device_vouches_for_no_packet_that_comes_in_fragments():
    payload = bytes(range(64))
    for flip, expected in ((0, payload), (1, None)):
        whole = udp(payload)
        datagram = whole[34:-1] + bytes((whole[-1] ^ flip,))
        with Stack(MAC | CSUM | GUEST_CSUM) as stack:
            assert stack.takes(fragment(datagram[:32], 0, True), DATA_VALID) is None
            assert stack.takes(fragment(datagram[32:], 32, False), DATA_VALID) == expected


def fragment(part, at, more):
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(part), 77, at >> 3 | more << 13, 64, 17, 0)
    head += b"\x0a\x01\x01\x02\x0a\x01\x01\x01"
    head = head[:10] + struct.pack(">H", ones_complement(head)) + head[12:]
    return OURS + b"\x02\0\0\0\0\x02" + b"\x08\0" + head + part


def test_segments_leave_their_checksums_to_a_device_that_completes_them():
    for features in (MAC, MAC | CSUM, MAC | CSUM | PACKED, MAC | CSUM | GUEST_CSUM):
        with Stack(features) as stack:
            stack.takes(question())  # says where the neighbour is, too
            s, header, frame = segment(stack, socket.AF_INET, "10.1.1.2")
            s.close()
            if features & CSUM:
                frame = completed(header, frame, 34)
            else:
                assert header == bytes(12)
            assert adds_up(frame[26:34], frame[34:])
            # Others are few, and may go in fragments.
            stack.socket.sendto(b"datagram", ("10.1.1.2", 9))
            (header,) = [header for header, frame in stack.sent() if frame[36:38] == b"\0\x09"]
            assert header == bytes(12)


def test_segments_of_ipv6_leave_their_checksums_too_but_not_in_fragments():
    with Stack(MAC | CSUM) as stack:
        network.LAN().ipconfig(addr6="fd00::1")
        stack.takes(solicitation())
        stack.sent()
        s, header, frame = segment(stack, socket.AF_INET6, "fd00::2")
        frame = completed(header, frame, 54)
        assert adds_up(frame[22:54], frame[54:])
        # It is answered; then a router says that the path is narrower than the interface.
        ours, seq = struct.unpack(">H2xI", frame[54:62])
        answer = struct.pack(">HHIIBBHHH", 80, ours, 7, seq + 1, 0x60, 0x12, 4000, 0, 0)
        stack.takes(ip6(6, answer + b"\x02\x04\x05\xa0"))
        stack.takes(ip6(58, b"\x02\0\0\0" + struct.pack(">I", 1280) + frame[14:54]))
        stack.sent()
        s.write(bytes(range(256)) * 5 + bytes(range(150)))
        parts = [sent for sent in stack.sent() if sent[1][20] in (6, 44)]
        assert [header for header, _ in parts] == [bytes(12)] * 2
        assert [frame[20] for _, frame in parts] == [44] * 2
        assert adds_up(parts[0][1][22:54], parts[0][1][62:] + parts[1][1][62:])
        s.close()


def test_what_came_together_is_acknowledged_together_and_each_that_follows_a_gap_by_itself():
    for more in (0, PACKED):
        with Stack(MAC | more) as stack:
            network.LAN().ipconfig(addr6="fd00::1")
            stack.takes(solicitation())
            stack.sent()
            s, _, frame = segment(stack, socket.AF_INET6, "fd00::2")
            ours, seq = struct.unpack(">H2xI", frame[54:62])

            def arrive(starts):
                flags, data = (0x12, b"") if starts == [-1] else (0x10, bytes(100))
                for at in starts:
                    head = struct.pack(
                        ">HHIIBBHHH", 80, ours, 8 + at, seq + 1, 80, flags, 9000, 0, 0
                    )
                    stack.wire.arrive(ip6(6, head + data))
                stack.wire.net.received()

            def come(starts):
                board.undisturbed(arrive, starts)  # by the stack's timers, which look for frames
                sent = [frame for _, frame in stack.sent() if frame[20] == 6]
                return [struct.unpack(">I", frame[62:66])[0] - 8 for frame in sent]

            assert come([-1]) == [0]
            assert come(range(0, 800, 100)) == [800]
            assert come([800, 900, 1100, 1200, 1300]) == [1000] * 4
            assert come([1000, 1400]) == [1500]
            assert len(s.recv(2000)) == 1500
            s.close()


def segment(stack, family, to):
    """A socket, and the segment by which it asks for a connection, with its header."""
    stack.sent()
    s = socket.socket(family, socket.SOCK_STREAM)
    s.setblocking(False)
    try:
        s.connect(socket.getaddrinfo(to, 80)[0][-1])
    except OSError as error:
        assert error.errno == errno.EINPROGRESS, error
    protocol = 23 if family == socket.AF_INET else 20
    ((header, frame),) = [sent for sent in stack.sent() if sent[1][protocol] == 6]
    return s, header, frame


def completed(header, frame, at):
    """What a device makes of a segment that begins there, section 5.1.6.2."""
    assert header == struct.pack("<BBHHHHH", NEEDS_CSUM, 0, 0, 0, at, 16, 0)
    return frame[: at + 16] + struct.pack(">H", ones_complement(frame[at:])) + frame[at + 18 :]


def adds_up(addresses, segment):
    return ones_complement(addresses + struct.pack(">HH", 6, len(segment)) + segment) == 0


PEER = b"\x02\0\0\0\0\x02"


def question():
    """Who has 10.1.1.1? asks 10.1.1.2."""
    arp = b"\x08\x06\0\x01\x08\0\x06\x04\0\x01" + PEER + b"\x0a\x01\x01\x02" + bytes(6)
    return b"\xff" * 6 + PEER + arp + b"\x0a\x01\x01\x01"


def solicitation():
    """The same of IPv6: fd00::2 asks for fd00::1."""
    return ip6(58, b"\x87\0\0\0" + bytes(4) + OURS_6 + b"\x01\x01" + PEER)


OURS_6 = b"\xfd" + bytes(14) + b"\x01"


def ip6(protocol, body):
    """A frame from fd00::2 to fd00::1; its body's checksum is filled in."""
    addresses = OURS_6[:15] + b"\x02" + OURS_6
    at = 2 if protocol == 58 else 16
    pseudo = addresses + struct.pack(">II", len(body), protocol)
    body = body[:at] + struct.pack(">H", ones_complement(pseudo + body)) + body[at + 2 :]
    head = struct.pack(">IHBB", 6 << 28, len(body), protocol, 255)
    return OURS + PEER + b"\x86\xdd" + head + addresses + body


def test_a_datagram_of_ipv6_that_is_longer_than_a_frame_goes_in_fragments():
    with Stack(MAC) as stack:
        network.LAN().ipconfig(addr6="fd00::1")
        stack.takes(solicitation())
        stack.sent()
        s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        s.sendto(bytes(1600), socket.getaddrinfo("fd00::2", 9)[0][-1])
        parts = [frame for _, frame in stack.sent() if frame[20] == 44]
        assert len(parts) == 2 and max([len(part) for part in parts]) <= 1514
        s.close()


def test_a_board_reaches_itself_where_the_device_completes_checksums():
    with Stack(MAC | CSUM) as stack:
        listener = socket.socket()
        listener.bind(("10.1.1.1", 80))
        listener.listen(1)
        s = socket.socket()
        s.settimeout(5)
        s.connect(("10.1.1.1", 80))
        other = listener.accept()[0]
        s.write(b"self")
        assert other.recv(4) == b"self"
        for each in (s, other, listener):
            each.close()
        assert not [frame for _, frame in stack.sent() if frame[23] == 6]


def test_all_that_has_come_is_received_at_once():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 81))
    listener.listen(1)
    s = socket.socket()
    s.connect(("127.0.0.1", 81))
    other = listener.accept()[0]
    data = bytes(range(250)) * 16  # three segments
    s.write(data)
    assert other.recv(1001) == data[:1001]
    assert other.recv(9000) == data[1001:]
    for each in (s, other, listener):
        each.close()


def test_frames_are_not_forgotten_where_the_scheduler_is_full():
    def nothing(_):
        pass

    with Wire(MAC) as wire:
        opened_by(wire.net)
        try:
            interface = network.LAN()
            interface.ipconfig(dhcp4=False)
            interface.ifconfig(("10.1.1.1", "255.255.255.0", "10.1.1.2", "10.1.1.2"))
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind(("10.1.1.1", 7))
            s.settimeout(5)
            for n in range(40):  # more than are taken at a time
                wire.arrive(FRAME if n < 30 else udp(b"%d" % n))
            micropython.schedule(fill, (nothing, wire.net.received))
            found = [s.recv(9) for _ in range(10)]
            assert found == [b"%d" % n for n in range(30, 40)], found
            s.close()
        finally:
            lan.stop()


def fill(functions):
    """With the scheduler's queue full, as in a handler, call the second one."""
    nothing, received = functions
    try:
        while True:
            micropython.schedule(nothing, None)
    except RuntimeError:
        received()


SEED = 20261127
ROUNDS = 1000


def test_a_mtu_below_the_least_is_a_fault():
    raises(DeviceFault, Wire, MAC | MTU, 2, 67)


def test_a_large_mtu_makes_large_slots():
    with Wire(features=MAC | MTU, mtu=9000) as wire:
        assert wire.net.mtu == 9000
        wire.net.send(FRAME + bytes(8000))
        assert wire.sent() == FRAME + bytes(8000)
        wire.arrive(FRAME + bytes(8000))
        assert receive(wire.net, 9000) == FRAME + bytes(8000)


def test_the_longest_frame_crosses_whole_whatever_the_mtu():
    for mtu in (9000, 32768, 65510, 65535):
        for more in (0, PACKED):
            with Wire(MAC | MTU | more, mtu=mtu) as wire:
                frame = FRAME[:14] + bytes(range(251)) * (wire.net.mtu // 251 + 1)
                frame = frame[: 14 + wire.net.mtu]
                wire.net.send(frame)
                assert wire.sent() == frame
                wire.arrive(frame)
                assert receive(wire.net, len(frame) + 1) == frame
                longest = bytes(wire.net._longest)
                wire.net.send(longest)
                assert wire.sent() == longest
                raises(InvalidParam, wire.net.send, bytes(wire.net._longest + 1))


def test_the_stack_sends_datagrams_as_long_as_the_mtu_lets_it():
    with Stack(MAC | MTU, 65535) as stack:
        stack.takes(question())
        stack.sent()
        for length in (60000, 65507):
            payload = bytes(range(250)) * (length // 250) + bytes(length % 250)
            stack.socket.sendto(payload, ("10.1.1.2", 9))
            frames = [frame for _, frame in stack.sent() if frame[12:14] == b"\x08\0"]
            assert b"".join([frame[34:] for frame in frames])[8:] == payload


def test_without_an_address_the_device_gets_one_that_is_local():
    with Wire(features=STATUS) as wire:
        assert len(wire.net.mac) == 6 and wire.net.mac[0] & 3 == 2
        before = wire.net.mac
        wire.net.reset()
        assert wire.net.mac == before


def test_the_link_follows_the_device():
    with Wire(link=0) as wire:
        seen = []
        assert not wire.net.link
        wire.net.on_link = lambda net: seen.append(net.link)
        wire.transport.memory[0x106] = 1
        wire.net.config_changed()
        wire.net.config_changed()
        assert wire.net.link and seen == [True]


def test_commands_are_those_of_the_specification():
    with Wire(features=MAC | CTRL_VQ | CTRL_RX | CTRL_MAC_ADDR) as wire:
        control = fake.FakeQueue(wire.transport, 2)
        commands = []

        def obey(idx):
            if idx == 2:
                token, buffers = control.pop()
                commands.append(fake.readable(buffers))
                uctypes.bytearray_at(buffers[-1][0], 1)[0] = len(commands) == 5
                control.use(token, 1)

        wire.transport.device.on_notify = obey
        net = wire.net
        for command in (
            lambda: net.promiscuous(True),
            lambda: net.all_multicast(False),
            lambda: net.filter([OURS], [b"\x01\0\0\0\0\x02", b"\x01\0\0\0\0\x03"]),
            lambda: net.set_mac(b"\x02\0\0\0\0\x09"),
        ):
            command()
        assert net.mac == b"\x02\0\0\0\0\x09"
        raises(Unsupported, net.promiscuous, True)
        assert commands[:4] == [
            b"\0\0\x01",
            b"\0\x01\0",
            b"\x01\0" + b"\x01\0\0\0" + OURS + b"\x02\0\0\0" + b"\x01\0\0\0\0\x02\x01\0\0\0\0\x03",
            b"\x01\x01\x02\0\0\0\0\x09",
        ]


def test_what_the_device_does_not_offer_is_unsupported():
    with Wire() as wire:
        raises(Unsupported, wire.net.promiscuous, True)
        raises(Unsupported, wire.net.filter)
        raises(Unsupported, wire.net.set_mac, OURS)


def test_sending_and_receiving_allocate_nothing():
    with Wire() as wire:
        buf = bytearray(200)
        for _ in range(3):
            wire.arrive(FRAME)
        wire.rx.notify_never()  # the fake device notes notifications in a list
        wire.tx.notify_never()

        def cycle():
            wire.net.recvinto(buf)
            wire.net.send(FRAME)

        allocates_nothing(cycle)
