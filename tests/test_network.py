# SPDX-License-Identifier: MIT
"""Sockets and TLS, by real peers."""

import contextlib
import hashlib
import http.client
import random
import socket
import ssl
import subprocess
import threading
import time

import pytest
import run
from conftest import INTERFACES
from emulator import IMAGES, Board, Machine, Raised
from micropython_virt import machine
from micropython_virt.machine import NETDEVS
from peers import CONNECT, HOST, LISTEN, finish, forwarded, free_port

ETHERNET = 0x200  # the class of such cards on PCI


def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


def test_the_start_up_line_says_the_address(start):
    board = start(net="user")
    assert "network, virtio-mmio version 2, 10.0.2.15" in board.wait_for_prompt()


def test_without_a_device_the_interface_is_absent(start):
    board = start()
    board.wait_for_prompt()
    out = board.exec(
        "import network, socket\n"
        "lan = network.LAN()\n"
        "print(lan.active(), lan.status(), lan.isconnected())\n"
        "for call in (lambda: lan.active(True), lambda: lan.ifconfig(),\n"
        "             lambda: socket.socket().connect(('10.0.2.2', 80))):\n"
        "    try: call()\n"
        "    except OSError as e: print(e.errno)\n"
    )
    assert out.split() == ["False", "0", "False", "19", "19", "113"]


def run_by_make(net, monkeypatch):
    monkeypatch.setenv("DISK", "none")
    monkeypatch.setenv("NET", net)
    return run.machine()


WAYS = {
    "harness": lambda net, _: Machine(net=NETDEVS.get(net, "")),
    "make run": run_by_make,
    "wheel": lambda net, _: machine.Machine(IMAGES["elf"](), net=NETDEVS.get(net, "")),
}


@pytest.mark.parametrize("net", ["none", "user", "isolated"])
@pytest.mark.parametrize("way", WAYS)
def test_no_way_to_start_a_board_has_a_network_card_on_pci(way, net, monkeypatch):
    asked = WAYS[way](net, monkeypatch)
    asked.qemu = Machine.qemu
    with Board(asked) as board:
        devices = [each for bus in board.monitor.cmd("query-pci") for each in bus["devices"]]
    assert devices, "this machine has a bridge at least"
    assert ETHERNET not in [each["class_info"]["class"] for each in devices]


@INTERFACES
@pytest.mark.parametrize(
    "options", ["", "packed=on", "any_layout=off", "mrg_rxbuf=off", "event_idx=off"]
)
def test_what_is_sent_and_received_arrives_whole(online, peer, modern, options):
    data = bytes(range(256)) * (1 << 12)  # a mebibyte

    def serve(connection):
        got = b""
        while len(got) < len(data):
            got += connection.recv(65536)
        connection.sendall(hashlib.sha256(got).digest() + got)

    board = online(modern=modern, net_options=options)
    out = board.exec(
        CONNECT + f"s = connect({peer(serve)})\n"
        "data = bytes(range(256)) * (1 << 12)\n"
        "view = memoryview(data)\n"
        "at = 0\n"
        "while at < len(data): at += s.write(view[at:at + 16384])\n"
        "print(s.read(32) == hashlib.sha256(data).digest(), s.read(len(data)) == data)\n",
        60,
    )
    assert out.split() == ["True", "True"]


def test_two_hundred_connections_in_a_row(online, peer):
    board = online()
    out = board.exec(
        CONNECT + f"port = {peer(echo)}\n"
        "for n in range(200):\n"
        "    s = connect(port)\n"
        "    s.write(str(n))\n"
        "    assert s.recv(10) == str(n).encode()\n"
        "    s.close()\n"
        "print('all')\n",
        60,
    )
    assert out.strip() == "all"


