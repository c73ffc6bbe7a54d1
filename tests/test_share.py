# SPDX-License-Identifier: MIT
"""A folder of the host at /host: files both ways, while both sides change them."""

import contextlib
import hashlib
import os
import random
import subprocess
import sys
import time

import pytest
from conftest import INTERFACES
from emulator import ROOT, Folder, Machine
from terminal import outside_make

HELPERS = """
import os, gc, sys, time, virtio
os.chdir("/host")
p9 = virtio.opened()[-1]

def fails(number, function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        assert error.errno == number, error
    else:
        assert False, "no error"

def settled():
    "Whether nothing is open or under way but the root."
    for _ in range(500):
        gc.collect()
        p9.reap()
        # Without a jump, at which a scheduled function could leave something under way.
        if (p9._free, sum(p9._fids)) == ((1 << 30) - 1, 1):
            return True
        time.sleep_ms(10)
    return False
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "a folder, shared"
    folder.mkdir()
    return folder


@pytest.fixture
def shared(start, folder):
    """Start a board that has the folder at /host, with the helpers above."""

    def shared(**fields):
        board = start(folders=[Folder(folder)], **fields)
        banner = board.wait_for_prompt()
        assert "9P, virtio-mmio" in banner and ", host at /" in banner, banner
        board.exec(HELPERS.replace("/host", "/"))
        return board

    return shared


FORMS = {
    "legacy": {"modern": False},
    "modern": {},
    "packed": {"more": ["-global", "virtio-9p-device.packed=on"]},
}


def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("fields", FORMS.values(), ids=FORMS)
def test_bytes_arrive_whole_both_ways(shared, folder, fields):
    sizes = [0, 1, 255, 16383, 16384, 16385, 524264, 524265, 8 << 20]
    for size in sizes:
        (folder / f"in{size}").write_bytes(random.Random(size).randbytes(size))
    board = shared(**fields)
    out = board.exec(
        f"import hashlib, binascii\nsizes = {sizes}\n"
        """
for size in sizes:
    for piece in (size > 1 << 20) and (65536, 1 << 20) or (1000, 65536):
        h = hashlib.sha256()
        buf = bytearray(piece)
        with open('in%d' % size, 'rb') as f, open('out%d' % size, 'wb') as g:
            while n := f.readinto(buf):
                h.update(memoryview(buf)[:n])
                assert g.write(memoryview(buf)[:n]) == n
    print(binascii.hexlify(h.digest()).decode())
print(settled())
""",
        120,
    ).split()
    for size, said in zip(sizes, out):
        data = (folder / f"in{size}").read_bytes()
        assert said == digest(data), size
        assert (folder / f"out{size}").read_bytes() == data, size
    assert out[-1] == "True"


# Run by CPython and by the board, in a folder of its own; what it prints must be the same.
SEMANTICS = r"""
def tried(function, *arguments):
    try:
        return function(*arguments)
    except OSError as error:
        return "OSError", error.args[0]
    except ValueError:
        return "ValueError"

def content(name):
    with open(name, "rb") as f:
        return f.read()

with open("f", "wb") as f:
    print(f.write(b"line 1\nline 2\nlast"), f.tell())
for mode in ("r", "rb", "r+", "r+b", "rt"):
    with open("f", mode) as f:
        print(mode, repr(f.readline()), repr(f.read(3)), f.tell() if "b" in mode else "", list(f), repr(f.read()))
for mode in ("w", "wb", "a", "ab", "x"):
    print(mode, tried(lambda: open("f", mode).close()), len(content("f")))
    with open("f", "wb") as f:
        f.write(b"0123456789")
for mode in ("w+b", "a+b", "r+b", "x+b"):
    name = "new" if "x" in mode else "f"
    with open(name, mode) as f:
        print(mode, f.write(b"abc"), f.tell(), f.seek(1), f.read(), f.write(b"d"), f.seek(-2, 2), f.read())
    print(content(name))
with open("f", "wb") as f:
    f.seek(20)
    f.write(b"beyond")
    f.seek(2)
    f.write(b"back")
    f.seek(0, 2)
    f.write(b"x" * 40000)
    f.seek(39999)
    f.write(b"y")
