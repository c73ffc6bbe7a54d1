# SPDX-License-Identifier: MIT
"""Sockets, TLS and MQTT against programs that others use: curl, openssl, iperf, mosquitto."""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import time

import programs
import pytest
from emulator import ROOT, Raised
from peers import CONNECT, HOST, LISTEN, finish, forwarded, free_port

SIZE = 50 << 20
PIECE = 16 << 10
VERSIONS = pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
ENVIRONMENT = os.environ | programs.environment(ROOT / "build/programs")


def needs(name):
    missing = shutil.which(name, path=ENVIRONMENT["PATH"]) is None
    return pytest.mark.skipif(missing, reason=f"there is no {name}")


@contextlib.contextmanager
def program(*command, port=None, **options):
    """Run a program; it listens on the port when the body begins, and ends with it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(words(command), env=ENVIRONMENT, **pipes | options) as process:
        try:
            for _ in range(600):
                if port is None or listens(port) or process.poll() is not None:
                    break
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


def listens(port):
    """Whether something listens there; asked of the kernel, for a connection would be the first."""
    with open("/proc/net/tcp") as table:
        return any(f":{port:04X} 00000000:0000 0A" in line for line in table)


def run(*command, **options):
    return subprocess.run(
        words(command), env=ENVIRONMENT, capture_output=True, timeout=120, **options
    )


def words(command):
    # Found here, for Popen looks in the PATH of this process.
    return [shutil.which(command[0], path=ENVIRONMENT["PATH"]), *map(str, command[1:])]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Certificates: of an authority (ca), of a host that it signed (host), of one that signed itself."""
    folder = tmp_path_factory.mktemp("certificates")
    new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
    for name in ("ca", "stranger"):
        command = f"{new} -keyout {name}.key -out {name}.pem -subj /CN={name}"
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    for name, kind in (
        ("host", "rsa:2048"),
        ("board", "ec -pkeyopt ec_paramgen_curve:prime256v1"),
    ):
        command = f"{new} -keyout {name}.key -out {name}.pem -subj /CN={name}"
        command = command.replace("ec -pkeyopt ec_paramgen_curve:prime256v1", kind, 1)
        command += f" -CA ca.pem -CAkey ca.key -addext subjectAltName=DNS:{name}.example"
        command += " -addext basicConstraints=critical,CA:FALSE"
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


def content(path):
    return repr(path.read_bytes())


# openssl


TLS_CLIENT = """
import ssl
def client(port, trusted, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=trusted)
    return context.wrap_socket(connect(port), server_hostname=name)
def ask(s):
    s.write(b"board\\n")
    return s.readline(), s.cipher()[1]
"""


@VERSIONS
def test_the_board_is_a_client_of_openssl_and_refuses_who_is_another(online, authority, version):
    port = free_port()
    board = online()
    board.exec(CONNECT + TLS_CLIENT)
    server = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-rev", f"-{version}"]
    server += ["-cert", authority / "host.pem", "-key", authority / "host.key"]
    with program(*server, port=port):
        trusted, stranger = (content(authority / f"{name}.pem") for name in ("ca", "stranger"))
        # Closed, for this server has one client at a time.
        code = f"s = client({port}, {trusted}, 'host.example')\nprint(ask(s))\ns.close()\n"
        out = board.exec(code, 60)
        assert out.strip() == f"(b'draob\\n', 'TLSv{version[3:].replace('_', '.')}')"
        for wrong in (f"{trusted}, 'other.example'", f"{stranger}, 'host.example'"):
            with pytest.raises(Raised, match="(?s)ValueError|OSError"):
                board.exec(f"client({port}, {wrong})\n", 60)


TLS_SERVER = """
import ssl
def server(certificate, key, times, trusted=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if trusted:
        context.load_verify_locations(cadata=trusted)
        context.verify_mode = ssl.CERT_REQUIRED
    for _ in range(times):
        s = listener.accept()[0]
        try:
            s = context.wrap_socket(s, server_side=True)
            s.write(s.readline().upper())
        except (OSError, ValueError) as e:
            print("refused")
        s.close()
"""


