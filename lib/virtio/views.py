"""Queues and devices as text, for the prompt: what lies in the rings, and what is wrong with a device.

Nothing is changed by looking.
"""

# SPDX-License-Identifier: MIT

from machine import mem16
from micropython import const
from uctypes import addressof

from . import features
from .ring.base import live
from .transport.mmio import ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK, NEEDS_RESET

# From layout.py, by `make layout`.

# The MMIO transport (4.2.2, 4.2.4).
_PAGE = const(4096)  # the unit in which a legacy device is told where a queue is

# The private array of a queue, in words. First what is one of a queue …
_DESC = const(0)  # address of the descriptor table, or of the packed ring
_AVAIL_IDX = const(6)  # what was last published as avail.idx; packed: as in packed.py
_USED_IDX = const(7)  # how far the device's answers were read
_IN_FLIGHT_COUNT = const(8)  # chains that the device owns
_DECIDED = const(12)  # 1 when that was carried out; the next add begins a new range
_EVENT_IDX = const(13)  # 1 when event indices were negotiated
_SILENT = const(14)  # 1 when the driver wants no interrupts
_DONE_COUNT = const(18)

# … then three for each descriptor …
_SHADOW = const(28)
_SHADOW_WORDS = const(3)
_CHAIN_STATE = const(1)  # of the chain that begins here

# The state word of a chain's first descriptor: the number of its buffers, and these.
_COUNT_MASK = const(0xFFFF)
_IN_FLIGHT = const(0x10000)
_HAS_TABLE = const(0x20000)
_DONE = const(0x40000)

# End of layout.py.


_INDEX = const(0xFFFF)  # indices run freely modulo 2^16
_BLOCK = const(2)
_ENTROPY = const(4)
_SHOWN_MAX = const(8)  # queues whose last picture is kept

_DESCRIPTOR_FLAGS = ((1, "NEXT"), (2, "WRITE"), (4, "INDIRECT"), (0x80, "AVAIL"), (0x8000, "USED"))
_STATUS = (
    (ACKNOWLEDGE, "ACKNOWLEDGE"),
    (DRIVER, "DRIVER"),
    (DRIVER_OK, "DRIVER_OK"),
    (FEATURES_OK, "FEATURES_OK"),
    (NEEDS_RESET, "DEVICE_NEEDS_RESET"),
    (FAILED, "FAILED"),
)
_FEATURES = (
    (24, "NOTIFY_ON_EMPTY"),
    (27, "ANY_LAYOUT"),
    (28, "INDIRECT_DESC"),
    (29, "EVENT_IDX"),
    (32, "VERSION_1"),
    (33, "ACCESS_PLATFORM"),
    (34, "RING_PACKED"),
    (35, "IN_ORDER"),
    (36, "ORDER_PLATFORM"),
    (37, "SR_IOV"),
    (38, "NOTIFICATION_DATA"),
    (39, "NOTIF_CONFIG_DATA"),
    (40, "RING_RESET"),
)
_WISHES = ("every one", "none", "at a place", "reserved")

_BOLD, _YELLOW, _NORMAL = "\x1b[1m", "\x1b[33m", "\x1b[0m"

_shown = []  # (queue, its lines) of those that were shown last


# A queue


def show(queue, colour=False):
    """Print the descriptors, rings and indices of a queue; `*` marks what changed since the last time.

    With `colour`, for a terminal that knows ANSI's, what changed is bold and what is the device's
    yellow; the board cannot tell what terminal it has. Raises `InvalidParam` for a queue that was
    given back.
    """
    lines = list(_packed_lines(queue) if queue.packed else _split_lines(queue))
    before = _remember(queue, lines)
    print(queue)
    for n, line in enumerate(lines):
        changed = n < len(before) and before[n] != line
        print("*" if changed else " ", _coloured(line, changed) if colour else line)


def _coloured(line, changed):
    marks = (_BOLD if changed else "") + (_YELLOW if line.endswith("the device's") else "")
    return marks + line + _NORMAL if marks else line


def _remember(queue, lines):
    """Keep the lines for the next time; returns those of the last."""
    before = []
    for n, (other, seen) in enumerate(_shown):
        if other is queue:
            before = seen
            _shown.pop(n)
            break
    _shown.append((queue, lines))
    if len(_shown) > _SHOWN_MAX:
        _shown.pop(0)
    return before