print(len(content("f")), hash_of(content("f")))
with open("u", "w") as f:
    f.write("h\u00e4\u00df\U0001f600\n")  # of which MicroPython counts the bytes
with open("u") as f:
    print(f.read(2), f.read())
print(tried(open, "none"), tried(open, "f/none"), tried(open, "."), tried(open, "none/f", "w"))
print(tried(open, "f", "x"), tried(open, "f", "q"), tried(open, "f", "rw"))
os.mkdir("d")
print(tried(os.mkdir, "d"), tried(os.rmdir, "none"), tried(os.rmdir, "f"), tried(os.remove, "none"))
with open("d/one", "w") as f:
    f.write("1")
print(tried(os.rmdir, "d"), sorted(os.listdir("d")), tried(os.listdir, "f"))
os.rename("d/one", "d/two")
with open("d/three", "w") as f:
    f.write("3")
os.rename("d/three", "d/two")
print(os.listdir("d"), content("d/two"), tried(os.rename, "none", "d/x"), tried(os.rename, "f", "d"))
os.chdir("d")
print(content("two"), content("../d/./two"), content("../f")[:2], sorted(os.listdir("..")))
os.chdir("..")
print(tried(os.chdir, "f"), tried(os.chdir, "none"), os.stat("d")[0] & 0xF000, os.stat("f")[6])
os.rename("d", "e")
print(os.listdir("e"), os.stat("e/../e/two")[6], tried(os.stat, "f/.."))
f = open("f", "r+b")
f.write(b"AB")
f.flush()
print(content("f")[:3])
f.close()
f.close()
for mode, call in (("rb", lambda f: f.write(b"1")), ("wb", lambda f: f.read())):
    with open("g", "wb") as f:
        f.write(b"g")
    with open("g", mode) as f:
        try:
            call(f)
            print("no error")
        except OSError:
            print("refused")
print(tried(open, "l" * 256), tried(os.stat, "l" * 300 + "/x"), tried(os.mkdir, "l" * 256))
"""
HASH = "import os, hashlib, binascii\ndef hash_of(b):\n    return binascii.hexlify(hashlib.sha256(b).digest())\n"


def test_files_behave_as_cpythons_do(shared, folder, tmp_path):
    there = tmp_path / "cpython"
    there.mkdir()
    expected = subprocess.run(
        [sys.executable, "-c", HASH + SEMANTICS],
        cwd=there,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    board = shared()
    assert board.exec(HASH + SEMANTICS) == expected
    assert sorted(os.listdir(folder)) == sorted(os.listdir(there))
    assert board.exec("del f\nprint(settled())").strip() == "True"


NAMES = [
    "plain.txt",
    "with space",
    "ümläut",
    "日本",
    "😀",
    "-dash",
    "a'b\"c",
    "x" * 255,
    ".hidden",
    "CASE",
    "case",
]


@INTERFACES
def test_a_tree_is_the_same_on_both_sides(shared, folder, modern):
    (folder / "made here").mkdir()
    for number, name in enumerate(NAMES):
        (folder / "made here" / f"folder {number}").mkdir()
        for length in range(5):
            short = name[: 250 - length] if len(name) > 200 else name
            path = folder / "made here" / f"folder {number}" / f"{short}{length}"
            path.write_bytes(bytes(range(256))[: 50 * length])
    board = shared(modern=modern)
    board.exec(
        """
def copy(source, target):
    os.mkdir(target)
    for name, kind, _, size in os.ilistdir(source):
        if kind == 0x4000:
            copy(source + '/' + name, target + '/' + name)
        else:
            assert kind == 0x8000 and os.stat(source + '/' + name)[6] == size
            with open(source + '/' + name, 'rb') as f, open(target + '/' + name, 'wb') as g:
                assert g.write(f.read()) == size
copy('made here', 'made there')
assert settled()
def remove(path):
    for name, kind, *_ in os.ilistdir(path):
        (remove if kind == 0x4000 else os.remove)(path + '/' + name)
    os.rmdir(path)