def tls_server(online, authority, version, times, trusted=""):
    """A board that serves so many connections by TLS, and openssl's command that makes one."""
    board, port = forwarded(online, 443)
    board.exec(LISTEN + TLS_SERVER + "listen(443)\n")
    pair = f"{content(authority / 'board.pem')}, {content(authority / 'board.key')}"
    board.begin(f"server({pair}, {times}, {content(authority / trusted) if trusted else None})\n")
    client = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", f"-{version}", "-quiet"]
    return board, client


@VERSIONS
def test_the_board_is_a_server_of_openssl_that_refuses_another(online, authority, version):
    board, client = tls_server(online, authority, version, 3)
    client += ["-verify_return_error", "-verify_hostname"]
    found = []
    for name, trusted in (("board", "ca"), ("other", "ca"), ("board", "stranger")):
        ways = [f"{name}.example", "-CAfile", authority / f"{trusted}.pem"]
        found.append(run(*client, *ways, input=b"hello\n"))
    assert b"HELLO" in found[0].stdout, found[0].stderr
    assert all(b"HELLO" not in end.stdout and end.returncode for end in found[1:])
    assert finish(board) == ("refused\r\nrefused\r\n", "")


@VERSIONS
def test_a_server_on_the_board_knows_its_clients_by_their_certificates(online, authority, version):
    board, client = tls_server(online, authority, version, 2, "ca.pem")
    client += ["-CAfile", authority / "ca.pem"]
    pairs = [
        ["-cert", authority / f"{name}.pem", "-key", authority / f"{name}.key"]
        for name in ("host", "stranger")
    ]
    known, unknown = (run(*client, *pair, input=b"hello\n") for pair in pairs)
    assert b"HELLO" in known.stdout, known.stderr
    assert b"HELLO" not in unknown.stdout
    assert finish(board) == ("refused\r\n", "")


def test_a_version_without_a_cipher_is_not_offered(online, authority):
    port = free_port()
    board = online()
    server = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-rev"]
    server += ["-cert", authority / "host.pem", "-key", authority / "host.key"]
    ciphers = ("TLS-ECDHE-RSA-WITH-AES-128-GCM-SHA256", "TLS1-3-AES-128-GCM-SHA256")
    with program(*server, port=port):
        out = board.exec(
            CONNECT + "import ssl\n"
            f"for name in {ciphers}:\n"
            "    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n"
            "    context.verify_mode = ssl.CERT_NONE\n"
            "    assert name in context.get_ciphers()\n"
            "    context.set_ciphers([name])\n"
            f"    s = context.wrap_socket(connect({port}))\n"
            "    print(s.cipher())\n"
            "    s.close()\n",
            60,
        )
    assert out.splitlines() == [f"('{name}', 'TLSv1.{n}')" for n, name in enumerate(ciphers, 2)]


def test_a_soft_reset_with_tls_open_leaves_tls_whole(online, authority):
    port = free_port()
    board = online()
    server = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-rev"]
    server += ["-cert", authority / "host.pem", "-key", authority / "host.key"]
    with program(*server, port=port):
        for _ in range(4):
            board.exec(
                CONNECT
                + TLS_CLIENT
                + "import network\nwhile not network.LAN().isconnected(): pass\n"
                + f"s = client({port}, {content(authority / 'ca.pem')}, 'host.example')\n"
                "found = ask(s)\n"
                "half = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n"
                "half.verify_mode = ssl.CERT_NONE\n"
                f"half = half.wrap_socket(connect({port}), do_handshake_on_connect=False)\n"
                "half.setblocking(False)\n"
                "half.write(b'x')\n",
                60,
            )
            assert board.exec("print(found[1])").strip() == "TLSv1.3"
            board.soft_reset()


# curl, and 50 MB

SERVER = """
import hashlib
def serve(size, piece, context=None):
    s = listener.accept()[0]
    if context:
        s = context.wrap_socket(s, server_side=True)
    length = 0
    head = s.readline()
    while True:
        line = s.readline()
        if line == b"\\r\\n": break
        if line.lower().startswith(b"content-length:"): length = int(line[15:])
    buf = bytearray(piece)
    got = hashlib.sha256()
    while length:
        n = s.readinto(buf, min(piece, length))
        got.update(memoryview(buf)[:n])
        length -= n
    buf = bytearray(piece)
    s.write("HTTP/1.0 200 OK\\r\\nX-Got: %s\\r\\nContent-Length: %d\\r\\n\\r\\n" % (got.digest().hex(), size))
    for n in range(size // piece):
        buf[0] = n & 255
        buf[1] = n >> 8
        s.write(buf)
    s.close()
"""


