"""Random steps against a simple model of the queue, with a device from correct to malicious.

The model is what a user may rely on: which chains are with the device, in what order their
completions came, how many descriptors are free. After every step the queue must agree with it,
and no byte outside a chain's writable buffers may have changed. A device that breaks the
protocol must end in DeviceFault at once or never be believed; `reset` then brings all back.
"""

import gc
from random import getrandbits, randint, seed

import fake
import virtio
from virtio import DeviceFault, NotReady, QueueFull, Timeout, WrongToken
from virtio.transport import mmio

FORMS = [(r, i, e) for r in ("legacy", "split", "packed") for i in (0, 1) for e in (0, 1)]
SIZES = (1, 2, 4, 8, 16)
TABLE_LEN = 10  # a word of the queue's private array: entries in an indirect table, or 0
GUARD = 8  # bytes on either side of a writable buffer, that nobody may write


class Chain:
    """What the model knows of one: its buffers, with a guard around the writable ones."""

    def __init__(self):
        readable, writable = randint(0, 2), randint(0, 3)
        if readable + writable == 0:
            readable = 1
        self.inputs = [bytes([getrandbits(8)] * randint(1, 20)) for _ in range(readable)]
        self.blocks = [bytearray(2 * GUARD + randint(1, 20)) for _ in range(writable)]
        self.outputs = [memoryview(block)[GUARD:-GUARD] for block in self.blocks]
        self.written = 0

    def __len__(self):
        return len(self.inputs) + len(self.outputs)

    def check_guards(self):
        for block in self.blocks:
            assert block[:GUARD] == bytes(GUARD) and block[-GUARD:] == bytes(GUARD), "a guard"


class Broken(Exception):
    """The device has broken the protocol; the next look at the queue must say so."""


