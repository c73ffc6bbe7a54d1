# SPDX-License-Identifier: MIT
"""Serial ports, the host's end in a socket; and the REPL on one."""

import contextlib
import hashlib
import os
import random
import re
import select
import socket
import subprocess
import sys
import threading
import time
import tty

import pytest
from emulator import ROOT
from terminal import outside_make

REPL = "org.micropython.repl"
FORMS = {
    "legacy": {"modern": False},
    "modern": {},
    "packed": {"more": ["-global", "virtio-serial-device.packed=on"]},
}


class Host:
    """The host's end of a port."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))  # waits for QEMU, which takes one at a time
        self.socket.settimeout(30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def get(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(min(count - len(data), 65536))
            assert piece, "closed"
            data += piece
        return data


def port(tmp_path, name):
    """QEMU's words for a port whose other end is a socket of that name."""
    words = ["-chardev", f"socket,path={tmp_path}/{name},server=on,wait=off,id={name}"]
    return [*words, "-device", f"virtserialport,chardev={name},name={name}"]


@pytest.fixture
def ports(start, tmp_path):
    """Start a board with ports of these names, and import what is used."""

    def ports(*names, modern=True, more=(), device="virtio-serial-device,max_ports=5"):
        words = [*more, "-device", device]
        for name in names:
            words += port(tmp_path, name)
        board = start(modern=modern, more=words)
        board.wait_for_prompt()
        board.exec("import virtio, time, select, asyncio\nserial = virtio.Serial(0)\n")
        return board

    return ports


def until(board, expression):
    board.exec(
        f"for _ in range(1000):\n if {expression}: break\n time.sleep_ms(10)\n"
        f"else: raise AssertionError({expression!r})"
    )


@pytest.mark.parametrize("fields", FORMS.values(), ids=FORMS)
def test_bytes_come_back_whole_and_in_order(ports, tmp_path, fields):
    data = random.Random(1).randbytes(4 << 20)
    board = ports("echo", **fields)
    board.exec("""
p = serial.port("echo")
p.timeout_ms = 0
async def echo(total):
    stream = asyncio.StreamReader(p)
    while total:
        data = await stream.read(20000)
        total -= len(data)
        stream.write(data)
        await stream.drain()
""")
    with Host(tmp_path / "echo") as host:
        until(board, "p.connected")
        board.transport.exec_raw_no_follow(f"asyncio.run(echo({len(data)}))")
        sender = threading.Thread(target=host.send, args=[data])
        sender.start()
        back = host.get(len(data))
        sender.join()
        assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
        _, error = board.transport.follow(30)
        assert not error, error


@pytest.mark.parametrize("modern", [False, True], ids=["legacy", "modern"])
def test_the_device_tells_of_all_ports_where_there_are_many(ports, tmp_path, modern):
    names = [f"p{n}" for n in range(24)]
    board = ports(*names, modern=modern, device="virtio-serial-device,max_ports=25")
    out = board.exec("print(*[p.name for p in serial.ports()])")
    assert out.split() == names
    with Host(tmp_path / "p23") as host:
        board.exec("serial.port('p23').write(b'hello')")
        assert host.get(5) == b"hello"


def test_ports_are_told_apart_by_their_names(ports, tmp_path):
    board = ports("one", "two", "three")
    out = board.exec(
        "print([(each.number, each.name, each.is_open) for each in serial.ports()])\n"
        "a, b = serial.port('three'), serial.port(1)\n"
        "for which in ('three', 1):\n"
        "    try: serial.port(which)\n"
        "    except virtio.AlreadyUsed: print('open')\n"
        "try: serial.port('four')\n"
        "except virtio.NoDevice: print('none')\n"
    )
    assert out.split("\n")[:4] == [
        "[(1, 'one', False), (2, 'two', False), (3, 'three', False)]",
        "open",
        "open",
        "none",
    ]
    with Host(tmp_path / "three") as three, Host(tmp_path / "one") as one:
        until(board, "a.connected and b.connected")
        board.exec("a.write('to three')\nb.write('to one')")
        assert three.get(8) == b"to three" and one.get(6) == b"to one"
        three.send(b"line\nrest")
        out = board.exec("print(a.readline(), a.read(4), a.any(), b.any())")
        assert out.strip() == "b'line\\n' b'rest' 0 0"


