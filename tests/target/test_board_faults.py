"""What Python code can do wrong ends in an exception, a hundred times over."""

import gc
import json
import sys

import uctypes
import virtio
from check import raises
from machine import mem8, mem16, mem32

CONFIGS = ("modern",)
TIMES = 100
EFAULT = 14

NOTHING = 0x0B000000
PAGE_0 = 0x00000010
FLASH = 0x00100000
TEXT = 0x40200000
DEVICE_TREE = 0x40000000


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
    import machine
    import micropython

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
    import micropython

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