def _owners(queue):
    """Whose each descriptor is, by the driver's own notes."""
    state = queue._state
    owners = ["free"] * queue.size
    for token in range(queue.size):
        bits = state[_SHADOW + _SHADOW_WORDS * token + _CHAIN_STATE]
        if bits & _IN_FLIGHT:
            count = 1 if bits & _HAS_TABLE else bits & _COUNT_MASK
            owner = "used" if bits & _DONE else "the device's"
            at = token
            for _ in range(count):
                owners[at] = owner
                at = state[_SHADOW + _SHADOW_WORDS * at]
    return owners


def _split_lines(queue):
    rings, mask = queue.rings(), queue.size - 1
    avail, used = rings.avail, rings.used
    yield "descriptor table"
    for n, owner in enumerate(_owners(queue)):
        entry = rings.desc[n]
        following = "-> %d" % entry.next if entry.flags & 1 else ""
        yield "%5d  0x%08x  %6d bytes  %-14s %-5s  %s" % (
            n,
            entry.addr,
            entry.len,
            _named(entry.flags, _DESCRIPTOR_FLAGS),
            following,
            owner,
        )
    yield "available ring: flags %d, idx %d (place %d), used_event %d" % (
        avail.flags,
        avail.idx,
        avail.idx & mask,
        avail.used_event,
    )
    yield "       heads " + " ".join([str(avail.ring[n]) for n in range(queue.size)])
    yield "used ring: flags %d, idx %d (place %d), avail_event %d, read up to %d" % (
        used.flags,
        used.idx,
        used.idx & mask,
        used.avail_event,
        queue._state[_USED_IDX],
    )
    entries = ["%d:%d" % (used.ring[n].id, used.ring[n].len) for n in range(queue.size)]
    yield "       id:bytes " + " ".join(entries)


def _packed_lines(queue):
    rings, size = queue.rings(), queue.size
    state = queue._state
    yield "descriptor ring"
    for n in range(size):
        entry = rings.desc[n]
        yield "%5d  0x%08x  %6d bytes  id %-5d  %s" % (
            n,
            entry.addr,
            entry.len,
            entry.id,
            _named(entry.flags, _DESCRIPTOR_FLAGS),
        )
    for title, idx in (("next available", state[_AVAIL_IDX]), ("next used", state[_USED_IDX])):
        counter = 0 if idx & size else 1
        yield "%s: %d (place %d), wrap counter %d" % (title, idx, idx & (size - 1), counter)
    for title, event in (("driver's", rings.driver), ("device's", rings.device)):
        wish = _WISHES[event.flags & 3]
        place = ", place %d, wrap counter %d" % (event.off_wrap & 0x7FFF, event.off_wrap >> 15)
        yield "%s wish for notifications: %s%s" % (
            title,
            wish,
            place if event.flags & 3 == 2 else "",
        )
    yield "tokens: " + " ".join(
        ["%d %s" % (n, owner) for n, owner in enumerate(_owners(queue)) if owner != "free"]
    )


def _named(value, names):
    return "|".join([name for bit, name in names if value & bit]) or "-"


# A device


def diagnose(transport):
    """Print what can be seen of a device, and after a `!` what looks wrong with it or its driver."""
    print(transport)
    kind = "legacy, QEMU's default" if transport.legacy else "modern"
    print("interface  version %d (%s), interrupt %s" % (transport.version, kind, transport.intid))
    status = transport.status
    print("status     0x%02x %s" % (status, _named(status, _STATUS)))
    offered, taken = transport.read_device_features(), transport.features
    for title, bits in (("offered", offered), ("taken", taken), ("refused", offered & ~taken)):
        print("%-10s %s" % (title, _feature_names(bits)))
    queues = live(transport)
    for queue in queues:
        print("queue      %r" % queue)
    for problem in _problems(transport, status, offered, taken, queues):
        print("!", problem)


def _feature_names(bits):
    names = [name for bit, name in _FEATURES if bits >> bit & 1]
    own = [str(bit) for bit in range(24) if bits >> bit & 1]
    if own:
        names.append("its own " + ",".join(own))
    return " ".join(names) or "none"