def test_connections_beyond_the_last_are_refused_with_an_error_and_none_is_lost(online, peer):
    board = online()
    out = board.exec(
        CONNECT + f"port = {peer(echo)}\n"
        "open = []\n"
        "try:\n"
        "    while True: open.append(connect(port))\n"
        "except OSError as e: print(e.errno, len(open))\n"
        "for n, s in enumerate(open): s.write(str(n))\n"
        "print(all(s.recv(10) == str(n).encode() for n, s in enumerate(open)))\n"
        "for s in open: s.close()\n",
        60,
    ).split()
    assert out == ["12", "64", "True"]


def test_data_that_comes_before_accept_is_there_at_once(online):
    board, port = forwarded(online, 80)
    board.exec(LISTEN + "listen(80)\n")
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"early")
        out = board.exec(
            "while not listener: pass\n"
            "time.sleep_ms(300)\n"
            "s, peer = listener.accept()\n"
            "s.setblocking(False)\n"
            "print(s.recv(10))\n"
        )
    assert out.strip() == "b'early'"


def test_a_server_on_the_board_answers_a_client_of_the_host(online):
    board, port = forwarded(online, 80)
    board.exec(LISTEN + "listen(80)\n")
    board.begin(
        "for n in range(20):\n"
        "    s, peer = listener.accept()\n"
        "    while s.readline() != b'\\r\\n': pass\n"
        "    s.write('HTTP/1.0 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nboard')\n"
        "    s.close()\n",
    )
    for _ in range(20):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        client.request("GET", "/")
        assert client.getresponse().read() == b"board"
    assert finish(board) == ("", "")


def test_a_connection_that_is_refused_says_so(online):
    board = online()
    with pytest.raises(Raised, match="ECONNREFUSED"):
        board.exec(CONNECT + f"connect({free_port()})\n")


def test_data_before_a_reset_is_not_lost(online, peer):
    def serve(connection):
        connection.sendall(b"last words")
        time.sleep(0.3)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    board = online()
    out = board.exec(
        CONNECT + f"import time\ns = connect({peer(serve)})\n"
        "time.sleep(1)\n"
        "print(s.recv(20))\n"
        "try: print(s.recv(20))\n"
        "except OSError as e: print(e.errno)\n"
    ).splitlines()
    assert out[0] == "b'last words'" and out[1] in ("104", "b''")


def test_datagrams_that_come_before_one_is_read_are_kept(online):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(20)
    board = online()
    board.exec(
        "import socket, time\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"s.sendto('ready', ('10.0.2.2', {server.getsockname()[1]}))\n"
    )
    _, address = server.recvfrom(10)
    for n in range(10):
        server.sendto(b"%d" % n, address)
    out = board.exec("time.sleep_ms(300)\nprint([s.recv(10) for _ in range(10)])\n")
    assert out.strip() == str([b"%d" % n for n in range(10)])
    server.close()


def test_receiving_on_a_listening_socket_is_an_error(online):
    board = online()
    with pytest.raises(Raised, match="ENOTCONN"):
        board.exec(
            "import socket\ns = socket.socket()\ns.bind(('0.0.0.0', 80))\ns.listen(2)\ns.recv(10)\n"
        )


WAITING = """
import errno, socket, time
listener, client = socket.socket(), socket.socket()
listener.bind(("127.0.0.1", 80))
listener.listen(%d)
client.settimeout(5)
client.connect(("127.0.0.1", 80))
time.sleep_ms(50)
listener.close()
try:
    print(client.recv(1))
except OSError as error:
    print(errno.errorcode[error.errno])
"""


@pytest.mark.parametrize("backlog", [0, 1, 2, 255, 256, 1000])
def test_a_connection_that_waits_for_accept_ends_with_its_listener(online, backlog):
    assert online().exec(WAITING % backlog).strip() == "ECONNRESET"


