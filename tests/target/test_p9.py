"""The 9P client, by a server over RAM: one that is honest, and one that is not."""

import asyncio
import gc
from struct import pack, unpack_from

import vfs
import virtio
from check import raises
from virtio import DeviceFault, Timeout, slowmotion
from virtio.slowmotion import fill, readable

CONFIG = pack("<H", 4) + b"fake"
FOLDER, LINK, PLAIN = 0x80, 2, 0

REQUESTS = {
    8: "statfs",
    12: "lopen",
    14: "lcreate",
    22: "readlink",
    24: "getattr",
    40: "readdir",
    50: "fsync",
    72: "mkdir",
    74: "renameat",
    76: "unlinkat",
    100: "version",
    104: "attach",
    110: "walk",
    116: "read",
    118: "write",
    120: "clunk",
}


class Server:
    """Files of one folder, in a dict. `lies` turns an answer, by the request's name, into another."""

    def __init__(self, **fields):
        self.transport = slowmotion.Transport(
            device_type=9,
            features=virtio.features.VERSION_1 | 1,
            queue_max=(64,),
            config=CONFIG,
            **fields,
        )
        self.device = self.transport.device
        self.device.on_notify = self.serve
        self.files = {"f": bytearray(b"content of f"), "l": "f"}
        self.lies = {}
        self.written = None
        self.used = None  # the length that is told, if not the true one
        self.silent = ()
        self.asked = []
        self.fids = {}
        self.msize = 1 << 30

    def serve(self, idx):
        half = self.device.queue(idx)
        while half.waiting:
            head, buffers = half.take()
            message = readable(buffers)
            size, kind, tag = unpack_from("<IBH", message)
            assert size == len(message), (size, message)
            name = REQUESTS[kind]
            self.asked.append(name)
            if name in self.silent:
                continue
            try:
                body = getattr(self, name)(message)
            except OSError as error:
                kind, body = 6, pack("<I", error.errno)
            answer = pack("<IBH", 7 + len(body), kind + 1, tag) + body
            if name in self.lies:
                answer = self.lies[name](answer)
            written = fill(buffers, answer)
            half.use(head, written if self.used is None else self.used(written))

    def qid(self, name):
        kind = FOLDER if name is None else LINK if isinstance(self.files[name], str) else PLAIN
        return pack("<BIQ", kind, 0, 7)

    def version(self, m):
        self.fids.clear()
        (msize,) = unpack_from("<I", m, 7)
        return pack("<I", min(msize, self.msize)) + m[11:]

    def attach(self, m):
        self.fids[0] = None
        return self.qid(None)

    def walk(self, m):
        fid, new, count = unpack_from("<IIH", m, 7)
        at, place, qids = 17, self.fids[fid], []
        for n in range(count):
            (length,) = unpack_from("<H", m, at)
            name = m[at + 2 : at + 2 + length].decode()
            at += 2 + length
            if place is not None or name not in self.files:
                if n == 0:
                    raise OSError(2)
                break
            place = name
            qids.append(self.qid(name))
        if len(qids) == count:
            assert new == fid or new not in self.fids, "a fid that is in use"
            self.fids[new] = place
        return pack("<H", len(qids)) + b"".join(qids)

    def getattr(self, m):
        name = self.fids[unpack_from("<I", m, 7)[0]]
        content = b"" if name is None else self.files[name]
        mode = 0x4000 if name is None else 0xA000 if isinstance(content, str) else 0x8000
        body = pack("<Q", 0x7FF) + self.qid(name) + pack("<IIIQQQ", mode, 0, 0, 1, 0, len(content))
        return body + bytes(153 - len(body))

    def readlink(self, m):
        target = self.files[self.fids[unpack_from("<I", m, 7)[0]]].encode()
        return pack("<H", len(target)) + target

    def lopen(self, m):
        return self.qid(self.fids[unpack_from("<I", m, 7)[0]]) + bytes(4)

    def lcreate(self, m):
        fid, length = unpack_from("<IH", m, 7)
        name = m[13 : 13 + length].decode()
        self.files[name] = bytearray()
        self.fids[fid] = name
        return self.qid(name) + bytes(4)

    def read(self, m):
        fid, offset, count = unpack_from("<IQI", m, 7)
        data = bytes(self.files[self.fids[fid]][offset : offset + count])
        return pack("<I", len(data)) + data

    def write(self, m):
        fid, offset, count = unpack_from("<IQI", m, 7)
        self.files[self.fids[fid]][offset : offset + count] = m[23:]
        return pack("<I", count)

    def readdir(self, m):
        offset = unpack_from("<Q", m, 11)[0]
        body = b""
        for n, name in enumerate(self.files):
            if n >= offset:
                body += self.qid(name) + pack("<QBH", n + 1, 0, len(name)) + name.encode()
        return pack("<I", len(body)) + body

    def statfs(self, m):
        return bytes(60)

    def clunk(self, m):
        del self.fids[unpack_from("<I", m, 7)[0]]
        return b""

    def fsync(self, m):
        return b""

    mkdir = renameat = unlinkat = fsync