@needs("curl")
def test_curl_sends_and_receives_fifty_megabytes_whole(online, tmp_path):
    board, port = forwarded(online, 80)
    board.exec(LISTEN + SERVER + "listen(80)\n")
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    board.begin(f"serve({SIZE}, {PIECE})\n")
    ways = ["-s", "-S", "-D", "-", "-o", got, "-H", "Expect:", "--data-binary", f"@{sent}"]
    answer = run("curl", *ways, f"http://127.0.0.1:{port}/").stdout.decode()
    assert finish(board) == ("", "")
    assert hashlib.sha256(sent.read_bytes()).hexdigest() in answer
    pieces = (n.to_bytes(2, "little") + bytes(PIECE - 2) for n in range(SIZE // PIECE))
    data = got.read_bytes()
    assert len(data) == SIZE
    for n, piece in enumerate(pieces):
        assert data[n * PIECE : (n + 1) * PIECE] == piece


@needs("curl")
@VERSIONS
def test_curl_reads_from_a_tls_server_on_the_board(online, authority, version):
    board, port = forwarded(online, 443)
    board.exec(LISTEN + SERVER + "listen(443)\n")
    board.begin(
        "import ssl\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        f"context.load_cert_chain({content(authority / 'board.pem')}, "
        f"{content(authority / 'board.key')})\n"
        f"serve({1 << 20}, {PIECE}, context)\n",
    )
    exact = (
        version.replace("tls", "--tlsv").replace("_", "."),
        "--tls-max",
        version[3:].replace("_", "."),
    )
    answer = run(
        "curl", "-s", "-S", *exact, "--cacert", authority / "ca.pem",
        "--resolve", f"board.example:{port}:127.0.0.1", f"https://board.example:{port}/",
    )  # fmt: skip
    assert len(answer.stdout) == 1 << 20, answer.stderr
    assert finish(board) == ("", "")


# iperf


@needs("iperf")
def test_iperf_measures_both_directions(online):
    board, port = forwarded(online, 5001)
    board.exec(LISTEN + CONNECT + "listen(5001)\n")
    board.begin(
        "s, n = listener.accept()[0], 0\n"
        "while True:\n"
        "    piece = s.recv(65536)\n"
        "    if not piece: break\n"
        "    n += len(piece)\n"
        "s.close()\n"
        "print(n)\n",
    )
    assert b"Mbits/sec" in run("iperf", "-c", "127.0.0.1", "-p", port, "-n", 4 << 20).stdout
    output, error = finish(board)
    assert int(output) >= 4 << 20 and not error
    ours = free_port()
    with program("iperf", "-s", "-B", "127.0.0.1", "-p", ours, "-f", "k", port=ours) as iperf:
        board.exec(
            f"s, piece = connect({ours}), bytes(16384)\n"
            "for _ in range(256): s.write(piece)\n"
            "s.close()\n",
            60,
        )
        end = time.monotonic() + 30
        line = b""
        while b"Kbits/sec" not in line and time.monotonic() < end:
            line = iperf.stdout.readline()
        assert re.search(rb" 4096 KBytes", line), line


# mosquitto

MQTT = """
from umqtt.simple import MQTTClient, MQTTException
def client(name, port, **more):
    found = []
    c = MQTTClient(name, HOST, port, **more)
    c.set_callback(lambda topic, msg: found.append((bytes(topic), bytes(msg))))
    return c, found
""".replace("HOST", repr(HOST))


@pytest.fixture
def broker(tmp_path):
    """Start mosquitto; returns its port."""
    with contextlib.ExitStack() as stack:

        def start(lines=("allow_anonymous true",)):
            port = free_port()
            config = tmp_path / "mosquitto.conf"
            # Started by root it would be another user, who cannot read the test's files.
            lines = ["user root", f"listener {port} 127.0.0.1", *lines]
            config.write_text("\n".join(lines) + "\n")
            stack.enter_context(program("mosquitto", "-c", config, port=port))
            return port

        yield start


@needs("mosquitto")
def test_messages_go_through_a_broker(online, broker):
    board = online()
    out = board.exec(
        MQTT + f"port = {broker()}\n"
        "one, found = client('one', port)\n"
        "two, other = client('two', port)\n"
        "print(one.connect(), two.connect(timeout=20))\n"
        "one.subscribe('a/#', qos=1)\n"
        "print(one.check_msg(), found)\n"
        "two.publish('a/b', 'text')\n"
        "two.publish(b'a/c', bytes(300), qos=1)\n"
        "two.publish('a/kept', 'kept', retain=True, qos=1)\n"
        "while len(found) < 3: one.wait_msg()\n"
        "print(found[0], len(found[1][1]), found[2])\n"
        "found.clear()\n"
        "one.subscribe('a/kept')\n"
        "while not found: one.wait_msg()\n"
        "print(found)\n"
        # What comes while an answer is awaited is not lost.
        "two.subscribe('b')\n"
        "for n in range(20): one.publish('b', str(n), qos=1)\n"
        "for n in range(20): two.publish('a/x', str(n), qos=1)\n"
        "while len(other) < 20: two.check_msg()\n"
        "while len(found) < 21: one.check_msg()\n"
        "print([int(text) for _, text in other] == list(range(20)), int(found[-1][1]))\n"
        "one.ping()\n"
        "print(hex(one.wait_msg()))\n"
        "one.disconnect()\n"
        "try: one.ping()\n"
        "except OSError as e: print(e)\n",
        60,
    ).splitlines()
    assert out == [
        "False False",
        "None []",
        "(b'a/b', b'text') 300 (b'a/kept', b'kept')",
        "[(b'a/kept', b'kept')]",
        "True 19",
        "0xd0",
        "[Errno 107] ENOTCONN",
    ]


@needs("mosquitto")
def test_a_session_and_a_last_will_outlive_a_client(online, broker):
    board = online()
    out = board.exec(
        MQTT + f"port = {broker()}\n"
        "watcher, seen = client('watcher', port)\n"
        "watcher.connect()\n"
        "watcher.subscribe('gone')\n"
        "lost, found = client('lost', port)\n"
        "lost.set_last_will('gone', 'without a word')\n"
        "lost.connect(clean_session=False)\n"
        "lost.subscribe('a', qos=1)\n"
        "lost.sock.close()\n"
        "watcher.wait_msg()\n"
        "print(seen)\n"
        "watcher.publish('a', 'meanwhile', qos=1)\n"
        "print(lost.connect(clean_session=False))\n"
        "lost.wait_msg()\n"
        "print(found)\n",
        60,
    ).splitlines()
    assert out == ["[(b'gone', b'without a word')]", "True", "[(b'a', b'meanwhile')]"]


@needs("mosquitto")
def test_a_broker_refuses_who_has_no_password_and_its_end_is_an_error(online, broker, tmp_path):
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    run("mosquitto_passwd", "-b", passwords, "me", "secret")
    board = online()
    port = broker([f"password_file {passwords}", "allow_anonymous false"])
    out = board.exec(
        MQTT + f"port = {port}\n"
        "for more in ({}, {'user': 'me', 'password': 'guess'}):\n"
        "    try: client('c', port, **more)[0].connect()\n"
        "    except MQTTException as e: print(e.args[0])\n"
        "one, found = client('one', port, user='me', password='secret')\n"
        "print(one.connect())\n"
        "again = client('one', port, user='me', password='secret')[0]\n"
        "again.connect()\n"  # of the same name: the first is sent away
        "try: one.wait_msg()\n"
        "except OSError: print('away')\n",
        60,
    )
    assert out.split() == ["5", "5", "False", "away"]


@needs("mosquitto")
def test_mqtt_over_tls(online, broker, authority):
    board = online()
    port = broker(
        [
            "allow_anonymous true",
            f"certfile {authority / 'host.pem'}",
            f"keyfile {authority / 'host.key'}",
        ]
    )
    out = board.exec(
        MQTT + "import ssl\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n"
        "context.verify_mode = ssl.CERT_NONE\n"
        f"one, found = client('one', {port}, ssl=context)\n"
        "one.connect()\n"
        "one.subscribe('a')\n"
        "one.publish('a', 'secret', qos=1)\n"
        "while not found: one.check_msg()\n"
        "print(found)\n"
        "one.disconnect()\n",
        60,
    )
    assert out.strip() == "[(b'a', b'secret')]"
