# SPDX-License-Identifier: MIT
"""requests, ntptime, mip and webrepl, by servers and clients of the host."""

import base64
import hashlib
import http.server
import json
import os
import socket
import struct
import threading
import time

import pytest
from emulator import ROOT, Raised
from peers import forwarded


LIB = ROOT / "lib"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files = {}

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "here?x=1")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for n in range(100):
                self.wfile.write(b"%x\r\n%s\r\n" % (n + 1, b"c" * (n + 1)))
            self.wfile.write(b"0\r\n\r\n")
        elif self.path == "/silence":
            time.sleep(20)
        elif self.path == "/short":
            self.answer(b"x" * 10, length=20)
            self.close_connection = True
        elif self.path in self.files:
            self.answer(self.files[self.path])
        elif self.path.startswith("/here"):
            self.answer(json.dumps({"path": self.path, **self.headers}).encode())
        else:
            self.answer(b"not here", 404)

    def do_POST(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(body)

    def answer(self, body, status=200, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def web():
    """An HTTP server; returns its port and the dict of its files."""
    handler = type("Handler", (Handler,), {"files": {}})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], handler.files
    server.shutdown()


def test_requests_reads_answers_of_every_form(online, web):
    port, files = web
    files["/large"] = os.urandom(300_000)
    board = online()
    out = board.exec(
        "import requests, hashlib\n"
        f"base = 'http://10.0.2.2:{port}'\n"
        "r = requests.get(base + '/moved', params={'never': 'sent'})\n"
        "print(r.status_code)\n"
        "r = requests.get(base + '/moved')\n"
        "print(r.status_code, r.json()['path'])\n"
        "print(requests.get(base + '/moved', allow_redirects=False).status_code)\n"
        "print(len(requests.get(base + '/chunks').content))\n"
        "r = requests.get(base + '/here', headers={'X-Mine': 'yes'}, auth=('me', 'pw'),\n"
        "                 params={'a b': 'c&d'}).json()\n"
        "print(r['path'], r['X-Mine'], r['Authorization'])\n"
        "r = requests.get(base + '/large')\n"
        "h = hashlib.sha256()\n"
        "for piece in r.iter_content(5000): h.update(piece)\n"
        "r.close()\n"
        "print(h.digest().hex())\n"
        "print(requests.post(base, json={'a': [1]}).json(), requests.post(base, data='text').text)\n"
        "print(requests.post(base, data=(x for x in ('one', b'two'))).content)\n"
        "r = requests.get(base + '/nothing')\n"
        "print(r.status_code, r.reason, r.text)\n",
        60,
    ).splitlines()
    assert out == [
        "404",
        "200 /here?x=1",
        "302",
        "5050",
        "/here?a%20b=c%26d yes Basic " + base64.b64encode(b"me:pw").decode(),
        hashlib.sha256(files["/large"]).hexdigest(),
        "{'a': [1]} text",
        "b'onetwo'",
        "404 Not Found not here",
    ]


@pytest.mark.parametrize(
    "call",
    [
        "get(base + '/silence', timeout=1)",
        "get(base + '/short').content",
        "get('http://10.0.2.2:1/')",
    ],
)
def test_a_request_that_fails_is_an_os_error_and_leaves_no_socket(online, web, call):
    port, _ = web
    board = online()
    out = board.exec(
        f"import requests\nbase = 'http://10.0.2.2:{port}'\n"
        "for n in range(70):\n"
        f"    try: requests.{call}\n"
        "    except OSError as e: pass\n"
        "    else: print('no error')\n"
        f"    if 'timeout' in {call!r} and n == 2: break\n"
        "print(requests.get(base + '/here').status_code)\n",
        60,
    )
    assert out.strip() == "200"


def test_a_url_that_is_none_is_a_value_error(online):
    with pytest.raises(Raised, match="ValueError"):
        online().exec("import requests\nrequests.get('ftp://10.0.2.2/')\n")


def test_ntptime_sets_the_clock_in_both_eras(online):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def serve():
        for moment in (1_900_000_000, 2_200_000_000):  # 2030, and 2039, which is NTP's next era
            _, address = server.recvfrom(100)
            answer = bytearray(48)
            answer[0], answer[1] = 0x24, 1
            answer[40:44] = struct.pack(">I", (moment + 2_208_988_800) & 0xFFFFFFFF)
            server.sendto(answer, address)

    threading.Thread(target=serve, daemon=True).start()
    out = online().exec(
        "import ntptime, time\n"
        f"ntptime.host, ntptime.port = '10.0.2.2', {server.getsockname()[1]}\n"
        "ntptime.settime()\n"
        "print(time.localtime()[:3], ntptime.time())\n"
    )
    assert out.strip() == "(2030, 3, 17) 2200000000"
    server.close()


def test_mip_installs_a_package_with_what_it_needs(online, web, fat_disk):
    port, files = web
    files["/pi/package/py/one/latest.json"] = json.dumps(
        {"hashes": [["one/__init__.py", "abcd1234"]], "deps": [["two", "latest"]], "version": "1"}
    ).encode()
    files["/pi/file/ab/abcd1234"] = b"from two import name\n"
    files["/pi/package/py/two/latest.json"] = json.dumps(
        {"urls": [["two.py", f"http://10.0.2.2:{port}/two.py"]], "version": "1"}
    ).encode()
    files["/two.py"] = b"name = 'installed'\n"
    files["/bad.json"] = json.dumps({"urls": [["../main.py", "two.py"]]}).encode()
    board = online(disks=[fat_disk()])
    out = board.exec(
        "import mip, os\n"
        f"mip.install('one', index='http://10.0.2.2:{port}/pi', mpy=False)\n"
        "import one\n"
        "print(one.name)\n"
        f"try: mip.install('http://10.0.2.2:{port}/bad.json')\n"
        "except ValueError as e: print(e)\n"
        f"try: mip.install('http://10.0.2.2:{port}/missing.py')\n"
        "except OSError as e: print('missing')\n"
        "print(sorted(os.listdir('/lib')), os.listdir('/'))\n"
    ).splitlines()
    assert "installed" in out
    assert "a package with a file at '../main.py'" in out
    assert out[-2:] == [
        "missing",
        "['one', 'two.py'] ['lib']",
    ]


def test_mip_installs_the_queue_with_one_driver(online, web, fat_disk):
    port, files = web
    for path in [*LIB.glob("*.json"), *LIB.glob("virtio/**/*.py")]:
        files["/" + path.relative_to(LIB).as_posix()] = path.read_bytes()
    board = online(disks=[fat_disk()])
    out = board.exec(
        "import lan_netif, mip, network, os, sys, vfs, virtio\n"
        "class Ram:\n"  # not on the disk: each of these libraries takes the same DMA region
        "    data = bytearray(1 << 20)\n"
        "    def readblocks(self, n, buf, at=0):\n"
        "        buf[:] = self.data[512 * n + at:512 * n + at + len(buf)]\n"
        "    def writeblocks(self, n, buf, at=0):\n"
        "        self.data[512 * n + at:512 * n + at + len(buf)] = buf\n"
        "    def ioctl(self, op, arg): return {4: 2048, 5: 512, 6: 0}.get(op)\n"
        "vfs.VfsLfs2.mkfs(Ram())\n"
        "vfs.mount(Ram(), '/ram')\n"
        "for name in ('block', 'net', 'rng'):\n"
        f"    mip.install('http://10.0.2.2:{port}/' + name + '.json', target='/ram/' + name)\n"
        "network.LAN().active(False)\n"
        "vfs.umount('/')\n"
        "for driver in virtio.opened(): driver.deinit()\n"
        "def used(folder):\n"
        "    for name in [name for name in sys.modules if name.split('.')[0] == 'virtio']:\n"
        "        del sys.modules[name]\n"
        "    sys.path[:] = ['/ram/' + folder]\n"
        "    import virtio\n"
        "    assert virtio.__file__ == '/ram/%s/virtio/__init__.py' % folder\n"
        "    return virtio\n"
        "disk = used('block').Block(0)\n"
        "sector = bytearray(512)\n"
        "disk.readblocks(0, sector)\n"
        "print(sector[510:].hex())\n"
        "disk.deinit()\n"
        "net = used('net').Net(0)\n"
        "print(len(net.mac))\n"
        "net.deinit()\n"
        "rng = used('rng').Rng(0)\n"
        "print(len(rng.read(16)))\n"
        "rng.deinit()\n"
        "print([sorted(os.listdir('/ram/%s/virtio/drivers' % name)) for name in ('rng', 'block')])\n",
        60,
    ).splitlines()
    assert out[-4:] == [
        "55aa",
        "6",
        "16",
        "[['__init__.py', 'rng.py'], ['__init__.py', 'batch.py', 'block.py', 'geometry.py']]",
    ]


def websocket(port, password):
    """A client of the WebREPL that has logged in."""
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.sendall(
        b"GET / HTTP/1.1\r\nHost: board\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    stream = client.makefile("rwb", buffering=0)
    lines = []
    while (line := stream.readline()) not in (b"\r\n", b""):
        lines.append(line)
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in lines  # RFC 6455's example
    wait_for(stream, b"Password: ")
    type_text(stream, password + b"\r")
    return stream


def type_text(stream, text):
    mask = b"\1\2\3\4"
    data = bytes(byte ^ mask[n % 4] for n, byte in enumerate(text))
    stream.write(bytes((0x81, 0x80 | len(text))) + mask + data)


def wait_for(stream, text):
    got = b""
    while text not in got:
        head = stream.read(2)
        assert len(head) == 2, got
        length = head[1]
        if length == 126:
            (length,) = struct.unpack(">H", stream.read(2))
        while length:
            piece = stream.read(length)
            assert piece, got
            got += piece
            length -= len(piece)
    return got


def test_webrepl_is_a_prompt_and_ends_with_a_wrong_password(online):
    board, port = forwarded(online, 8266)
    board.exec("import webrepl\nwebrepl.start(password='secret')\n")
    board.disconnect()
    wrong = websocket(port, b"guess")
    wait_for(wrong, b"denied")
    wrong.close()
    stream = websocket(port, b"secret")
    wait_for(stream, b">>> ")
    type_text(stream, b"print(6 * 7)\r\n")
    assert b"42" in wait_for(stream, b">>> ")
    stream.close()


def test_ctrl_c_by_webrepl_ends_a_program_behind_what_is_typed_ahead(online):
    board, port = forwarded(online, 8266)
    board.exec("import webrepl\nwebrepl.start(password='secret')\n")
    board.disconnect()
    stream = websocket(port, b"secret")
    wait_for(stream, b">>> ")
    type_text(stream, b"while True: pass\r\r")
    wait_for(stream, b"...")
    time.sleep(0.5)
    for n in range(40):
        type_text(stream, b"print(%d)\r\n" % n)
    type_text(stream, b"\x03")
    # Each prompt's echo, and its answer: what was typed ahead is there for the next prompt.
    assert b"KeyboardInterrupt" in wait_for(stream, b"print(39)\r\n39\r\n")
    stream.close()