class Mounted:
    def __init__(self, server=None, **fields):
        self.server = server or Server(**fields)
        self.p9 = virtio.P9(self.server.transport)
        self.p9.timeout_ms = 50

    def __enter__(self):
        virtio.mount(self.p9, "/fake")
        return self.p9, self.server

    def __exit__(self, *_):
        vfs.umount("/fake")
        self.server.silent = ()
        self.p9.deinit()


def use(p9):
    """All kinds of requests, once."""
    import os

    with open("/fake/f", "r+b") as f:
        f.read()
        f.write(b"more")
    open("/fake/new", "w").close()
    open("/fake/l").close()
    os.listdir("/fake")
    os.stat("/fake/f")
    os.statvfs("/fake")
    os.mkdir("/fake/d")
    os.remove("/fake/f")
    os.rename("/fake/f", "/fake/g")
    with open("/fake/new", "w") as f:
        os.sync()
    p9.reap()


def test_an_honest_server_is_understood():
    with Mounted() as (p9, server):
        use(p9)
        assert bytes(server.files["f"]) == b"content of fmore"
        assert set(server.asked) == set(REQUESTS.values())
        assert server.fids == {0: None}, server.fids
        assert sum(p9._fids) == 1


def test_messages_are_as_long_as_the_server_wants_them():
    server = Server()
    server.msize = 8192
    server.files["long"] = bytearray(bytes(range(256)) * 200)
    with Mounted(server) as (p9, server):
        assert p9.msize == 8192
        with open("/fake/long", "rb") as f, open("/fake/copy", "wb") as g:
            buf = bytearray(60000)
            count = f.readinto(buf)
            assert g.write(memoryview(buf)[:count]) == count == 51200
        assert server.files["copy"] == server.files["long"]
        assert server.asked.count("read") >= 6 and server.asked.count("write") >= 6


def patch(at, data):
    return lambda answer: answer[:at] + data + answer[at + len(data) :]


def word(at, value):
    return patch(at, pack("<I", value))


