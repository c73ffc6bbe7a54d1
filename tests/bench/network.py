# SPDX-License-Identifier: MIT
"""The network: this library's, a driver in C in its place, a Linux guest's, on one QEMU user network.

All take their turn at each measurement, in rounds, and each figure is the median over them. The
host's CPU time is that of the whole QEMU. The table goes to the terminal, everything to
build/bench-network.json.
"""

import ast
import http.client
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from statistics import median

from bench import linux
from bench.compare import FOLDER, facts, spent
from bench.guest import Unavailable
from emulator import IMAGES, ROOT, Board, Disk, Machine, free_port

ROUNDS = int(os.environ.get("ROUNDS") or 5)
RESULT = ROOT / "build/bench-network.json"
PIECE, PIECES = 16 << 10, 3200  # 50 MB
TLS_PIECES = 320
PINGS = 2000
REQUESTS = 200
IDLE_SECONDS = 5
DISK_SIZE = 32 << 20
PAGE = b"<p>A small page.</p>\n" * 10
ON_BOARD = """
import asyncio, network, socket, time
lan = network.LAN()
while not lan.isconnected(): time.sleep_ms(1)
buf, page = bytearray(%d), %r
answer = b"HTTP/1.0 200 OK\\r\\nContent-Length: %%d\\r\\n\\r\\n%%s" %% (len(page), page)

def run(action, port, size, count):
    s = socket.socket()
    s.connect(("10.0.2.2", port))
    piece = memoryview(buf)[:size]
    start = time.ticks_us()
    for _ in range(count):
        if action != "take": s.write(piece)
        if action != "send": s.readinto(piece)
    if action == "send": s.read(1)
    took = time.ticks_diff(time.ticks_us(), start)
    s.close()
    return took / count

def in_c():
    "From here on the driver is that of tests/bench/modules/floor."
    import floor_net, lan_netif, virtio
    lan.active(False)
    device = [each for each in virtio.scan() if each.device_type == 1][0]
    floor_net.start(device.base, device.intid, lan_netif)
    while not lan.isconnected(): time.sleep_ms(1)

def listen():
    global listener
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", 80))
    listener.listen(8)

def serve(count):
    for _ in range(count):
        s = listener.accept()[0]
        while s.readline() != b"\\r\\n": pass
        s.write(answer)
        s.close()

def waits(port):
    global idle
    idle = socket.socket()
    idle.connect(("10.0.2.2", port))
    idle.read(1)

async def pings(port, count):
    reader, writer = await asyncio.open_connection("10.0.2.2", port)
    found = []
    for _ in range(count):
        start = time.ticks_us()
        writer.write(b"x")
        await writer.drain()
        await reader.readexactly(1)
        found.append(time.ticks_diff(time.ticks_us(), start))
    await writer.wait_closed()
    found.sort()
    return found[count * 95 // 100]

def tls(port, trusted, size, count):
    "ms of a handshake, MB/s that come in, that go out."
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=trusted)
    s = socket.socket()
    s.connect(("10.0.2.2", port))
    start = time.ticks_us()
    s = context.wrap_socket(s, server_hostname="host")
    found = [time.ticks_diff(time.ticks_us(), start) / 1000]
    piece = memoryview(buf)[:size]
    for function in (s.readinto, s.write):
        start = time.ticks_us()
        for _ in range(count): function(piece)
        if function != s.readinto: s.read(1)
        found.append(size * count / time.ticks_diff(time.ticks_us(), start))
    s.close()
    return found

async def at_once(read, port):
    "MB/s that read brings, and a stream, for a second each alone, then at once."
    found, amounts = [], [0, 0]
    async def reading():
        while True:
            amounts[0] += read(buf)
            await asyncio.sleep_ms(0)
    async def taking():
        reader, writer = await asyncio.open_connection("10.0.2.2", port)
        into = bytearray(len(buf))
        try:
            while True: amounts[1] += await reader.readinto(into)
        finally:
            writer.close()
            await writer.wait_closed()
    for tasks in ((reading,), (taking,), (reading, taking)):
        tasks = [asyncio.create_task(task()) for task in tasks]
        await asyncio.sleep_ms(200)
        amounts[:] = [0, 0]
        start = time.ticks_us()
        await asyncio.sleep_ms(1000)
        took = time.ticks_diff(time.ticks_us(), start)
        found.extend([amount / took for amount in amounts])
        for task in tasks: task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found

def storage(port):
    "at_once() of a disk's blocks, a file on FAT, one on littlefs."
    import vfs, virtio
    disk = virtio.Block(0)
    def blocks(into):
        disk.readblocks(0, into)
        return len(into)
    found = [asyncio.run(at_once(blocks, port))]
    for kind in (vfs.VfsFat, vfs.VfsLfs2):
        kind.mkfs(disk)
        virtio.mount(disk, "/bench")
        with open("/bench/file", "wb") as file:
            for _ in range(512): file.write(buf)
        with open("/bench/file", "rb") as file:
            def next_piece(into):
                got = file.readinto(into)
                if got < len(into): file.seek(0)
                return got
            found.append(asyncio.run(at_once(next_piece, port)))
        vfs.umount("/bench")
    disk.deinit()
    return found

def left(port, seconds):
    "How much of a program's loop a flood of datagrams leaves, against none."
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("0.0.0.0", 7))
    u.setblocking(False)
    def loop():
        n, start = 0, time.ticks_ms()
        while time.ticks_diff(time.ticks_ms(), start) < 1000 * seconds: n += 1
        return n
    alone = loop()
    s = socket.socket()
    s.connect(("10.0.2.2", port))
    s.read(1)
    flooded = loop()
    s.close()
    u.close()
    return flooded / alone
""" % (PIECE, PAGE)