copy('made there', 'gone')
remove('gone')
assert settled()
""",
        60,
    )
    subprocess.run(["diff", "-r", folder / "made here", folder / "made there"], check=True)
    assert not (folder / "gone").exists()


def test_links_are_followed_and_do_not_lead_out_of_the_folder(shared, folder):
    (folder / "one/two").mkdir(parents=True)
    (folder / "one/two/f").write_text("found")
    (folder / "secret").write_text("inside")
    (folder.parent / "secret").write_text("outside")
    links = {
        "relative": "one/two",
        "absolute": "/one/two",
        "one/up": "../one/two",
        "one/two/out": "../../../secret",
        "far": "/../../secret",
        "again": "relative",
        "loop": "loop",
        "dots": "dots/..",
        "dangling": "not yet",
    }
    for name, target in links.items():
        os.symlink(target, folder / name)
    chain = folder / "one/two/f"
    for number in range(30):
        os.symlink(f"chain{number - 1}" if number else "one/two/f", folder / f"chain{number}")
    board = shared()
    board.exec("""
for path in ("relative/f", "absolute/f", "one/up/f", "again/f", "relative/../two/f", "one/up/../two/f", "chain29"):
    assert open(path).read() == "found", path
assert open("one/two/out").read() == open("far").read() == "inside"
assert os.listdir("again") and "f" in os.listdir("absolute")
for name in ("loop", "dots"):
    fails(40, open, name)
    fails(40, os.stat, name + "/x")
fails(2, open, "dangling")
kinds = {name: kind for name, kind, *_ in os.ilistdir(".")}
assert kinds["relative"] == kinds["absolute"] == 0x4000 and kinds["far"] == 0x8000
assert kinds["loop"] == kinds["dangling"] == 0
with open("dangling", "w") as f:
    f.write("now")
os.chdir("again")
assert os.getcwd().endswith("one/two"), os.getcwd()
os.chdir("../..")
os.remove("relative")
assert settled()
""")
    assert (folder / "not yet").read_text() == "now"
    assert (folder.parent / "secret").read_text() == "outside"
    assert chain.read_text() == "found"


def test_what_is_no_file_does_not_hang(shared, folder):
    import socket

    os.mkfifo(folder / "fifo")
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(folder)
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        board = shared()
        board.exec("""
for name in ("fifo", "socket"):
    for mode in ("r", "w", "r+", "a"):
        fails(6, open, name, mode)
    fails(17, open, name, "x")
    fails(20, os.listdir, name)
assert {kind for _, kind, *_ in os.ilistdir(".")} == {0}
os.remove("fifo")
assert settled()
""")


def test_a_name_that_is_no_text_is_listed_with_replacements(shared, folder):
    for raw in (b"good", b"bad\xff\xfename", b"\xc3", b"ends\xf0\x9f"):
        with open(os.fsencode(folder) + b"/" + raw, "wb") as file:
            file.write(b"content")
    out = shared().exec("print(sorted(os.listdir()))")
    assert eval(out) == sorted(["good", "bad\ufffd\ufffdname", "\ufffd", "ends\ufffd\ufffd"])


def test_an_edit_is_what_the_next_import_gets(shared, folder):
    board = shared()
    board.exec("sys.path.insert(0, '/')")
    for number in range(100):
        (folder / "edited.py").write_text(
            f"value = {number}\n" + "# more\n" * (number * 300 % 1000)
        )
        out = board.exec("sys.modules.pop('edited', None)\nimport edited\nprint(edited.value)")
        assert out.strip() == str(number)
    assert board.exec("print(settled())").strip() == "True"


def test_requests_are_counted(shared, folder):
    """A module of 10 KB in ten, a status in three of which one is not waited for."""
    (folder / "ten.py").write_text("# a comment of so many bytes\n" * 350 + "value = 10\n")
    (folder / "many").mkdir()
    for number in range(100):
        (folder / "many" / str(number)).write_bytes(bytes(number))
    board = shared()
    out = board.exec("""
def requests(function, *arguments):
    before = p9._queue._state[6]
    function(*arguments)
    return p9._queue._state[6] - before & 0xFFFF

def read(name):
    with open(name) as f:
        for line in f:
            pass

print(requests(__import__, "ten"), requests(os.stat, "ten.py"), requests(read, "ten.py"))
print(requests(os.listdir, "many"))
""")
    imported, stat, read, listed = map(int, out.split())
    assert imported <= 10 and stat == 3 and read <= 6
    assert listed <= 3 * 100 + 10


def test_what_the_host_does_to_open_files_is_seen(shared, folder):
    for name in ("grown", "cut", "gone", "moved"):
        (folder / name).write_bytes(b"a" * 100000)
    board = shared()
    board.exec("""