def _problems(transport, status, offered, taken, queues):
    """What looks wrong, a sentence each, what comes first in section 3.1.1 first."""
    if status & NEEDS_RESET:
        yield "the device asks for a reset (section 2.1.2)"
    if transport.why:
        yield "it was given up: %s; reset() brings it back" % transport.why
    if not status & DRIVER:
        yield "nobody drives it: section 3.1.1 begins with a reset, ACKNOWLEDGE and DRIVER"
    elif not status & FAILED:
        if taken & ~offered:
            yield "features were taken that are not offered: " + _feature_names(taken & ~offered)
        if not transport.legacy:
            if not taken & features.VERSION_1:
                yield "VERSION_1 was not taken: a modern device need not go on without"
            if not status & FEATURES_OK:
                yield "FEATURES_OK is not set: write it, then read it back"
        if not status & DRIVER_OK:
            yield "DRIVER_OK is not set: the device does not look at its queues"
        elif not queues:
            yield "it runs without a queue"
    if transport.pending_interrupts():
        yield "interrupt %s is pending, and not acknowledged" % transport.intid
    for queue in queues:
        yield from _queue_problems(queue)


def _queue_problems(queue):
    state, name = queue._state, "queue %d: " % queue.idx
    if not queue.alive:
        yield name + "it is of before the last reset or fault"
        return
    if state[_IN_FLIGHT_COUNT]:
        told = "was notified" if state[_DECIDED] else "was not notified since the last add"
        yield name + "the device has %d chains, and %s" % (state[_IN_FLIGHT_COUNT], told)
    if state[_DONE_COUNT]:
        yield name + "%d chains are used, and wait to be popped" % state[_DONE_COUNT]
    if queue.packed:
        problems = _packed_problems(queue, queue.rings())
    else:
        problems = _split_problems(queue, queue.rings())
    for problem in problems:
        yield name + problem


def _split_problems(queue, rings):
    """Where the rings are not what the driver has noted, or what this device could use."""
    state, transport = queue._state, queue._transport
    page = transport.queue_page(queue.idx)
    if page is not None and page != state[_DESC] // _PAGE:
        yield "it is in page 0x%x, and the device was told 0x%x" % (state[_DESC] // _PAGE, page)
    if rings.avail.idx != state[_AVAIL_IDX]:
        text = "avail.idx is %d, after %d chains modulo 65536: it runs on, and its place is modulo the size"
        yield text % (rings.avail.idx, state[_AVAIL_IDX])
    elif state[_IN_FLIGHT_COUNT] < rings.avail.idx - rings.used.idx & _INDEX:
        yield "used.idx is %d, behind what was popped" % rings.used.idx
    wanted = state[_IN_FLIGHT_COUNT] and state[_EVENT_IDX] and not state[_SILENT]
    if wanted and rings.avail.used_event != state[_USED_IDX]:
        text = "used_event is %d, so the chain with the index %d does not interrupt"
        yield text % (rings.avail.used_event, state[_USED_IDX])
    if transport.device_type in (_BLOCK, _ENTROPY):
        for token in range(queue.size):
            bits = state[_SHADOW + _SHADOW_WORDS * token + _CHAIN_STATE]
            if bits & (_IN_FLIGHT | _DONE) == _IN_FLIGHT:
                problem = _chain_problem(queue, rings, token)
                if problem:
                    yield problem % token


def _chain_problem(queue, rings, token):
    """What is wrong with the way to a chain's last descriptor, or with that; or None.

    The rings may have been written to by hand: nothing is read that is not the queue's own.
    """
    entry = rings.desc[token]
    flags = entry.flags
    if flags & 4:
        at, length = entry.addr, entry.len
        if length < 16 or not _is_shared(queue, at, length):
            return "the table of chain %d is not in the queue's memory"
        flags = mem16[at + length - 4]
    else:
        left = queue.size
        while flags & 1:
            if entry.next >= queue.size:
                return "chain %%d goes on at descriptor %d, and there are %d" % (
                    entry.next,
                    queue.size,
                )
            left -= 1
            if not left:
                return "chain %d does not end"
            entry = rings.desc[entry.next]
            flags = entry.flags
    if not flags & 2:
        return "the last descriptor of chain %d is not for the device to write: flag WRITE"
    return None


def _is_shared(queue, start, length):
    """Whether the bytes from that address on are of the memory that the queue and its device share."""
    for piece in queue._shared:
        first = addressof(piece)
        if first <= start and start + length <= first + len(piece):
            return True
    return False


def _packed_problems(queue, rings):
    state, size = queue._state, queue.size
    if state[_IN_FLIGHT_COUNT]:
        idx = state[_USED_IDX]
        flags = rings.desc[idx & size - 1].flags
        counter = 0 if idx & size else 1
        available, used = bool(flags & 0x80), bool(flags & 0x8000)
        if available != counter:
            text = "place %d is not available: AVAIL is %d with the wrap counter %d"
            yield text % (idx & size - 1, available, counter)
        elif used == counter:
            yield "place %d is used, and was not looked at yet" % (idx & size - 1)