LIES = {
    "another tag": patch(5, b"\x3f"),
    "another kind": patch(4, b"\x01"),
    "a size beyond what came": word(0, 1 << 20),
    "a size of nothing": word(0, 0),
    "a size beyond 2^31": word(0, 0x80000001),
    "half of it": lambda answer: answer[: len(answer) // 2],
    "nothing": lambda answer: b"",
    "an error of no number": lambda answer: pack("<IBHI", 11, 7, 0, 0),
    "an error beyond all": lambda answer: pack("<IBHI", 11, 7, 0, 1 << 31),
}
# What is counted in an answer, by more and by far more than was asked for or is there.
COUNTS = {
    "walk": patch(7, b"\x11"),
    "read": word(7, 0x7FFFFFFF),
    "write": word(7, 0xFFFFFFFF),
    "readlink": patch(7, b"\xff\xff"),
    "readdir": word(7, 0xFFFFFF),
}


def meets(server, p9, name, lie):
    """Whether the lie ends in DeviceFault, and then in nothing else until a reset."""
    server.lies = {name: lie}
    fault = None
    try:
        for _ in range(3):  # what is not waited for is looked at later
            server.files.pop("new", None)
            use(p9)
    except OSError as error:
        fault = error
    assert isinstance(fault, OSError), (name, "was believed")
    server.lies = {}
    if server.transport.failed:
        raises(OSError, open, "/fake/f")
        p9.reset()
    use(p9)
    return fault


def test_no_lie_is_believed_and_a_reset_ends_it():
    for name in REQUESTS.values():
        if name in ("version", "attach"):
            continue
        with Mounted() as (p9, server):
            for why, lie in LIES.items():
                fault = meets(server, p9, name, lie)
                assert fault.errno == 71 or name in ("read", "write", "clunk"), (name, why, fault)


def test_no_count_is_believed():
    for name, lie in COUNTS.items():
        with Mounted() as (p9, server):
            assert meets(server, p9, name, lie).errno == 71, name


def test_entries_that_end_elsewhere_are_an_error():
    entry = bytes(13) + pack("<QBH", 1, 0, 1) + b"f"

    def listing(body):
        return lambda answer: pack("<IBHI", 11 + len(body), 41, 0, len(body)) + body

    for body in (entry[:10], entry[:-1], entry[:22] + b"\xff\xff" + b"f", entry + entry[:23]):
        with Mounted() as (p9, server):
            meets(server, p9, "readdir", listing(body))
            assert server.transport.failed is False
    with Mounted() as (p9, server):
        meets(server, p9, "readdir", listing(entry))  # the same ones for ever


def test_a_length_beyond_the_buffers_is_an_error():
    with Mounted() as (p9, server):
        server.used = lambda written: written + (1 << 20)
        raises(DeviceFault, p9.getattr, 0)
        server.used = None
        p9.reset()
        use(p9)


def test_a_session_that_is_none_is_an_error_of_the_start():
    for lie, kind in (
        ({"version": patch(13, b"9P2000.u")}, virtio.Unsupported),
        ({"version": word(7, 1 << 24)}, DeviceFault),
        ({"version": word(7, 100)}, DeviceFault),
        ({"version": word(0, 5)}, DeviceFault),
        ({"attach": lambda answer: pack("<IBHI", 11, 7, 0, 13)}, OSError),
    ):
        server = Server()
        server.lies = lie
        raises(kind, virtio.P9, server.transport)
        assert server.transport not in [each.transport for each in virtio.opened()]
        server.lies = {}
        virtio.P9(server.transport).deinit()


def test_without_an_answer_the_share_begins_anew():
    for name in REQUESTS.values():
        if name in ("version", "attach", "clunk"):
            continue
        with Mounted() as (p9, server):
            kept = open("/fake/f")
            server.silent = (name,)
            raises(OSError, use, p9)
            server.silent = ()
            raises(OSError, kept.read)  # the server has forgotten it
            kept.close()
            use(p9)
            assert server.fids == {0: None}


def test_clunks_without_an_answer_are_a_timeout():
    with Mounted() as (p9, server):
        server.silent = ("clunk",)
        raises(Timeout, many, p9)
        server.silent = ()
        use(p9)


def many(p9):
    import os

    for _ in range(100):
        os.stat("/fake/f")


def test_a_file_far_out_is_read_where_it_is():
    far = 0x1_2345_6789
    seen = []

    class Far(Server):
        def read(self, m):
            seen.append(unpack_from("<Q", m, 11)[0])
            return pack("<I", 0)

    with Mounted(Far()) as (p9, server):
        with open("/fake/f", "rb") as f:
            words = f.handle()
            words[2], words[3] = far & 0xFFFFFFFF, far >> 32
            assert p9.file_read(words, bytearray(10)) == 0
    assert seen == [far]


def test_a_task_that_is_cancelled_leaves_its_tag_to_the_server():
    with Mounted() as (p9, server):
        tags = []

        async def main():
            f = open("/fake/f", "rb")
            p9._tag = 0x7FFF  # the next one is the first again
            held = server.serve
            server.device.on_notify = lambda idx: None
            for _ in range(3):
                task = asyncio.create_task(p9.areadinto(f, bytearray(4)))
                await asyncio.sleep_ms(0)
                tags.append(set(p9._tags))
                task.cancel()
                try:
                    await task
                except asyncio.CancelledError:
                    pass
            server.device.on_notify = held
            assert await p9.areadinto(f, bytearray(4)) == 4
            f.close()

        asyncio.run(main())
        assert len(tags[2]) == 3 and {0x7FFF, 64, 65} == tags[2], tags
        gc.collect()