def test_without_waiting_nothing_is_None_and_poll_says_when(ports, tmp_path):
    board = ports("p")
    with Host(tmp_path / "p") as host:
        board.exec("""
p = serial.port("p")
while not p.connected: serial._look()
p.timeout_ms = 0
assert p.readinto(bytearray(4)) is None and p.read(4) is None
poll = select.poll()
poll.register(p, select.POLLIN)
assert poll.poll(20) == []
""")
        host.send(b"now")
        out = board.exec(
            "print(poll.poll(10000)[0][1] == select.POLLIN, p.read(10), p.read(1))\n"
            "poll.modify(p, select.POLLIN | select.POLLOUT)\n"
            "print(poll.poll(0)[0][1] == select.POLLOUT)\n"
        )
        assert out.split() == ["True", "b'now'", "None", "True"]


def test_a_host_that_does_not_read_is_a_timeout_and_loses_nothing(ports, tmp_path):
    board = ports("p")
    with Host(tmp_path / "p") as host:
        out = board.exec("""
p = serial.port("p")
while not p.connected: serial._look()
p.timeout_ms = 100
sent = 0
chunk = bytes(range(256)) * 16
view = memoryview(chunk)
try:
    while sent < 1 << 24:
        sent += p.write(view[sent % 4096:])
except virtio.Timeout:
    print(sent)
""")
        sent = int(out)
        pattern = bytes(range(256)) * 16
        assert host.get(sent) == (pattern * (sent // 4096 + 1))[:sent]
        assert board.exec("print(p.write(b'on'))").strip() == "2"
        assert host.get(2) == b"on"


def test_what_is_written_before_the_host_comes_waits_for_it(ports, tmp_path):
    board = ports("p")
    board.exec("p = serial.port('p')\nassert p.readinto(bytearray(1)) == 0 and p.read() == b''")
    board.transport.exec_raw_no_follow("print(p.write(b'x' * 50000))")
    time.sleep(0.1)
    with Host(tmp_path / "p") as host:
        assert host.get(50000) == b"x" * 50000
        output, error = board.transport.follow(30)
        assert output.strip() == b"50000" and not error


def test_the_host_comes_and_goes_at_random(ports, tmp_path):
    rng = random.Random(4)
    board = ports("p")
    board.exec("""
changes = []
p = serial.port("p")
p.on_connected = lambda port: changes.append(port.connected)
def line():
    while True:
        text = p.readline()
        if text.endswith(b"end\\n"):
            return
        time.sleep_ms(1)
""")
    for number in range(20):
        with Host(tmp_path / "p") as host:
            for _ in range(rng.randrange(3)):
                host.send(rng.randbytes(rng.randrange(10000)))
            if rng.random() < 0.5:
                until(board, "p.connected")
    with Host(tmp_path / "p") as host:
        board.transport.exec_raw_no_follow("line()")
        host.send(b"\nend\n")
        _, error = board.transport.follow(30)
        assert not error, error
        out = board.exec("p.write(b'here')\nprint(len(changes) > 1, changes[-1])")
        assert host.get(4) == b"here" and out.split() == ["True", "True"]
    until(board, "not p.connected")
    # Each change was another one than the last.
    assert (
        board.exec("print(any(a == b for a, b in zip(changes, changes[1:])))").strip() == "False"
    )


def plug(board):
    """Plug a port in. QEMU lets go of what the last one had a moment after that."""
    end = time.monotonic() + 30
    words = {"driver": "virtserialport", "id": "x", "chardev": "late", "name": "late"}
    while True:
        try:
            return board.monitor.cmd("device_add", **words)
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def test_ports_are_plugged_and_unplugged(ports, tmp_path):
    board = ports("first")
    backend = {
        "type": "socket",
        "data": {
            "server": True,
            "wait": False,
            "addr": {"type": "unix", "data": {"path": f"{tmp_path}/late"}},
        },
    }
    board.monitor.cmd("chardev-add", id="late", backend=backend)
    for _ in range(3):
        plug(board)
        board.exec("p = serial.port('late')\np.timeout_ms = 3000")
        with Host(tmp_path / "late") as host:
            board.exec("print(p.write(b'plugged'))")
            assert host.get(7) == b"plugged"
            board.monitor.cmd("device_del", id="x")
            until(board, "not p.there")
            out = board.exec(
                "print(p.connected, p.read(1))\n"
                "try: p.write(b'x')\n"
                "except virtio.NoDevice: print('gone')\n"
                "p.close()\nprint([each.name for each in serial.ports()])"
            )
            assert out.split() == ["False", "b''", "gone", "['first']"]


def test_one_port_without_multiport(start, tmp_path):
    words = ["-device", "virtio-serial-device,max_ports=1"]
    words += ["-chardev", f"socket,path={tmp_path}/c,server=on,wait=off,id=c"]
    board = start(more=[*words, "-device", "virtconsole,chardev=c"])
    board.wait_for_prompt()
    with Host(tmp_path / "c") as host:
        out = board.exec(
            "import virtio\nserial = virtio.Serial(0)\n"
            "p = serial.port()\nprint(serial.multiport, p, p.write(b'alone'))"
        )
        assert out.strip() == "False <Port 0 None, open, connected> 5"
        assert host.get(5) == b"alone"
        host.send(b"back")
        assert board.exec("print(p.read(4))").strip() == "b'back'"
        # With no queue of its own: as after a fault of the driver.
        assert board.exec("print(serial.emergency(b'help'))").strip() == "True"
        assert host.get(4) == b"help"


def test_a_reset_of_the_device_keeps_the_ports(ports, tmp_path):
    board = ports("p")
    with Host(tmp_path / "p") as host:
        board.exec("p = serial.port('p')")
        until(board, "p.connected")
        for number in range(3):
            board.exec(f"p.write(b'before')\np.flush()\nserial.reset()\np.write(b'after{number}')")
            assert host.get(12) == b"beforeafter%d" % number
            host.send(b"in")
            assert board.exec("print(p.read(2))").strip() == "b'in'"
        board.exec(
            "serial.deinit()\n"
            "for call in (lambda: p.write(b'x'), lambda: p.read(1), lambda: serial.port('p')):\n"
            "    try: call()\n"
            "    except virtio.NoDevice: pass\n"
            "    else: assert False\n"
        )


# The REPL on a port


class Console:
    """The host's end of the port that has the REPL, a pseudo-terminal."""

    def __init__(self, board):
        self.path = board.chardev("repl")
        self.file = os.open(self.path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.file)
        self.unread = b""

    def type(self, text):
        os.write(self.file, text.encode())

    def wait_for(self, text):
        end = time.monotonic() + 30
        while text.encode() not in self.unread:
            assert time.monotonic() < end, self.unread
            if select.select([self.file], [], [], 0.1)[0]:
                self.unread += os.read(self.file, 65536)
        before, _, self.unread = self.unread.partition(text.encode())
        return before.decode(errors="replace")


@pytest.fixture
def console(start, tmp_path):
    """A board with the REPL on a port, whose UART is read."""
    more = ["-device", "virtio-serial-device,max_ports=3", "-chardev", "pty,id=repl"]
    more += ["-device", f"virtserialport,chardev=repl,name={REPL}", *port(tmp_path, "other")]
    board = start(more=more)
    assert f"REPL on {REPL}" in board.wait_for_prompt()
    console = Console(board)
    console.board = board
    with board.drained():
        end = time.monotonic() + 30
        while b">>> " not in console.unread:  # QEMU sees the other end once a second
            assert time.monotonic() < end
            console.type("\r")
            if select.select([console.file], [], [], 0.5)[0]:
                console.unread += os.read(console.file, 65536)
        console.type("print('re' + 'ady')\r")
        console.wait_for("ready\r\n>>> ")
        yield console
    os.close(console.file)


def test_the_prompt_is_on_the_port(console):
    console.type("x = 6 * 7\rprint(x)\r")
    console.wait_for("42\r\n>>> ")
    console.type("for n in range(3): print('n', n)\r\r")
    console.wait_for("n 0\r\nn 1\r\nn 2\r\n>>> ")
    # Without a newline, by the timer.
    console.type("import time; print('half', end=''); time.sleep(1)\r")
    console.wait_for("half")
    console.wait_for(">>> ")
    # The device's other ports are free.
    console.type(
        "import virtio; s = [d for d in virtio.opened() if isinstance(d, virtio.Serial)][0]\r"
    )
    console.type("print(s.port('other').name)\r")
    console.wait_for("other\r\n")


def test_ctrl_c_reaches_a_running_loop(console):
    for loop in (
        "while True: pass",
        "while True: print('x' * 70)",
        "import time; time.sleep(100)",
    ):
        console.type(loop + "\r\r" if loop.startswith("while") else loop + "\r")
        time.sleep(0.2)
        console.type("\x03")
        console.wait_for("KeyboardInterrupt")
        console.wait_for(">>> ")
    console.type("print('on')\r")
    console.wait_for("on\r\n>>> ")


def test_soft_resets_keep_the_port(console):
    for number in range(20):
        console.type("\x04")
        console.wait_for("soft reboot")
        console.wait_for(">>> ")
        console.type(f"print('life', {number})\r")
        console.wait_for(f"life {number}\r\n>>> ")


def test_a_host_that_does_not_read_does_not_stop_the_board(console, tmp_path):
    """What it misses is lost; what it reads later begins where it began to read."""
    done = tmp_path / "other"
    console.type(
        "import virtio; s = [d for d in virtio.opened() if isinstance(d, virtio.Serial)][0]\r"
    )
    console.wait_for(">>> ")
    with Host(done) as host:
        console.type("p = s.port('other')\r")
        console.wait_for(">>> ")
        console.type("for n in range(5000): print(n, 'x' * 70)\r\rp.write('done')\r")
        assert host.get(4) == b"done"
    console.type("\rprint('he' + 're')\r")
    console.wait_for("here\r\n")


def test_a_host_that_types_and_reads_only_then_gets_the_answer(console):
    console.type("for n in range(1000): print(n, 'x' * 70)\r\r")
    time.sleep(3)  # more than the board waits, and loses lines from then on
    console.type("print('he' + 're')\r")
    time.sleep(0.3)
    console.wait_for("here\r\n")


def test_input_that_is_typed_ahead_is_kept(console):
    lines = "".join(f"a.append({n})\r" for n in range(3000))
    console.type("a = []; import time; time.sleep(1)\r")
    sender = threading.Thread(target=console.type, args=[lines + "print('su' + 'm', sum(a))\r"])
    sender.start()
    console.wait_for(f"sum {sum(range(3000))}\r\n")
    sender.join()


def test_the_ports_raw_repl_answers_there_alone(console):
    """So that it is not as slow as the UART. What a person types is seen on both."""
    before = len(console.board.log.read_bytes())
    subprocess.run(
        [sys.executable, "-m", "mpremote", "connect", console.path, "exec", "print('port' * 9)"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    console.type("print('per' + 'son')\r")
    console.wait_for("person\r\n>>> ")
    until_log(console.board, b"person\r\n")
    assert b"portport" not in console.board.log.read_bytes()[before:]


def until_log(board, text, begun=0):
    end = time.monotonic() + 30
    while text not in board.log.read_bytes()[begun:]:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_make_repl_says_where_it_is_and_keeps_a_link(fat_disk, tmp_path):
    source = tmp_path / "source.bin"
    source.write_bytes(random.Random(2).randbytes(300000))
    command = f"cp {source} : + ls + exec 'import os; print(os.stat(\"source.bin\")[6])'"
    words = [f"DISK={fat_disk().path}", "NET=none", f"MPREMOTE={command}"]
    result = subprocess.run(
        ["make", "repl", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=outside_make(),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "The board's REPL is /dev/pts/" in result.stdout and "build/board.tty" in result.stdout
    assert result.stdout.split()[-1] == "300000"
    assert not (ROOT / "build/board.tty").is_symlink()


def test_mpremotes_commands_work_on_the_port(console, tmp_path):
    source = tmp_path / "source.bin"
    source.write_bytes(random.Random(2).randbytes(100000))
    (tmp_path / "script.py").write_text("import sys\nprint('script', sys.platform)\n")
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted/module.py").write_text("print('mounted module')\n")
    console.type("import vfs; from io import BytesIO\r")

    def mpremote(*words):
        command = [sys.executable, "-m", "mpremote", "connect", console.path, *words]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, (result.stdout, result.stderr)
        return result.stdout

    ram = "class D:\n def __init__(s):\n  s.d = bytearray(512 * 1024)\n"
    ram += " def readblocks(s, n, b, o=0):\n  a = n * 512 + o\n  b[:] = s.d[a:a + len(b)]\n"
    ram += " def writeblocks(s, n, b, o=0):\n  a = n * 512 + o\n  s.d[a:a + len(b)] = b\n"
    ram += " def ioctl(s, op, a):\n  return {4: 1024, 5: 512}.get(op, 0)\n"
    ram += "import os, vfs\nd = D()\nvfs.VfsFat.mkfs(d)\nvfs.mount(d, '/ram')\n"
    script = tmp_path / "script.py"
    shown = mpremote(
        *("exec", ram, "cp", str(source), ":/ram/copy", "+", "ls", ":/ram"),
        *("+", "cp", ":/ram/copy", str(tmp_path / "back"), "+", "sha256sum", ":/ram/copy"),
        *("+", "mkdir", ":/ram/d", "+", "touch", ":/ram/d/e", "+", "tree", ":/ram"),
        *("+", "cp", str(script), ":/ram/d/f", "+", "cat", ":/ram/d/f", "+", "df"),
        *("+", "rm", ":/ram/d/e", ":/ram/d/f", "+", "rmdir", ":/ram/d", "+", "rm", ":/ram/copy"),
        *("+", "rtc", "+", "sleep", "0.1", "+", "exec", "print('left', os.listdir('/ram'))"),
    )
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    for said in ("copy", hashlib.sha256(source.read_bytes()).hexdigest(), "/ram", "left []"):
        assert said in shown
    assert script.read_text() in shown
    mpremote("exec", "kept = 6")
    assert mpremote("resume", "exec", "print(kept * 7)").strip() == "42"
    assert mpremote("eval", "6 * 7").strip() == "42"
    assert "script" in mpremote("run", str(tmp_path / "script.py"))
    assert "mounted module" in mpremote(
        "mount", str(tmp_path / "mounted"), "exec", "import module"
    )
    assert mpremote("soft-reset", "exec", "print('after')").strip() == "after"
    assert mpremote("exec", "print('x' * 100000)").strip() == "x" * 100000


def test_mpremote_reaches_the_port_by_a_socket(start):
    more = ["-device", "virtio-serial-device,max_ports=2"]
    more += ["-chardev", "socket,host=127.0.0.1,port=0,server=on,wait=off,id=repl"]
    more += ["-device", f"virtserialport,chardev=repl,name={REPL}"]
    board = start(more=more)
    board.wait_for_prompt()
    address = re.search(r"tcp:([\d.:]+)", board.chardev("repl"))[1]

    def mpremote(*words):
        command = [sys.executable, "-m", "mpremote", "connect", f"socket://{address}", *words]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, (result.stdout, result.stderr)
        return result.stdout.strip()

    with board.drained():
        assert mpremote("eval", "6 * 7") == "42"
        assert mpremote("soft-reset", "exec", "print('x' * 10000)") == "x" * 10000
        begun = len(board.log.read_bytes())
        mpremote("reset")
        until_log(board, b">>> ", begun)
        assert mpremote("eval", "6 * 8") == "48"