def test_listen_without_memory_leaves_a_socket_that_can_listen_and_be_closed(online):
    board = online()
    out = board.exec(
        "import micropython, socket\n"
        "def without_memory(s):\n"
        "    micropython.heap_lock()\n"
        "    try:\n"
        "        s.listen(5)\n"
        "    except MemoryError:\n"
        "        return True\n"
        "    finally:\n"
        "        micropython.heap_unlock()\n"
        "for listens in (False, True):\n"
        "    s = socket.socket()\n"
        "    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
        "    s.bind(('127.0.0.1', 80))\n"
        "    assert without_memory(s)\n"
        "    if listens:\n"
        "        s.listen(5)\n"
        "        client = socket.socket()\n"
        "        client.connect(('127.0.0.1', 80))\n"
        "        s.accept()[0].close()\n"
        "    s.close()\n"
        "print('closed')\n"
    )
    assert out.strip() == "closed"


CLOSED = """
import errno, machine, socket
stream, datagram = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for s in (stream, datagram):
    s.close()
    for call in (
        lambda: s.bind(("0.0.0.0", 80)),
        lambda: s.connect(("127.0.0.1", 80)),
        lambda: s.recv(1),
        lambda: s.recvfrom(1),
        lambda: s.read(1),
        lambda: s.send(b"x"),
        lambda: s.sendto(b"x", ("127.0.0.1", 80)),
        lambda: s.write(b"x"),
        lambda: s.listen(),
        lambda: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
        lambda: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    ):
        try:
            print(call())
        except OSError as error:
            print(errno.errorcode[error.errno])
"""
WAITS = {
    "recv": "s.connect(('10.0.2.2', %d))\ns.recv(1)\n",
    "accept": "s.bind(('0.0.0.0', 80))\ns.listen(%d & 3)\ns.accept()\n",
    "recv of a datagram": "s = datagram\ns.bind(('0.0.0.0', %d))\ns.recv(1)\n",
    "read of a datagram": "s = datagram\ns.bind(('0.0.0.0', %d))\ns.read(1)\n",
}


def test_a_closed_socket_says_so_whatever_is_asked_of_it(online):
    assert online().exec(CLOSED, 10).split() == ["EBADF"] * 22