files = {name: open(name, "r+b") for name in ("grown", "cut", "gone", "moved")}
assert all(len(f.read(10)) == 10 for f in files.values())
""")
    with open(folder / "grown", "ab") as file:
        file.write(b"b" * 50000)
    os.truncate(folder / "cut", 20000)
    (folder / "gone").unlink()
    (folder / "moved").rename(folder / "elsewhere")
    board.exec("""
data = files["grown"].read()
assert len(data) == 149990 and data.endswith(b"b" * 50000)
assert len(files["cut"].read()) == 19990
files["cut"].seek(0, 2)
assert files["cut"].tell() == 20000
assert len(files["gone"].read()) == 99990
files["moved"].seek(0)
files["moved"].write(b"c")
for f in files.values():
    f.close()
fails(2, os.stat, "gone")
fails(2, os.stat, "moved")
assert settled()
""")
    assert (folder / "elsewhere").read_bytes()[:2] == b"ca"


def test_a_read_only_share_says_so_and_stays_as_it_is(start, folder):
    (folder / "f").write_text("kept")
    board = start(folders=[Folder(folder, readonly=True)])
    board.wait_for_prompt()
    board.exec(HELPERS.replace("/host", "/"))
    board.exec("""
for mode in ("w", "a", "r+", "x"):
    fails(17 if mode == "x" else 30, open, "f", mode)
for mode in ("w", "a", "x"):
    fails(30, open, "new", mode)
fails(30, os.mkdir, "d")
fails(30, os.remove, "f")
fails(30, os.rename, "f", "g")
assert open("f").read() == "kept"
assert settled()
""")
    assert [path.name for path in folder.iterdir()] == ["f"]


def test_a_mount_can_be_read_only_by_itself(shared, folder):
    (folder / "f").write_text("kept")
    shared().exec("""
import vfs
vfs.umount("/")
virtio.mount(p9, "/ro", readonly=True)
for call in (lambda: open("/ro/f", "w"), lambda: open("/ro/f", "r+"), lambda: os.remove("/ro/f"), lambda: os.mkdir("/ro/d")):
    fails(30, call)
assert open("/ro/f").read() == "kept"
""")


def test_errors_are_the_hosts_own(shared, folder):
    if os.geteuid() == 0:
        run = ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=20", "tmpfs", folder]
        if subprocess.run(run, capture_output=True).returncode:
            pytest.skip("no filesystem of a size that is known can be mounted")
    else:
        pytest.skip("it takes root to mount a filesystem of a size that is known")
    try:
        shared().exec("""
with open("full", "wb") as f:
    try:
        while True:
            f.write(b"x" * 20000)
    except OSError as error:
        assert error.errno == 28, error
assert os.stat("full")[6] == 256 * 1024
f = open("small", "wb")
f.write(b"x" * 100)
fails(28, f.flush)
fails(28, f.close)
os.remove("full")
with open("small", "wb") as f:
    f.write(b"x" * 100)
