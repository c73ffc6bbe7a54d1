"""What Python code can do wrong ends in an exception, a hundred times over."""

import gc
import json
import sys
import time

import board
import machine
import micropython
import pytest
import uctypes
import vfs
import virtio
from check import raises
from machine import mem8, mem16, mem32

pytestmark = pytest.mark.board(interface=("modern",))
TIMES = 100
EFAULT = 14

NOTHING = 0x0B000000
PAGE_0 = 0x00000010
FLASH = 0x00100000
TEXT = 0x40400000
DEVICE_TREE = 0x40000000
EFAULT_OR_NO_MEMORY = (OSError, MemoryError)
RAM_END = 0x40000000 + (128 << 20)
SPARE_LINE = 200
SET_PENDING = 0x08000200 + SPARE_LINE // 32 * 4  # GICD_ISPENDR


def faults(function, address, *args):
    """The function raises OSError(EFAULT) that names the address; every time."""
    for _ in range(TIMES):
        error = raises(OSError, function, address, *args, errno=EFAULT)
        assert error.args[1] == "0x%08x" % address, error.args


def read8(address):
    return mem8[address]


def read32(address):
    return mem32[address]


def write16(address):
    mem16[address] = 1


def write32(address):
    mem32[address] = 1


@micropython.viper
def viper_write(address: int):
    ptr32(address)[0] = 1


@micropython.viper
def viper_read(address: int) -> int:
    return ptr8(address)[0]


def test_reading_where_nothing_is():
    faults(read8, NOTHING)
    faults(read32, NOTHING)
    faults(viper_read, NOTHING)
    faults(lambda address: uctypes.bytearray_at(address, 4)[0], NOTHING)
    faults(lambda address: bytes(uctypes.bytearray_at(address, 4)), NOTHING)


def test_writing_where_nothing_is():
    faults(write16, NOTHING)
    faults(write32, NOTHING)
    faults(viper_write, NOTHING)


def test_a_field_of_a_struct_where_nothing_is():
    layout = {"field": 4 | uctypes.UINT32}

    def read(address):
        return uctypes.struct(address - 4, layout).field

    def write(address):
        uctypes.struct(address - 4, layout).field = 1

    faults(read, NOTHING)
    faults(write, NOTHING)


def test_page_0():
    faults(read32, PAGE_0)
    faults(write32, PAGE_0)
    faults(viper_read, 0)


def test_writing_what_is_read_only():
    for address in (FLASH, TEXT, DEVICE_TREE):
        before = mem32[address]
        faults(write32, address)
        faults(viper_write, address)
        assert mem32[address] == before


def test_a_fault_in_a_scheduled_function_is_printed():
    for _ in range(TIMES):
        micropython.schedule(read32, NOTHING)
        machine.idle()
    faults(read32, NOTHING)


def test_recursion_in_python():
    def recurse(n):
        return recurse(n + 1) + 1

    for _ in range(TIMES):
        raises(RuntimeError, recurse, 0)


def test_recursion_in_c():
    nested = []
    for _ in range(100_000):
        nested = [nested]
    for _ in range(TIMES):
        raises(RuntimeError, json.dumps, nested)
        raises(RuntimeError, repr, nested)
    while nested:
        nested[0], nested = None, nested[0]


def test_recursion_in_native_code():
    @micropython.native
    def recurse(n):
        return recurse(n + 1) + 1

    for _ in range(TIMES):
        raises(RuntimeError, recurse, 0)