@pytest.mark.parametrize("wait", WAITS)
def test_who_waits_for_a_socket_that_is_closed_meanwhile_is_told(online, peer, wait):
    """By a scheduled function, say, as a program's own time limit is."""
    board = online()
    board.exec(
        "import machine, socket\ndatagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    )
    with pytest.raises(Raised, match="EBADF"):
        board.exec(
            "s = socket.socket()\n"
            "t = machine.Timer(period=200, mode=machine.Timer.ONE_SHOT, callback=lambda t: s.close())\n"
            + WAITS[wait]
            % peer(lambda connection: connection.recv(1)),
            20,
        )


def test_a_peer_that_closes_at_once_was_connected(online):
    """It accepts and closes before the board has looked at the answer."""
    out = online().exec(
        "import socket\n"
        "listener, client = socket.socket(), socket.socket()\n"
        "listener.bind(('127.0.0.1', 80))\n"
        "listener.listen(5)\n"
        "def accept(listener):\n"
        "    peer = listener.accept()[0]\n"
        "    peer.write(b'bye')\n"
        "    peer.close()\n"
        "listener.setsockopt(socket.SOL_SOCKET, 20, accept)\n"
        "client.settimeout(10)\n"
        "client.connect(('127.0.0.1', 80))\n"
        "print(client.recv(10), client.recv(10))\n"
    )
    assert out.strip() == "b'bye' b''"


def test_an_option_of_connections_is_set_on_them_only(online):
    """lwIP has no room for it in what listens, whose handler lies there, and in datagrams' sockets."""
    out = online().exec(
        "import errno, socket\n"
        "listener, client = socket.socket(), socket.socket()\n"
        "listener.bind(('127.0.0.1', 80))\n"
        "listener.listen(1)\n"
        "listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n"
        "client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n"
        "client.connect(('127.0.0.1', 80))\n"
        "listener.accept()[0].write(b'connected ')\n"
        "print(client.recv(10).decode(), end='')\n"
        "datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "try:\n"
        "    datagram.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n"
        "except OSError as error:\n"
        "    print(errno.errorcode[error.errno])\n"
    )
    assert out.split() == ["connected", "EOPNOTSUPP"]


def test_an_address_and_a_gateway_are_set_in_any_order(online):
    board = online()
    out = board.exec(
        "lan.ipconfig(dhcp4=False)\n"
        "lan.ipconfig(gw4='10.0.2.9', addr4='10.0.2.77/24')\n"
        "print(lan.ipconfig('addr4'), lan.ipconfig('gw4'))\n"
        "lan.ipconfig(addr4='10.0.2.78/24', gw4='10.0.2.8')\n"
        "print(lan.ipconfig('addr4'), lan.ipconfig('gw4'))\n"
    ).splitlines()
    assert out == [
        "('10.0.2.77', '255.255.255.0') 10.0.2.9",
        "('10.0.2.78', '255.255.255.0') 10.0.2.8",
    ]


def transferring(online, peer):
    """A board in the middle of taking 2 MB, which takes the peer a second."""

    def serve(connection):
        for _ in range(100):
            connection.sendall(bytes(20000))
            time.sleep(0.01)

    board = online()
    board.begin(
        CONNECT + f"s = connect({peer(serve)})\n"
        "n = 0\n"
        "while n < 2000000:\n"
        "    n += len(s.recv(65536))\n"
        "print('got', n)\n",
    )
    time.sleep(0.3)
    return board


def test_a_link_that_went_down_and_came_back_carries_a_transfer_on(online, peer):
    board = transferring(online, peer)
    board.monitor.cmd("set_link", name="net", up=False)
    time.sleep(0.5)
    board.monitor.cmd("set_link", name="net", up=True)
    assert finish(board) == ("got 2000000\r\n", "")


LISTENER_GOES = {
    "closed": "s.close()\n",
    "closed and dropped": "s.close()\ndel s\nimport gc\ngc.collect()\n",
    "dropped": "del s\nimport gc\ngc.collect()\n",
    "open": "",
}


@pytest.mark.parametrize("way", LISTENER_GOES)
def test_however_a_listener_goes_the_next_one_is_reached(online, way):
    board, port = forwarded(online, 80)
    for _ in range(3):
        board.exec(LISTEN + "listen(80)\ns = listener\n")
        board.begin("c = s.accept()[0]\nc.write(b'x')\nc.close()\n")
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            assert client.recv(1) == b"x"
        assert finish(board) == ("", "")
        board.exec("del listener\n" + LISTENER_GOES[way])
        board.soft_reset()
        assert b"EFAULT" not in board.log.read_bytes()
        board.exec("import network\nwhile not network.LAN().isconnected(): pass\n")


def test_ctrl_c_in_accept_leaves_nothing_that_a_collection_trips_over(online):
    board = online()
    board.exec(
        LISTEN + "import gc\nlisten(80)\njunk = [b'\\x10' * 400 for _ in range(200)]\ndel junk\n"
    )
    for _ in range(10):
        board.begin("gc.collect()\nlistener.accept()")
        time.sleep(0.05)
        board.type(b"\x03")
        assert "KeyboardInterrupt" in finish(board)[1]
    assert board.exec("for _ in range(3): gc.collect()\nprint('whole')").strip() == "whole"


def test_a_soft_reset_ends_connections_so_that_the_peer_sees_it(online, peer):
    ended = threading.Event()

    def serve(connection):
        connection.sendall(b"x")
        with contextlib.suppress(ConnectionError):
            while connection.recv(10):
                pass
        ended.set()

    board = online()
    board.exec(CONNECT + f"s = connect({peer(serve)})\nassert s.recv(1) == b'x'\n")
    board.soft_reset()
    assert ended.wait(10)
    out = board.exec("import network, time\ntime.sleep(1)\nprint(network.LAN().isconnected())\n")
    assert out.strip() == "True"


def test_a_machine_that_was_paused_carries_a_transfer_on(online, peer):
    board = transferring(online, peer)
    board.monitor.cmd("stop")
    time.sleep(10)
    board.monitor.cmd("cont")
    assert finish(board) == ("got 2000000\r\n", "")


def test_a_peer_that_says_no_more_is_a_timeout_and_the_board_goes_on(online, peer):
    silent = threading.Event()

    def serve(connection):
        connection.sendall(b"x")
        silent.wait(60)

    board = online()
    out = board.exec(
        CONNECT + f"s = connect({peer(serve)})\n"
        "s.settimeout(0.2)\n"
        "print(s.recv(1))\n"
        "try: s.recv(1)\n"
        "except OSError as e: print(e.errno)\n"
        "s.close()\n"
    )
    silent.set()
    assert out.split() == ["b'x'", "110"]


def test_forty_ctrl_c_in_transfers_lose_no_socket(online, peer):
    board = online()
    port = peer(echo)
    board.exec(
        CONNECT + "def transfer(port):\n"
        "    data = bytes(20000)\n"
        "    s = connect(port)\n"
        "    try:\n"
        "        while True:\n"
        "            s.write(data)\n"
        "            s.read(len(data))\n"
        "    finally: s.close()\n"
    )
    for _ in range(40):
        board.begin(f"transfer({port})")
        time.sleep(random.random() / 20)
        board.type(b"\x03")
        assert "KeyboardInterrupt" in finish(board)[1]
    out = board.exec(
        f"port = {port}\n"
        "open = [connect(port) for _ in range(60)]\n"
        "for n, s in enumerate(open): s.write(str(n))\n"
        "print(all(s.recv(10) == str(n).encode() for n, s in enumerate(open)))\n",
        60,
    )
    assert out.strip() == "True"


def test_a_flood_of_datagrams_leaves_the_program_some_time_and_ctrl_c(online):
    board = online("user,hostfwd=udp:127.0.0.1:0-:7")
    port = board.ports[7]
    board.exec(
        "import socket\nu = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nu.bind(('0.0.0.0', 7))\n"
    )
    over = threading.Event()

    def flood():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            while not over.is_set():
                s.sendto(bytes(1000), ("127.0.0.1", port))

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        board.begin("n = 0\nwhile True: n += 1\n")
        time.sleep(1)
        board.type(b"\x03")
        assert "KeyboardInterrupt" in finish(board)[1]
    finally:
        over.set()
        thread.join()
    assert int(board.exec("print(n)")) > 1000


@pytest.fixture
def wire(start, tmp_path):
    """Two boards on a wire of their own, with addresses that are set by hand."""
    path = tmp_path / "wire"
    boards = []
    for number, role in enumerate(("server=on", "server=off"), 1):
        netdev = f"stream,{role},addr.type=unix,addr.path={path}"
        board = start(net=netdev, net_options=f"mac=52:54:00:00:00:0{number}")
        board.wait_for_prompt()
        board.exec(
            "import network\n"
            "lan = network.LAN()\n"
            f"lan.ipconfig(dhcp4=False, addr4='10.1.1.{number}/24')\n"
        )
        boards.append(board)
    return boards


def test_two_boards_on_a_wire_reach_each_other(wire):
    server, client = wire
    server.exec(LISTEN + "listen(80)\n")
    client.begin(
        CONNECT.replace(HOST, "10.1.1.1")
        + "s = connect(80)\nprint(s.write(bytes(100000)))\ns.close()\n",
    )
    out = server.exec(
        "s = listener.accept()[0]\n"
        "n = 0\n"
        "while True:\n"
        "    data = s.recv(65536)\n"
        "    if not data: break\n"
        "    n += len(data)\n"
        "print(n)\n",
        60,
    )
    assert out.strip() == "100000"
    assert finish(client) == ("100000\r\n", "")


def test_a_name_is_looked_up_and_ctrl_c_ends_it(online):
    board = online()
    board.exec("network.ipconfig(dns='10.0.2.200')\n")  # nobody answers there
    board.begin("import socket\nsocket.getaddrinfo('a.example', 80)\n")
    time.sleep(0.5)
    board.type(b"\x03")
    assert "KeyboardInterrupt" in finish(board)[1]
    # The answer that lwIP gives in the end has nowhere to go.
    out = board.exec(
        "import time\nx = [bytearray(64) for _ in range(100)]\ntime.sleep(12)\nprint(1)\n", 60
    )
    assert out.strip() == "1"


def test_frames_are_awaited_while_other_tasks_run(online):
    board = online()
    out = board.exec(
        "import asyncio, virtio\n"
        "lan.active(False)\n"
        "net = virtio.Net(0)\n"
        "ask = b'\\xff' * 6 + net.mac + b'\\x08\\x06' + bytes((0, 1, 8, 0, 6, 4, 0, 1))\n"
        "ask += net.mac + bytes((10, 0, 2, 15)) + bytes(6) + bytes((10, 0, 2, 2))\n"
        "turns = 0\n"
        "async def other():\n"
        "    global turns\n"
        "    while True:\n"
        "        turns += 1\n"
        "        await asyncio.sleep_ms(1)\n"
        "async def receive():\n"
        "    buf, replies = bytearray(1514), 0\n"
        "    while replies < 200:\n"
        "        await net.arecvinto(buf)\n"
        "        replies += buf[12:14] == b'\\x08\\x06' and buf[21] == 2\n"
        "    return replies\n"
        "async def main():\n"
        "    task = asyncio.create_task(other())\n"
        "    replies = asyncio.create_task(receive())\n"
        "    for n in range(200):\n"
        "        await net.asend(ask)\n"
        "        await asyncio.sleep_ms(n % 3)\n"
        "    print(await replies, turns > 100)\n"
        "asyncio.run(main())\n"
        "net.deinit()\n"
        "lan.active(True)\n",
        60,
    )
    assert out.split() == ["200", "True"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
    command += f" -keyout {folder}/key.pem -out {folder}/cert.pem -subj /CN=host"
    subprocess.run(command.split(), check=True, capture_output=True)
    return folder


def test_a_tls_client_verifies_the_server(online, peer, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    def serve(connection):
        with (
            contextlib.suppress(ssl.SSLError),
            context.wrap_socket(connection, server_side=True) as stream,
        ):
            stream.sendall(stream.recv(100).upper())

    board = online()
    out = board.exec(
        CONNECT + f"import ssl\nport = {peer(serve)}\n"
        f"trusted = {(certificate / 'cert.pem').read_bytes()!r}\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n"
        "context.load_verify_locations(cadata=trusted)\n"
        "s = context.wrap_socket(connect(port), server_hostname='host')\n"
        "s.write(b'secret')\n"
        "print(s.read(6))\n"
        "for name, context in (('other', context), ('host', ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))):\n"
        "    try:\n"
        "        context.wrap_socket(connect(port), server_hostname=name)\n"
        "        print('trusted')\n"
        "    except (OSError, ValueError) as e: print('refused')\n",
        60,
    ).split()
    assert out == ["b'SECRET'", "refused", "refused"]


def test_a_tls_server_on_the_board(online, certificate):
    board, port = forwarded(online, 443)
    board.exec(LISTEN + "listen(443)\n")
    board.begin(
        "import ssl\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        f"context.load_cert_chain({(certificate / 'cert.pem').read_bytes()!r}, "
        f"{(certificate / 'key.pem').read_bytes()!r})\n"
        "s, peer = listener.accept()\n"
        "s = context.wrap_socket(s, server_side=True)\n"
        "s.write(s.readline().upper())\n"
        "s.close()\n",
    )
    context = ssl.create_default_context(cafile=certificate / "cert.pem")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
        with context.wrap_socket(plain, server_hostname="host") as stream:
            stream.sendall(b"hello\n")
            assert stream.recv(10) == b"HELLO\n"


def test_tls_without_an_entropy_device_is_refused(online, peer):
    board = online(entropy=False)
    with pytest.raises(Raised, match="OSError"):
        board.exec("import ssl\nssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n")