IMAGES["guest"] = lambda: []


class Peer:
    """Servers on the host, each of one function of a connection."""

    def __init__(self, function):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.run, args=(function,), daemon=True).start()

    def run(self, function):
        while True:
            connection, _ = self.server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                with connection:
                    function(connection)
            except OSError:
                pass


def give(connection):
    data = bytes(PIECE)
    for _ in range(PIECES):
        connection.sendall(data)
    connection.recv(1)


def swallow(connection):
    left = PIECE * PIECES
    buf = bytearray(1 << 20)
    while left:
        left -= connection.recv_into(buf)
    connection.sendall(b"x")
    connection.recv(1)


def bounce(connection):
    while data := connection.recv(1):
        connection.sendall(data)


def certificate():
    """The name of a file with a certificate and its key, for TLS on the host."""
    path = FOLDER / "network.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650"
    words += f" -keyout {path} -out {path}.crt -subj /CN=host"
    FOLDER.mkdir(parents=True, exist_ok=True)
    subprocess.run(words.split(), check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_name("network.pem.crt").read_text())
    return path


def encrypted(path, version):
    """A function of a connection that gives, and then swallows, over this version of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.minimum_version = context.maximum_version = version

    def serve(connection):
        with context.wrap_socket(connection, server_side=True) as stream:
            data = bytes(PIECE)
            for _ in range(TLS_PIECES):
                stream.sendall(data)
            left = PIECE * TLS_PIECES
            while left:
                left -= len(stream.recv(1 << 20))
            stream.sendall(b"x")
            stream.recv(1)

    return serve


def pour(connection):
    data = bytes(1 << 20)
    while True:
        connection.sendall(data)


def hold(connection):
    connection.recv(1)


class OnBoard:
    def __init__(self, board, prepare):
        self.board, self.process = board, board.process
        board.wait_for_prompt()
        board.exec(ON_BOARD + prepare, 60)

    def ask(self, call, seconds=300):
        return ast.literal_eval(self.board.exec(f"print({call})", seconds, call))

    def tcp(self, action, port, size, count):
        return self.ask(f"run({action!r}, {port}, {size}, {count})")

    def serve(self, count):
        self.board.connect()
        self.board.transport.exec_raw_no_follow(f"serve({count})")

    def served(self):
        self.board.transport.follow(timeout=60)


class OnLinux:
    def __init__(self, guest):
        self.guest, self.process = guest, guest.process
        guest.run("ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up; ip link set lo up")
        page = PAGE.decode().strip()
        guest.run(f"mkdir /www; echo '{page}' >/www/index.html; httpd -p 80 -h /www")

    def tcp(self, action, port, size, count):
        return self.guest.io(port, action, size, count)

    def serve(self, count):
        pass

    def served(self):
        pass


def moved(who, action, peer):
    """MB a second, and seconds of the host's CPU for 50 MB."""
    before = spent(who.process)
    took = who.tcp(action, peer.port, PIECE, PIECES)
    return PIECE / took, (spent(who.process) - before) / 1e9


def requests(who, port):
    who.serve(REQUESTS)
    start = time.monotonic()
    for _ in range(REQUESTS):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        client.request("GET", "/")
        assert len(client.getresponse().read()) in (len(PAGE), len(PAGE) + 1)
        client.close()
    took = time.monotonic() - start
    who.served()
    return REQUESTS / took


def flooded(who, port):
    """What a flood of datagrams leaves of a program, in percent."""
    over = threading.Event()

    def flood(connection):
        connection.sendall(b"x")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            while not over.is_set():
                s.sendto(bytes(1000), ("127.0.0.1", port))

    peer = Peer(flood)
    try:
        return 100 * who.ask(f"left({peer.port}, 3)")
    finally:
        over.set()


def idle(who, held):
    """Percent of a core of the host's, at the prompt and in a socket's read."""
    time.sleep(3)  # what DHCP and mDNS have to say is said
    found = []
    for waits in (False, True):
        if waits:
            who.board.connect()
            who.board.transport.exec_raw_no_follow(f"waits({held.port})")
            time.sleep(1)
        before = spent(who.process)
        time.sleep(IDLE_SECONDS)
        found.append((spent(who.process) - before) / IDLE_SECONDS / 1e7)
    who.board.type(b"\x03")
    who.board.transport.follow(timeout=60)
    return found