class Run:
    """One queue, its device and its model, until the queue breaks or is reset."""

    def __init__(self, form, size):
        self.ring, indirect, event_idx = form
        self.size = size
        version = 1 if self.ring == "legacy" else 2
        self.transport = fake.FakeTransport(version=version, queue_max=(size,))
        self.transport.add_status(mmio.DRIVER_OK)
        self.kind = virtio.PackedVirtQueue if self.ring == "packed" else virtio.VirtQueue
        self.arguments = (bool(indirect), bool(event_idx))
        self.start()

    def start(self):
        self.queue = self.kind(self.transport, 0, self.size, *self.arguments)
        packed = self.ring == "packed"
        self.device = (fake.FakePackedQueue if packed else fake.FakeQueue)(self.transport)
        self.chains = {}  # by token: all that hold descriptors
        self.taken = []  # tokens that the device has popped and not used, with their buffers
        self.used = []  # tokens used and not popped, in order
        self.orphans = set()  # of those in flight, the ones nobody waits for any more
        self.awaited = None  # the one that somebody waits for

    def cost(self, chain):
        return 1 if 1 < len(chain) <= self.queue._state[TABLE_LEN] else len(chain)

    def free(self):
        return self.size - sum([self.cost(chain) for chain in self.chains.values()])

    def agree(self):
        # Looking first takes back the orphans that were used.
        assert self.queue.can_pop() == bool(self.used)
        assert self.queue.peek_used() == (self.used[0] if self.used else None)
        assert self.queue.available_desc() == self.free(), (self.queue, self.free())

    # Steps of the driver

    def step_add(self):
        chain = Chain()
        try:
            token = self.queue.add(chain.inputs, chain.outputs)
        except QueueFull:
            assert self.cost(chain) > self.free()
            return
        assert token not in self.chains and self.cost(chain) <= self.free()
        self.chains[token] = chain

    def step_pop(self):
        if not self.used:
            try:
                self.queue.pop_used(randint(0, self.size))
            except NotReady:
                return
            raise AssertionError("popped what was not used")
        token = self.used[0]
        wrong = randint(0, self.size)
        if wrong != token:
            try:
                self.queue.pop_used(wrong)
                raise AssertionError("popped another")
            except WrongToken:
                pass
        chain = self.chains[token]
        assert self.queue.pop_used(token, chain.inputs, chain.outputs) == chain.written
        chain.check_guards()
        self.used.pop(0)
        del self.chains[token]

    def step_notify(self):
        self.queue.should_notify()
        self.queue.set_dev_notify(bool(getrandbits(1)))
        if getrandbits(1):
            self.device.notify_never()
        elif self.ring == "packed":
            self.device.notify_at(randint(0, 2 * self.size - 1))
        else:
            self.device.notify_at(randint(0, 65535))

    def step_wait(self):
        """A chain that is waited for by itself, answered in time or too late."""
        chain = Chain()
        if self.cost(chain) > self.free():
            return
        if getrandbits(1):
            self.awaited = self.queue.submit(chain.inputs, chain.outputs)
            self.chains[self.awaited] = chain
            self.answer_all()
            assert self.queue.finished(self.awaited)
            assert self.queue.take(self.awaited) == chain.written
            del self.chains[self.awaited]
            chain.check_guards()
            self.awaited = None
            return
        try:
            self.queue.add_notify_wait_pop(chain.inputs, chain.outputs, timeout_ms=0)
            raise AssertionError("answered by nobody")
        except Timeout:
            pass
        # Its token is the one that the device sees and the model does not know.
        self.take_all()
        token = [token for token, _ in self.taken if token not in self.chains][0]
        self.chains[token] = chain
        self.orphans.add(token)

    # Steps of the device

    def take_all(self):
        while self.device.waiting:
            self.taken.append(self.device.pop())

    def step_answer(self):
        self.take_all()
        if self.taken:
            self.answer(randint(0, len(self.taken) - 1))

    def answer_all(self):
        self.take_all()
        while self.taken:
            self.answer(0)

    def answer(self, i):
        token, buffers = self.taken.pop(i)
        chain = self.chains[token]
        assert [n for _, n, w in buffers if not w] == [len(b) for b in chain.inputs]
        assert fake.readable(buffers) == b"".join(chain.inputs)
        room = sum([n for _, n, w in buffers if w])
        chain.written = left = randint(0, room)
        for address, length, writable in buffers:
            if writable and left:
                part = min(left, length)
                fake.uctypes.bytearray_at(address, part)[:] = b"\xee" * part
                left -= part
        self.device.use(token, chain.written)
        if token in self.orphans:
            self.orphans.discard(token)
            del self.chains[token]
        elif token != self.awaited:
            self.used.append(token)

    def step_scribble(self):
        self.take_all()  # what it has not read yet it would lose itself
        self.device.scribble()

    def step_lie(self):
        self.take_all()
        lie = randint(0, 3)
        room = {}
        for token, buffers in self.taken:
            room[token] = sum([n for _, n, w in buffers if w])
        in_flight = list(room)
        if self.ring == "packed" and not in_flight:
            return  # with nothing in flight a packed ring is not looked at
        if lie == 0:
            self.device.use(randint(self.size, 65535), 0)
        elif lie == 1:
            idle = [t for t in range(self.size) if t not in room]
            if not idle:
                return
            self.device.use(idle[randint(0, len(idle) - 1)], 0)
        elif lie == 2:
            if not in_flight:
                return
            token = in_flight[randint(0, len(in_flight) - 1)]
            self.device.use(token, room[token] + randint(1, 1 << 29))
        elif self.ring == "packed":
            return
        else:
            jump = randint(len(in_flight) + 1, 65535 - self.size)
            self.device.used_idx = self.device.used_idx + jump
        raise Broken

    def expect_fault(self):
        for look in (self.queue.can_pop, self.queue.peek_used, lambda: self.queue.add([b"x"], [])):
            try:
                look()
                raise AssertionError("a device that lies was believed")
            except DeviceFault:
                pass
        assert self.transport.failed and not self.queue.alive

    def step_reset(self):
        self.restart()

    def restart(self):
        for chain in self.chains.values():
            chain.check_guards()
        self.queue.deinit()
        assert not self.transport.failed
        self.start()


WEIGHTS = (
    ("step_add", 30),
    ("step_answer", 30),
    ("step_pop", 25),
    ("step_notify", 6),
    ("step_wait", 5),
    ("step_scribble", 2),
    ("step_lie", 1),
    ("step_reset", 1),
)
STEPS = [name for name, weight in WEIGHTS for _ in range(weight)]


def run(steps, first_seed):
    """So many steps, spread over all forms; the seed of a part that fails is printed."""
    parts = [(form, size) for form in FORMS for size in SIZES]
    each = -(-steps // len(parts))
    faults = 0
    for number, (form, size) in enumerate(parts):
        seed(first_seed + number)
        history = []
        part = Run(form, size)
        try:
            for _ in range(each):
                name = STEPS[randint(0, len(STEPS) - 1)]
                history.append(name)
                try:
                    getattr(part, name)()
                    part.agree()
                except Broken:
                    faults += 1
                    part.expect_fault()
                    part.restart()
        except Exception as error:
            print(
                "seed %d, form %r, size %d, step %d"
                % (first_seed + number, form, size, len(history))
            )
            print("the last steps:", history[-8:])
            raise error
        part.queue.deinit()
        gc.collect()
    return each * len(parts), faults