assert open("small", "rb").read() == b"x" * 100
del f
assert settled()
""")
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_what_qemus_user_may_not_do_is_refused_and_the_rest_goes_on(shared, folder, monkeypatch):
    """QEMU is an ordinary user's: without privileges, and where this is root's, without root's."""
    qemu = ["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []
    monkeypatch.setattr(Machine, "qemu", [*qemu, *Machine.qemu])
    (folder / "secret").write_text("s")
    (folder / "fixed").write_text("f")
    (folder / "closed").mkdir()
    (folder / "closed/inner").write_text("i")
    (folder / "kept").mkdir()
    (folder / "kept/inner").write_text("i")
    modes = {"secret": 0o000, "fixed": 0o444, "closed": 0o000, "kept": 0o555}
    for name, mode in modes.items():
        (folder / name).chmod(mode)
    try:
        shared().exec("""
fails(13, open, "secret")
fails(13, open, "fixed", "a")
fails(13, os.listdir, "closed")
fails(13, os.stat, "closed/inner")
fails(13, open, "kept/new", "w")
fails(13, os.mkdir, "kept/new")
fails(13, os.remove, "kept/inner")
fails(13, os.rename, "kept/inner", "moved")
assert open("fixed").read() == "f" and open("kept/inner").read() == "i"
with open("new", "w") as f:
    f.write("n")
os.mkdir("made")
os.rename("new", "made/new")
assert os.listdir("made") == ["new"] and open("made/new").read() == "n"
os.remove("made/new")
os.rmdir("made")
assert sorted(os.listdir()) == ["closed", "fixed", "kept", "secret"]
assert settled()
""")
    finally:
        for name in modes:
            (folder / name).chmod(0o700)


def open_files(board, folder):
    """How many files of the folder QEMU has open."""
    found = []
    base = f"/proc/{board.process.pid}/fd"
    for name in os.listdir(base):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"{base}/{name}"))
    return sum(path.startswith(f"{folder}/") for path in found)


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_soft_reset_writes_and_closes_what_is_open(shared, folder):
    board = shared()
    for number in range(3):
        board.exec(
            "files = [open('f%d' % n, 'w') for n in range(50)]\n"
            f"for f in files: f.write('written {number}')\n"
        )
        assert open_files(board, folder) == 50
        board.soft_reset()
        until(lambda: open_files(board, folder) == 0)
        assert {path.read_text() for path in folder.iterdir()} == {f"written {number}"}


def test_what_the_program_has_dropped_is_written_and_closed(shared, folder):
    board = shared()
    board.exec("""
def drop():
    for n in range(40):
        open("f%d" % n, "w").write("dropped")
drop()
for _ in range(3): []
assert settled() or settled()
""")
    assert open_files(board, folder) == 0
    assert {path.read_text() for path in folder.iterdir()} == {"dropped"}


@pytest.mark.parametrize("fields", FORMS.values(), ids=FORMS)
def test_an_open_file_is_used_and_closed_without_an_allocation(shared, folder, fields):
    """As finalisers have to, which run with the heap locked."""
    (folder / "f").write_bytes(bytes(100000))
    shared(**fields).exec("""
from micropython import heap_lock, heap_unlock
buf = bytearray(20000)
f, g = open("f", "rb"), open("g", "wb")
f.read(1)
g.write(b"x")
heap_lock()
try:
    assert f.readinto(buf) == 20000 and f.seek(0) == 0
    assert g.write(buf) == 20000 and g.write(b"y") == 1
    g.flush()
    g.write(b"z")
    f.close()
    g.close()
finally:
    heap_unlock()
assert os.stat("g")[6] == 20003
assert settled()
""")


def test_more_files_than_there_are_numbers_is_an_error_and_no_end(shared, folder):
    shared().exec(
        """
files = []
try:
    for n in range(2000):
        files.append(open("f", "a"))
except OSError as error:
    assert error.errno == 24, error
assert len(files) > 1000
files.clear()
f = None
gc.collect()
assert open("f").read() == ""
assert settled()
""",
        60,
    )


def test_ctrl_c_and_timers_in_the_middle_leave_nothing_behind(shared, folder):
    board = shared()
    board.exec("""
from machine import Timer
import time
count = 0
def beside(_):
    global count
    with open("beside", "a") as f:
        f.write("x")
    os.stat("beside")
    count += 1
def work():
    print("begun")
    n = 0
    while True:
        n += 1
        with open("work%d" % (n % 5), "w") as f:
            f.write("y" * 20000)
        assert open("work%d" % (n % 5)).read() == "y" * 20000
        os.listdir()
""")
    board.exec("timer = Timer(-1)\ntimer.init(period=3, mode=Timer.PERIODIC, callback=beside)")
    transport = board.transport
    for number in range(40):
        transport.exec_raw_no_follow("work()")
        # Only now a Ctrl-C is one, and no byte of the input.
        transport.read_until(1, b"begun\r\n")
        time.sleep(number % 7 * 0.003)
        board.type("\x03")
        with board.deadline(30, "the end of work()"):
            _, error = transport.follow(None)
        assert error.rstrip().endswith(b"KeyboardInterrupt:"), error
    # What the timer has scheduled comes yet, one at each jump; files are closed without waiting for it.
    over = "timer.deinit()\nfor _ in range(1000):\n    pass\n"
    out = board.exec(over + "print(count > 10, os.stat('beside')[6] == count, settled())")
    assert out.split() == ["True"] * 3, out
    assert open_files(board, folder) == 0