def measure(contestants, ports, found):
    path = certificate()
    poured = Peer(pour)
    versions = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    secure = {name: Peer(encrypted(path, version)) for name, version in versions.items()}
    peers = {"take": Peer(give), "send": Peer(swallow), "bounce": Peer(bounce)}
    for turn in range(ROUNDS):
        for name, who in contestants.items():
            print(f"round {turn + 1} of {ROUNDS}: {name}", flush=True)
            for action, what in (("take", "receive"), ("send", "send")):
                speed, cpu = moved(who, action, peers[action])
                found.setdefault(f"TCP {what}, MB/s", {}).setdefault(name, []).append(speed)
                what = f"TCP {what} of 50 MB, s of the host's CPU"
                found.setdefault(what, {}).setdefault(name, []).append(cpu)
            took = who.tcp("bounce", peers["bounce"].port, 1, PINGS) / 1000
            found.setdefault("one byte there and back, ms", {}).setdefault(name, []).append(took)
            rate = requests(who, ports[name])
            found.setdefault("HTTP requests a second", {}).setdefault(name, []).append(rate)
        board = contestants["library"]
        took = board.ask(f"asyncio.run(pings({peers['bounce'].port}, {PINGS}))") / 1000
        row = found.setdefault("the same in asyncio, 95th percentile, ms", {})
        row.setdefault("library", []).append(took)
        kinds = ("blocks of a disk", "a file on FAT", "a file on littlefs")
        for what, figures in zip(kinds, board.ask(f"storage({poured.port})"), strict=True):
            alone, _, _, taken, beside, stream = figures
            rows = {
                f"{what}, MB/s": alone,
                f"{what} beside a stream": beside,
                "a stream in asyncio, MB/s": taken,
                f"a stream beside {what}": stream,
            }
            for each, figure in rows.items():
                found.setdefault(each, {}).setdefault("library", []).append(figure)
        for version, peer in secure.items():
            call = f"tls({peer.port}, {path.read_bytes()!r}, {PIECE}, {TLS_PIECES})"
            kinds = ("handshake, ms", "receive, MB/s", "send, MB/s")
            for what, figure in zip(kinds, board.ask(call), strict=True):
                row = found.setdefault(f"TLS {version} {what}", {})
                row.setdefault("library", []).append(figure)


def table(found):
    print(f"\n{'the network':<46}{'library':>9}{'C':>9}{'Linux':>9}{'of C':>7}{'of Linux':>10}")
    for what, row in found.items():
        middle = {name: median(figures) for name, figures in row.items()}
        line = f"  {what:<44}"
        for name in ("library", "C", "Linux"):
            line += f"{middle[name]:>9.2f}" if name in row else f"{'-':>9}"
        for name, width in (("C", 7), ("Linux", 10)):
            line += f"{middle['library'] / middle[name]:>{width}.2f}" if name in row else ""
        print(line)


def start_linux(port):
    """-> a Linux guest with a network and None, or None and why there is none."""
    net = Machine(image="guest", memory="256M", net="user", ports={80: port})
    try:
        return linux.Guest(net.arguments()), None
    except Unavailable as why:
        return None, str(why)


def main():
    about = facts()
    ports = {"library": free_port(), "C": free_port(), "Linux": free_port()}
    guest, about["Linux"] = start_linux(ports["Linux"])
    datagrams = free_port()
    forward = f"user,hostfwd=tcp:127.0.0.1:{ports['library']}-:80"
    forward += f",hostfwd=udp:127.0.0.1:{datagrams}-:7"
    image = FOLDER / "network.img"
    image.write_bytes(bytes(DISK_SIZE))
    found = {}
    try:
        with (
            Board(Machine(memory="256M", net=forward, disks=[Disk(image)])) as board,
            Board(
                Machine(image="bench", memory="256M", net="user", ports={80: ports["C"]})
            ) as floor,
        ):
            contestants = {"library": OnBoard(board, "listen()")}
            contestants["C"] = OnBoard(floor, "in_c()\nlisten()")
            if guest:
                contestants["Linux"] = OnLinux(guest)
                about["Linux"] = guest.run("uname -r").split()[0]
            for what, value in about.items():
                print(f"{what:<10} {value}", flush=True)
            measure(contestants, ports, found)
            library = contestants["library"]
            prompt, reading = idle(library, Peer(hold))
            found["idle, % of a core of the host's"] = {"library": [prompt]}
            found["idle in a socket's read, %"] = {"library": [reading]}
            left = flooded(library, datagrams)
            found["left of a program in a flood of datagrams, %"] = {"library": [left]}
    finally:
        if guest:
            guest.close()
    table(found)
    RESULT.write_text(json.dumps({"about": about, "found": found}, indent=2) + "\n")
    print(f"\nEverything is in {RESULT.relative_to(ROOT)}.")


if __name__ == "__main__":
    main()