class RamDisk:
    def __init__(self, blocks):
        self.data = bytearray(blocks * 512)

    def readblocks(self, block, buf):
        buf[:] = memoryview(self.data)[block * 512 : block * 512 + len(buf)]

    def writeblocks(self, block, buf):
        self.data[block * 512 : block * 512 + len(buf)] = buf

    def ioctl(self, op, arg):
        return {4: len(self.data) // 512, 5: 512}.get(op, 0)


NESTED = (
    ("(", "1", ")"),
    ("[", "1", "]"),
    ("{1: ", "1", "}"),
    ("not ", "1", ""),
    ("-", "1", ""),
    ("lambda: ", "1", ""),
    ("", "x", ".x"),
    ("", "x", "[0]"),
    ("", "x", "()"),
    ("x(", "1", ")"),
    ("x ** ", "1", ""),
    ("1 if x else ", "1", ""),
    ("[", "1", " for x in x]"),
    ("x(*", "x", ")"),
)
TOO_DEEP_OR_NOT = (RuntimeError, MemoryError, SyntaxError, TypeError, NameError, AttributeError)


def import_text(text):
    with open("/ram/nested.py", "w") as file:
        file.write("x = 0\ny = " + text)
    sys.modules.pop("nested", None)
    import nested  # noqa: F401


def compile_native(text):
    exec("@micropython.native\ndef f(x):\n return " + text)


def compile_viper(text):
    exec("@micropython.viper\ndef f(x):\n return " + text)


def evaluate(text):
    eval(text, {"x": 0})


def execute(text):
    exec("y = " + text, {"x": 0})


def check_sanity():
    gc.collect()
    text = str(bytes(range(256))) * 100
    with open("/ram/sane.txt", "w") as file:
        file.write(text)
    with open("/ram/sane.txt") as file:
        assert file.read() == text
    names = {}
    exec("def f(x):\n return [x + n for n in range(5)]", names)
    assert names["f"](1) == [1, 2, 3, 4, 5]
    assert __name__ in sys.modules


@pytest.mark.timeout(300)
def test_source_nested_however_deep_is_compiled_or_raises():
    disk = RamDisk(8192)
    vfs.VfsFat.mkfs(disk)
    vfs.mount(vfs.VfsFat(disk), "/ram")
    sys.path.insert(0, "/ram")
    try:
        ways = (execute, evaluate, import_text, compile_native, compile_viper)
        for before, middle, after in NESTED:
            for depth, times in ((100, 2), (5000, 1)):
                text = before * depth + middle + after * depth
                for way in ways:
                    for _ in range(times):
                        try:
                            way(text)
                        except TOO_DEEP_OR_NOT:
                            pass
            check_sanity()
        for before, middle, after in NESTED[:1] + NESTED[3:5]:
            try:
                execute(before * 60_000 + middle + after * 60_000)
            except RuntimeError:
                pass
        check_sanity()
    finally:
        sys.path.pop(0)
        vfs.umount("/ram")


def deep(depth, make=lambda x: (x,)):
    nested = make(0)
    for _ in range(depth):
        nested = make(nested)
    return nested


def undo(nested):
    while nested:
        nested = nested[0]


def test_an_interrupt_at_any_depth_of_the_stack():
    """Timer and hard handler come while C code is at the very end of the stack, or beyond."""
    counts = [0, 0]

    def tick(timer):
        counts[0] += 1

    def hard(line):
        counts[1] += 1

    line = board.Interrupt(SPARE_LINE)
    line.irq(hard, trigger=line.RISING, hard=True)
    timer = machine.Timer(period=1, callback=tick)
    try:
        for depth in (3000, 5000, 6000, 20_000):
            nested = deep(depth)
            end = time.ticks_add(time.ticks_ms(), 2500)
            while time.ticks_diff(end, time.ticks_ms()) > 0:
                before = counts[1]
                mem32[SET_PENDING] = 1 << SPARE_LINE % 32
                assert counts[1] == before + 1
                try:
                    hash(nested)
                except RuntimeError:
                    pass
            undo(nested)
    finally:
        timer.deinit()
        line.irq(None)
    assert counts[0] > 100 and counts[1] > 100


class RecursiveDisk(RamDisk):
    writes = 0
    recursion = None

    def writeblocks(self, block, buf):
        self.writes += 1
        if self.recursion is not None:
            hash(self.recursion)
        self.data[block * 512 : block * 512 + len(buf)] = buf


@pytest.mark.timeout(180)
def test_a_collection_and_finalisers_at_any_depth_of_the_stack():
    """A finaliser's own recursion is its error, and is printed; the collection goes on."""
    nested = deep(20_000)

    def drop_file(number):
        open("/ram/%d" % number, "w").write("never closed")

    def recurse(n):
        if n < 10:
            drop_file(n)
        if n % 16 == 0:
            gc.collect()
        recurse(n + 1)

    @micropython.native
    def recurse_native(n):
        if n % 16 == 0:
            gc.collect()
        return recurse_native(n + 1)

    disk = RecursiveDisk(4096)
    vfs.VfsFat.mkfs(disk)
    vfs.mount(vfs.VfsFat(disk), "/ram")
    try:
        raises(RuntimeError, recurse, 0)
        for start in range(4):
            raises(RuntimeError, recurse_native, start)
        for number in range(1000, 1005):
            drop_file(number)
        disk.recursion = nested
        disk.writes = 0
        gc.collect()
        assert disk.writes > 0
    finally:
        vfs.umount("/ram")
    gc.collect()
    undo(nested)


def test_faults_with_interrupts_disabled():
    nested = deep(20_000)
    for _ in range(TIMES):
        state = machine.disable_irq()
        try:
            raises(OSError, read32, NOTHING, errno=EFAULT)
            raises(RuntimeError, hash, nested)
        finally:
            machine.enable_irq(state)
    time.sleep_ms(2)
    undo(nested)


def test_faults_in_a_hard_handler():
    nested = deep(20_000)
    caught = [0, 0]

    def handler(line):
        try:
            viper_read(NOTHING)
        except EFAULT_OR_NO_MEMORY:
            caught[0] += 1
        try:
            hash(nested)
        except RuntimeError:
            caught[1] += 1

    line = board.Interrupt(SPARE_LINE)
    line.irq(handler, trigger=line.RISING, hard=True)
    for _ in range(TIMES):
        mem32[SET_PENDING] = 1 << SPARE_LINE % 32
    assert caught == [TIMES, TIMES]
    # One that does not catch it is removed, and that is all.
    for fault in (lambda line: viper_read(NOTHING), lambda line: hash(nested)):
        line.irq(fault, trigger=line.RISING, hard=True)
        mem32[SET_PENDING] = 1 << SPARE_LINE % 32
    line.irq(None)
    time.sleep_ms(2)
    undo(nested)


def test_a_fault_in_source_is_raised_where_it_is_compiled():
    """The source ends with the memory, after its first part was parsed."""
    first = RAM_END - 64
    for address in range(first, RAM_END, 4):
        mem32[address] = 0x2020202B  # "+   "
    for run in (exec, eval):
        for _ in range(TIMES):
            raises(OSError, run, uctypes.bytearray_at(first, 100), errno=EFAULT)


def test_out_of_memory():
    for _ in range(TIMES):
        raises(MemoryError, bytearray, 1 << 29)
        raises(MemoryError, lambda: [None] * (1 << 27))
    blocks = []
    try:
        while True:
            blocks.append(bytearray(1 << 23))
    except MemoryError:
        pass
    assert len(blocks) > 8
    blocks = None
    gc.collect()
    assert len(bytearray(1 << 22)) == 1 << 22


def test_the_heap_locked():
    def allocate():
        micropython.heap_lock()
        try:
            return bytearray(100)
        finally:
            micropython.heap_unlock()

    for _ in range(TIMES):
        raises(MemoryError, allocate)


def test_everything_else_goes_on():
    rng = virtio.Rng(0)
    disk = virtio.Block(0)
    sector = bytearray(512)
    for n in range(TIMES):
        raises(OSError, read32, NOTHING, errno=EFAULT)
        assert len(rng.read(16)) == 16
        disk.readblocks(n, sector)
        assert sector[0] == n and sector[508] == n
    rng.deinit()
    disk.deinit()
    assert sys.platform == "qemu_virt"