def test_awaited_reads_and_writes_go_on_beside_each_other(shared, folder):
    data = random.Random(0).randbytes(3 << 20)
    (folder / "in").write_bytes(data)
    board = shared()
    board.exec(
        """
import asyncio
ticks = 0
async def tick():
    global ticks
    while True:
        ticks += 1
        await asyncio.sleep_ms(0)

async def copy(target, size):
    buf = bytearray(size)
    with open("in", "rb") as f, open(target, "wb") as g:
        while n := await p9.areadinto(f, buf):
            assert await p9.awrite(g, memoryview(buf)[:n]) == n

async def main():
    other = asyncio.create_task(tick())
    await asyncio.gather(copy("out1", 65536), copy("out2", 100000), copy("out3", 1 << 20))
    other.cancel()
    # A task that is cancelled leaves its buffer to the server, and the file as usable as before.
    with open("in", "rb") as f:
        for _ in range(20):
            task = asyncio.create_task(p9.areadinto(f, bytearray(500000)))
            await asyncio.sleep_ms(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
        f.seek(0)
        assert await p9.areadinto(f, bytearray(10)) == 10 and f.tell() == 10
        assert len(f.read(10)) == 10
asyncio.run(main())
assert ticks > 10
assert settled()
""",
        60,
    )
    for name in ("out1", "out2", "out3"):
        assert (folder / name).read_bytes() == data


def test_after_a_reset_files_are_closed_and_the_share_goes_on(shared, folder):
    shared().exec("""
f = open("f", "w")
f.write("lost")
p9.reset()
fails(9, f.flush)
fails(9, f.close)
with open("g", "w") as g:
    g.write("kept")
assert os.listdir() and open("g").read() == "kept"
del f
assert settled()
p9.deinit()
fails(19, os.listdir)
fails(19, open, "g")
""")


@pytest.mark.parametrize("disk", [True, False])
def test_make_run_shows_the_folder_and_says_where(folder, fat_disk, disk):
    (folder / "main.py").write_text("print('main of the folder')\n")
    (folder / "boot.py").write_text("print('boot of the folder')\n")
    result = subprocess.run(
        [
            "make",
            "run",
            f"DISK={fat_disk().path if disk else 'none'}",
            f"SHARE={folder}",
            "NET=none",
        ],
        input="import os; print(os.listdir('/host'))\n" if disk else "",
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=outside_make(),
    )
    assert result.returncode == 0, result.stderr
    if disk:
        assert ", host at /host" in result.stdout
        assert "of the folder" not in result.stdout and "'main.py'" in result.stdout
    else:
        assert ", host at /\n" in result.stdout
        assert "boot of the folder\nmain of the folder\n" in result.stdout


def test_a_share_that_is_no_folder_is_a_sentence(tmp_path):
    result = subprocess.run(
        ["make", "run", "SHARE=nowhere"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=outside_make(),
    )
    assert result.returncode != 0 and "There is no folder nowhere" in result.stderr


def test_two_folders_are_mounted_by_their_tags(start, folder, tmp_path, fat_disk):
    second = tmp_path / "second"
    second.mkdir()
    (second / "f").write_text("second")
    (folder / "f").write_text("first")
    folders = [Folder(folder), Folder(second, "data")]
    board = start(folders=folders, disks=[fat_disk()])
    banner = board.wait_for_prompt()
    assert "host at /host" in banner and "data at /data" in banner
    out = board.exec("print(open('/host/f').read(), open('/data/f').read())\n"
                     "import virtio\nprint([p.tag for p in virtio.opened()[-2:]])")  # fmt: skip
    assert out.split("\n")[0] == "first second" and "'host'" in out and "'data'" in out


def test_the_lines_at_the_start_come_once(start, folder, fat_disk):
    board = start(folders=[Folder(folder)], disks=[fat_disk()])
    assert "slot 31" in board.wait_for_prompt()
    board.type("\x04")
    assert "slot" not in board.wait_for_prompt()
