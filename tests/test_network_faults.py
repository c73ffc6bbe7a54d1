# SPDX-License-Identifier: MIT
"""What goes wrong in a network, and what a program may do to its sockets."""

import contextlib
import random
import threading
import time

from peers import CONNECT, LISTEN, finish, forwarded

CONNECTED = "import network\nwhile not network.LAN().isconnected(): pass\n"


def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


def sends(size):
    """A peer that sends so many bytes, each a function of its place, and waits for the end."""

    def serve(connection):
        connection.sendall(bytes(range(256)) * (size // 256))
        connection.recv(1)

    return serve


def test_sockets_that_nobody_reads_leave_room_for_the_others(online, peer):
    """A window each: 60 connections have three mebibytes of frames waiting."""
    board = online()
    out = board.exec(
        CONNECT + f"full, port = {peer(sends(1 << 18))}, {peer(echo)}\n"
        "silent = [connect(full) for _ in range(60)]\n"
        "time.sleep(1)\n"
        "s = connect(port)\n"
        "s.settimeout(5)\n"
        "for n in range(40):\n"
        "    s.write(bytes((n,)) * 3000)\n"
        "    assert s.read(3000) == bytes((n,)) * 3000\n"
        "s.close()\n"
        "want = bytes(range(256)) * 1024\n"
        "for s in silent:\n"
        "    s.settimeout(20)\n"
        "    assert s.read(1 << 18) == want\n"
        "    s.close()\n"
        "print('all')\n",
        120,
    )
    assert out.strip() == "all"


def test_a_name_that_is_looked_up_bears_forty_ctrl_c(online):
    board = online()
    board.exec(
        "network.ipconfig(dns='10.0.2.200')\n"  # nobody answers there
        "import socket\n"
        "def look(n):\n"
        "    junk = [bytearray(100) for _ in range(n)]\n"
        "    socket.getaddrinfo('a%d.example' % n, 80)\n"
    )
    for n in range(40):
        board.begin(f"look({n})\n")
        time.sleep(random.random() / 20)
        board.type(b"\x03")
        assert "KeyboardInterrupt" in finish(board)[1]
    out = board.exec(
        "import gc\n"
        "gc.collect()\n"
        "print(socket.getaddrinfo('10.0.2.2', 80)[0][-1])\n"
        "s = socket.socket()\n"
        "try: s.connect(('10.0.2.2', 1))\n"
        "except OSError as e: print(e.errno)\n"
    )
    assert out.splitlines() == ["('10.0.2.2', 80)", "111"]


def test_soft_resets_with_open_connections_end_each_of_them(online, peer):
    ended = []

    def serve(connection):
        connection.sendall(b"x" * 5000)
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                pass
        ended.append(connection)

    board = online()
    port = peer(serve)
    for n in range(5):
        board.exec(
            CONNECT + CONNECTED + f"some = [connect({port}) for _ in range(20)]\n"
            "for s in some[:10]: assert s.read(5000) == b'x' * 5000\n"
            "for s in some[::2]: s.write(bytes(3000))\n"
            "listener = socket.socket()\n"
            "listener.bind(('0.0.0.0', 80))\n"
            "listener.listen(4)\n"
            "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "u.bind(('0.0.0.0', 7))\n",
            30,
        )
        board.soft_reset()
        for _ in range(200):
            if len(ended) == 20 * (n + 1):
                break
            time.sleep(0.05)
        assert len(ended) == 20 * (n + 1)
    assert b"EFAULT" not in board.log.read_bytes()


def test_a_socket_serves_in_the_callback_of_a_timer(online, peer):
    board = online()
    out = board.exec(
        CONNECT + f"port = {peer(echo)}\n"
        "from machine import Timer\n"
        "found = []\n"
        "def tick(_):\n"
        "    try:\n"
        "        s = connect(port)\n"
        "        s.settimeout(5)\n"
        "        s.write(b'tick' * 1000)\n"
        "        found.append(s.read(4000) == b'tick' * 1000)\n"
        "        s.close()\n"
        "    except Exception as e:\n"
        "        found.append(repr(e))\n"
        "t = Timer(period=20, callback=tick)\n"
        "start = time.ticks_ms()\n"
        "while len(found) < 10 and time.ticks_diff(time.ticks_ms(), start) < 20000: pass\n"
        "t.deinit()\n"
        "print(len(found) >= 10, all(x is True for x in found) or found)\n",
        60,
    )
    assert out.split() == ["True", "True"]


def test_sockets_that_are_dropped_are_closed_by_the_collector(online, peer):
    """Also where one is used meanwhile, and for TLS that has not ended."""
    ended = []

    def serve(connection):
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)
        ended.append(connection)

    board = online()
    out = board.exec(
        CONNECT + f"import errno, gc, ssl, time\nport = {peer(serve)}\n"
        "def connect_where_there_is_room():\n"
        "    for _ in range(200):\n"  # a peer on a busy host ends its side late
        "        try:\n"
        "            return connect(port)\n"
        "        except OSError as error:\n"
        "            if error.errno != errno.ENOMEM: raise\n"
        "        time.sleep_ms(100)\n"
        "def drop():\n"
        "    for n in range(20):\n"
        "        s = connect_where_there_is_room()\n"
        "        s.write(b'more than is read' * 100)\n"
        "    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n"
        "    context.verify_mode = ssl.CERT_NONE\n"
        "    s = connect_where_there_is_room()\n"
        "    context.wrap_socket(s, do_handshake_on_connect=False)\n"
        "used = connect(port)\n"
        "for n in range(10):\n"
        "    drop()\n"
        "    for _ in range(20):\n"
        "        used.write(b'used' * 500)\n"
        "        gc.collect()\n"
        "        assert used.read(2000) == b'used' * 500\n"
        "print('all')\n",
        120,
    )
    assert out.strip() == "all"
    for _ in range(200):
        if len(ended) >= 200:
            break
        time.sleep(0.05)
    assert len(ended) >= 200


def test_a_program_without_memory_loses_no_data_and_no_socket(online, peer):
    """What is received lies in the stack's own memory until there is some."""
    board = online(heap=200_000)
    out = board.exec(
        CONNECT + f"import gc\nport = {peer(echo)}\n"
        "s = connect(port)\n"
        "s.settimeout(20)\n"
        "buf, errors = bytearray(2000), 0\n"
        "def fill():\n"
        "    global hold\n"
        "    hold, size = [], 16384\n"
        "    while size >= 16:\n"
        "        try: hold.append(bytearray(size))\n"
        "        except MemoryError: size //= 2\n"
        "for n in range(40):\n"
        "    s.write(bytes((n,)) * 2000)\n"
        "    try:\n"
        "        fill()\n"
        "        for _ in range(3):\n"
        "            try: connect(port)\n"
        "            except MemoryError: errors += 1\n"
        "            try: s.recv(100000)\n"
        "            except MemoryError: errors += 1\n"
        "    except MemoryError: errors += 1\n"
        "    hold = None\n"
        "    gc.collect()\n"
        "    assert s.readinto(buf) == 2000, n\n"
        "    assert buf == bytes((n,)) * 2000, n\n"
        "print(errors > 40)\n"
        "gc.collect()\n"
        "open = [connect(port) for _ in range(50)]\n"
        "print(len(open))\n",
        60,
    )
    assert out.split() == ["True", "50"]


def test_a_peer_that_vanishes_in_a_transfer_is_an_error(online):
    """The wire is cut for good; who waits is told so, and the board goes on."""
    board, port = forwarded(online, 80)
    board.exec(LISTEN + "listen(80)\n")
    over = threading.Event()

    def client():
        import socket

        with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
            s.sendall(bytes(1000))
            over.wait(60)

    thread = threading.Thread(target=client)
    thread.start()
    try:
        board.exec("s = listener.accept()[0]\ns.settimeout(2)\nassert len(s.read(1000)) == 1000\n")
        board.monitor.cmd("set_link", name="net", up=False)
        out = board.exec(
            "for what in (lambda: s.read(1), lambda: [s.write(bytes(20000)) for _ in range(9)]):\n"
            "    try: what()\n"
            "    except OSError as e: print(e.errno)\n"
            "s.close()\n"
            "print(lan.status())\n",
            30,
        )
        board.monitor.cmd("set_link", name="net", up=True)
    finally:
        over.set()
        thread.join()
    assert out.split() == ["110", "113", "0"]
    board.exec("while not lan.isconnected(): pass\n")


def test_an_interface_that_goes_down_takes_its_timers_along(online):
    """mDNS asks and answers in the seconds after an address was found."""
    board = online()
    board.exec("lan.active(False)\n")
    for ms in (2700, 2800, 2900):
        out = board.exec(
            "lan.active(True)\n"
            "while not lan.isconnected(): pass\n"
            f"time.sleep_ms({ms})\n"
            "lan.active(False)\n"
            "time.sleep_ms(600)\n"
            "print(lan.active())\n",
            30,
        )
        assert out.strip() == "False"


def test_an_interface_that_goes_and_comes_a_thousand_times_has_all_its_memory(online, peer):
    board = online()
    out = board.exec(
        CONNECT + "for _ in range(1000):\n"
        "    lan.active(False)\n"
        "    lan.active(True)\n"
        "while not lan.isconnected(): pass\n"
        f"port = {peer(echo)}\n"
        "open = [connect(port) for _ in range(64)]\n"
        "for s in open: s.write(bytes(10000))\n"
        "print(sum(len(s.read(10000)) for s in open))\n",
        120,
    )
    assert out.strip() == "640000"
