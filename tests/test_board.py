# SPDX-License-Identifier: MIT
"""The board seen from outside: its console, its clock, its power, its faults."""

import errno
import os
import random
import subprocess
import time
from pathlib import Path

import pytest
from conftest import INTERFACES
from emulator import Raised

ENDLESS = {
    "running": "while True:\n    pass",
    "sleeping": "import time\ntime.sleep(1000)",
    "in asyncio": "import asyncio\nasync def main(): await asyncio.sleep(1000)\nasyncio.run(main())",
    "waiting for an interrupt": "import board\nboard.Interrupt(200).wait()",
    "waiting for input": "import sys\nsys.stdin.read(1)",
}
IDLE = ENDLESS | {"at the prompt": None}
del IDLE["running"]


@pytest.fixture
def board(start):
    board = start(more=["-uuid", "00112233-4455-6677-8899-aabbccddeeff"])
    board.wait_for_prompt()
    return board


def result(board, seconds=30):
    """Return what that code printed, when it has ended."""
    with board.deadline(seconds, "code on the board"):
        output, error = board.transport.follow(timeout=None)
    assert not error, error.decode()
    return output.decode().replace("\r\n", "\n")


def wait_for_output(board, text):
    with board.deadline(30, f"waiting for {text!r}"):
        board.transport.read_until(1, text, timeout=None)


# Time


def test_the_time_is_right_from_boot(board):
    before = time.time()
    of_board = float(board.exec("import time; print(time.time())"))
    assert int(before) <= of_board <= time.time()
    fields = board.exec("import time; print(time.gmtime()[:5] == time.localtime()[:5])")
    assert fields == "True\n"


def test_unique_id_is_the_uuid(board):
    id = board.exec("import machine; print(machine.unique_id().hex())")
    assert id == "00112233445566778899aabbccddeeff\n"


# Entropy


def test_without_an_entropy_device_urandom_raises_and_random_still_works(start):
    board = start(entropy=False)
    board.wait_for_prompt()
    code = "import os\ntry: os.urandom(4)\nexcept OSError as error: print(error.errno)"
    assert int(board.exec(code)) == errno.ENODEV
    draws = [board.exec("import random; random.seed(); print(random.random())") for _ in range(2)]
    assert draws[0] != draws[1]


@INTERFACES
def test_random_is_seeded_by_what_the_entropy_device_gives(start, tmp_path, modern):
    """The device gives what is in a file: the same file twice, then another."""
    source = tmp_path / "source"

    def first_draw(seed):
        source.write_bytes(random.Random(seed).randbytes(1 << 16))
        more = ["-object", f"rng-random,id=source,filename={source}"]
        more += ["-device", "virtio-rng-device,rng=source"]
        board = start(modern=modern, entropy=False, more=more)
        board.wait_for_prompt()
        return board.exec("import random; print(random.getrandbits(32))")

    first = first_draw(1)
    assert first_draw(1) == first != first_draw(2)


# Console


def test_stdin_is_binary_clean(board):
    data = bytes(range(256)) * 16
    board.begin(
        f"""
import micropython, sys
micropython.kbd_intr(-1)
print("ready")
data = sys.stdin.buffer.read({len(data)})
micropython.kbd_intr(3)
print(data == bytes(range(256)) * 16)
""",
    )
    wait_for_output(board, b"ready\r\n")
    board.transport.serial.write(data)
    assert result(board) == "True\n"


def test_poll_sees_input_and_no_input(board):
    board.begin(
        """
import select, sys
poll = select.poll()
poll.register(sys.stdin, select.POLLIN)
print(len(poll.poll(0)), "ready")
print(len(poll.poll()), sys.stdin.read(1), len(poll.poll(10)))
""",
    )
    wait_for_output(board, b"0 ready\r\n")
    board.transport.serial.write(b"x")
    assert result(board) == "1 x 0\n"


def test_asyncio_reads_lines_while_it_does_something_else(board):
    board.begin(
        """
import asyncio, sys
async def count():
    global counted
    counted = 0
    while True:
        await asyncio.sleep_ms(1)
        counted += 1
async def main():
    asyncio.create_task(count())
    reader = asyncio.StreamReader(sys.stdin)
    print("ready")
    print(await reader.readline(), await reader.readline(), counted > 10)
asyncio.run(main())
""",
    )
    wait_for_output(board, b"ready\r\n")
    time.sleep(0.2)
    board.transport.serial.write(b"one\n")
    time.sleep(0.2)
    board.transport.serial.write(b"two\n")
    assert result(board) == "b'one\\n' b'two\\n' True\n"


SLEEPING_CALLBACK = """
import machine, select, sys, time
def callback(timer):
    print("<")
    time.sleep_ms(500)
    print(">")
"""
READERS = {
    "input": "print('got', input())",
    "sys.stdin.read": "print('got', sys.stdin.read(4))",
    "poll": "p = select.poll(); p.register(sys.stdin, 1); p.poll(); print('got', sys.stdin.read(4))",
    "asyncio": """
import asyncio
async def main(): print('got', await asyncio.StreamReader(sys.stdin).readline())
asyncio.run(main())
""",
}


@pytest.mark.parametrize("reader", READERS)
def test_what_is_typed_while_a_callback_sleeps_is_read(board, reader):
    once = "machine.Timer(mode=machine.Timer.ONE_SHOT, period=100, callback=callback)\n"
    board.begin(SLEEPING_CALLBACK + once + READERS[reader])
    wait_for_output(board, b"<")
    time.sleep(0.1)
    board.transport.serial.write(b"abc\r\n")
    assert "abc" in result(board, 10).partition("got")[2]


def test_a_line_typed_while_a_callback_sleeps_is_answered(board):
    board.exec(SLEEPING_CALLBACK)
    board.disconnect()
    for _ in range(3):
        board.type(
            "t = machine.Timer(mode=machine.Timer.ONE_SHOT, period=200, callback=callback)\r"
        )
        board.wait_for("<\r\n")
        time.sleep(0.1)
        board.type("6 * 7\r")
        board.wait_for("42\r\n", 10)


WAITS = {
    "sleep": "time.sleep(30)",
    "Interrupt.wait": "board.Interrupt(201).wait(30000)",
    "poll": "select.poll().poll(30000)",
    "stdin": "sys.stdin.read(1)",
}


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_while_a_handler_waits_reaches_the_program_and_leaves_the_handler(board, wait):
    board.exec(f"""
import board, machine, select, sys, time
waiting = True
def handler(line):
    global calls
    calls += 1
    if waiting:
        print("waiting")
        {WAITS[wait]}
line = board.Interrupt(200)
line.irq(handler)
""")
    for turn in range(3):
        board.begin("calls = 0\nmachine.mem32[0x08000218] = 1 << 8\nwhile True: pass")
        wait_for_output(board, b"waiting\r\n")
        board.transport.serial.write(b"\x03")
        with board.deadline(10, "Ctrl-C"):
            output, error = board.transport.follow(timeout=None)
        assert error.endswith(b"KeyboardInterrupt: \r\n") and b"Traceback" not in output
    code = "waiting, calls = False, 0\nmachine.mem32[0x08000218] = 1 << 8\n"
    assert board.exec(code + "while not calls: machine.idle()\nprint(calls)") == "1\n"


def test_ctrl_c_stops_whatever_runs(board):
    for code in ENDLESS.values():
        board.begin(code)
        time.sleep(0.1)
        board.transport.serial.write(b"\x03")
        with board.deadline(10, "Ctrl-C"):
            _, error = board.transport.follow(timeout=None)
        assert b"KeyboardInterrupt" in error
    assert board.exec("print(6 * 7)") == "42\n"


UNINTERRUPTIBLE = {
    "native": """
@micropython.native
def f():
    n = 0
    while True:
        n += 1
f()
""",
    "viper": """
@micropython.viper
def f():
    n: int = 0
    while True:
        n += 1
f()
""",
    "assembler": """
@micropython.asm_thumb
def f():
    push({r4})
    label(loop)
    b(loop)
f()
""",
    "sum": "sum(range(10 ** 9))",
    "max": "max(range(10 ** 9))",
    "all": "all(range(1, 10 ** 9))",
    "re": "import re; re.match('a?' * 28 + 'a' * 28, 'a' * 28)",
    "native in a handler": """
import micropython
@micropython.native
def f(_):
    while True:
        pass
micropython.schedule(f, None)
while True: pass
""",
}


def insist(board):
    for _ in range(3):
        time.sleep(0.1)
        board.transport.serial.write(b"\x03")
    with board.deadline(20, "Ctrl-C"):
        return board.transport.follow(timeout=None)


@pytest.mark.parametrize("what", UNINTERRUPTIBLE)
def test_a_third_ctrl_c_stops_what_looks_for_none(board, what):
    for _ in range(5):
        board.begin("print('running')\n" + UNINTERRUPTIBLE[what])
        wait_for_output(board, b"running\r\n")
        _, error = insist(board)
        assert error.endswith(b"KeyboardInterrupt: \r\n"), error
    assert board.exec("import gc; gc.collect(); print(6 * 7)") == "42\n"
    board.exec("import time; time.sleep_ms(10)")  # none of them comes late


def test_two_ctrl_c_stop_no_native_code(board):
    board.exec("""
import time
@micropython.native
def f(turns):
    n = 0
    while n < turns:
        n += 1
    return n
def waited():
    before = time.ticks_ms()
    try:
        time.sleep(10)
    except KeyboardInterrupt:
        pass
    return time.ticks_diff(time.ticks_ms(), before)
""")
    turns, waited = 1_000_000, "10"
    while int(waited) > 5:  # milliseconds: this host had pressed them too late for f()
        turns *= 2
        assert turns < 1 << 28
        board.begin(f"n = f({turns})\nms = waited()\nprint(n, ms)")
        board.transport.serial.write(b"\x03\x03")
        n, waited = result(board, 60).split()
        assert int(n) == turns


COLLECTIONS = """
import gc
tree = None
for n in range(400_000):
    tree = (tree, bytearray(8)) if n % 50 else None, [n]
@micropython.native
def collect():
    print("running")
    n = 0
    while n < 1000:
        gc.collect()
        n += 1
collect()
"""


def test_insisting_cuts_no_collection(board):
    # In the loop between the collections it is cut; in them it never is, or the heap would show it.
    for _ in range(3):
        board.begin(COLLECTIONS)
        wait_for_output(board, b"running\r\n")
        _, error = insist(board)
        assert error.endswith(b"KeyboardInterrupt: \r\n"), error
        board.exec(
            "import gc; gc.collect(); [bytearray(100) for _ in range(10_000)]; gc.collect()"
        )
        assert board.exec("print(gc.isenabled())") == "True\n"


def test_insisting_cuts_no_block_operation(board):
    board.begin(
        """
import os, vfs
cut = 0
class Ram:
    def __init__(self):
        self.data = bytearray(512 * 200)
    @micropython.native
    def spin(self):
        n = 0
        while n < 3_000_000:
            n += 1
    def readblocks(self, n, buf, off=0):
        buf[:] = memoryview(self.data)[n * 512 + off : n * 512 + off + len(buf)]
    def writeblocks(self, n, buf, off=0):
        global cut
        try:
            if slow:
                self.spin()
            self.data[n * 512 + off : n * 512 + off + len(buf)] = buf
        except KeyboardInterrupt:
            cut += 1
            raise
    def ioctl(self, op, arg):
        return {4: 200, 5: 512, 6: 0}.get(op)
slow = False
disk = Ram()
vfs.VfsLfs2.mkfs(disk)
vfs.mount(disk, "/ram")
print("running")
slow = True
for n in range(10_000):
    with open("/ram/f%d" % (n % 5), "w") as f:
        f.write("%d" % n)
""",
    )
    wait_for_output(board, b"running\r\n")
    _, error = insist(board)
    assert error.endswith(b"KeyboardInterrupt: \r\n"), error
    assert board.exec("slow = False; print(cut)") == "0\n"
    board.exec(
        "vfs.umount('/ram'); vfs.mount(disk, '/ram')\n"
        "for name in os.listdir('/ram'): open('/ram/' + name).read()"
    )


@pytest.mark.parametrize("kib", [16, 20, 64])
def test_ctrl_c_is_seen_behind_what_was_typed_ahead(board, kib):
    board.begin("print('running')\nwhile True: pass")
    wait_for_output(board, b"running\r\n")
    with board.deadline(60, "typing ahead"):
        board.transport.serial.write(b"x" * (kib << 10) + b"\x03")
    with board.deadline(30, "Ctrl-C"):
        _, error = board.transport.follow(timeout=None)
    assert b"KeyboardInterrupt" in error
    assert board.exec("print(6 * 7)") == "42\n"  # and not what was typed for that program


def test_what_is_typed_ahead_is_kept_for_a_program_that_reads_it(board):
    data = b"".join(b"%07d\n" % n for n in range(80 << 10))
    board.begin(
        f"""
import sys, time
print("sleeping")
time.sleep(2)
good = 0
for n in range({len(data) // 8}):
    good += sys.stdin.buffer.read(8) == b"%07d\\n" % n
print(good)
""",
    )
    wait_for_output(board, b"sleeping\r\n")
    with board.deadline(60, "typing ahead"):  # more than the board keeps: the sender is held up
        board.transport.serial.write(data)
    assert result(board, 60) == f"{len(data) // 8}\n"


@pytest.mark.parametrize("end", ["", "\nraise ValueError"])
def test_a_program_that_leaves_interrupts_off_leaves_the_console(board, end):
    said = "The program left interrupts off; they are on again.\n"
    off = "import machine\nstate = machine.disable_irq()" + end
    if end:
        with pytest.raises(Raised, match="(?s)on again.*ValueError"):
            board.exec(off)
    else:
        assert board.exec(off) == said
    assert board.exec("import time; time.sleep_ms(1); print(6 * 7)") == "42\n"
    board.disconnect()
    board.type("state = machine.disable_irq()\r")
    board.wait_for(said.strip())
    board.type("6 * 7\r")
    board.wait_for("42\r\n", 10)
    board.type("state = machine.disable_irq(); machine.soft_reset()\r")
    board.wait_for(said.strip())
    board.wait_for_prompt()
    board.type("6 * 7\r")
    board.wait_for("42\r\n", 10)


def test_main_py_that_leaves_interrupts_off_leaves_the_prompt(start, fat_disk):
    board = start(disks=[fat_disk({"main.py": b"import machine\nmachine.disable_irq()\n"})])
    board.wait_for("on again.")
    board.wait_for_prompt()
    board.type("6 * 7\r")
    board.wait_for("42\r\n", 10)


def test_raw_paste_of_256_kib(board):
    line = "".join(chr(33 + n % 90) for n in range(255)).replace("'", " ").replace("\\", " ")
    script = (
        "lines = '''"
        + f"{line}\n" * 1024
        + "'''\nprint(len(lines), len(set(lines.split('\\n'))))\n"
    )
    assert len(script) > 256 * 1024
    assert board.exec(script) == f"{256 * 1024} 2\n"  # the line, and what follows the last one


def test_help_lists_the_modules(board):
    words = board.exec("help('modules')").split()
    assert {"board", "machine", "asyncio/__init__", "virtio/__init__", "vfs", "select"} <= set(
        words
    )


# Soft reset

IN_FLIGHT = """
import struct, virtio
from virtio import Block, Rng
disk, rng = Block(0), Rng(0)
rng.read(16)  # what it gives at once
buffers = []
for n in range(16):
    header, data, status = struct.pack("<IIQ", 0, 0, 64 * n), bytearray(4096), bytearray(1)
    buffers.append(data)
    disk.queues[0].add((header,), (data, status))
for n in range(8):
    buffers.append(bytearray(65536))
    rng.queues[0].add((), (buffers[-1],))
disk.transport.notify(0)
rng.transport.notify(0)
print(disk.queues[0].can_pop() + rng.queues[0].can_pop())
"""
FILL = """
import gc, time
whole = b"\\x5a" * (4 << 20)
gc.disable()
pieces, reserve = [], bytearray(16 << 10)
for size in (4 << 20, 64 << 10, 2 << 10):
    pattern = whole[:size]
    try:
        while True:
            pieces.append(bytearray(pattern))
    except MemoryError:
        pass
time.sleep(3)
reserve = None
gc.collect()
filled = sum(len(piece) for piece in pieces)
print(filled, sum(piece == memoryview(whole)[: len(piece)] for piece in pieces) == len(pieces))
"""


def test_an_exception_restores_what_its_catchers_keep_in_registers(board):
    # The parser of floats uses more of the FPU's registers than MicroPython's exceptions restore.
    board.exec("for _ in range(10):\n try: complex('1+2j+3')\n except ValueError: pass")
    board.soft_reset()
    board.connect()
    assert board.exec("a = 1\nprint(globals()['a'])").strip() == "1"


@pytest.mark.parametrize("modern, how", [(False, "Ctrl-D"), (True, "machine.soft_reset")])
def test_a_soft_reset_leaves_no_device_writing(start, tmp_path, modern, how):
    """Both devices answer late: ten requests a second, 16 bytes every second."""
    image = tmp_path / "slow.img"
    image.write_bytes(b"\xaa" * (1 << 20))
    board = start(
        modern=modern,
        entropy=False,
        memory="64M",
        more=[
            *("-drive", f"if=none,id=slow,format=raw,file={image},throttling.iops-total=10"),
            *("-device", "virtio-blk-device,drive=slow"),
            *("-object", "rng-random,id=source,filename=/dev/urandom"),
            *("-device", "virtio-rng-device,rng=source,max-bytes=16,period=1000"),
        ],
    )
    board.wait_for_prompt()
    board.exec(IN_FLIGHT)
    if how == "Ctrl-D":
        board.soft_reset()
    else:
        board.begin("import machine; machine.soft_reset()")
        wait_for_output(board, b"raw REPL; CTRL-B to exit\r\n")
    filled, unchanged = board.exec(FILL, 60).split()
    assert int(filled) > 44 << 20 and unchanged == "True"


def test_a_soft_reset_ends_timers_and_handlers(board):
    board.exec("""
import board, machine
line = board.Interrupt(200)
line.irq(lambda line: print("handler"))
timer = machine.Timer(period=1, callback=lambda timer: print("timer"))
""")
    board.soft_reset()
    output = board.exec("""
import board, machine, time
machine.mem32[0x08000218] = 1 << 8  # the line becomes pending
time.sleep_ms(50)
print(board.Interrupt(200).wait(50))
""")
    # Enabled by wait(), it fires: without a handler, since nobody has given it one.
    assert output == "True\n"


def test_many_ctrl_c_and_ctrl_d_leave_the_memory_as_it_was(board):
    def free():
        return int(board.exec("import gc; gc.collect(); gc.collect(); print(gc.mem_free())"))

    board.soft_reset()
    before = free()
    board.disconnect()
    for _ in range(int(os.environ.get("CYCLES", 30))):
        board.type("x = bytearray(100000)\r\x03\x04")
        board.wait_for("soft reboot")
        board.wait_for_prompt()
    board.soft_reset()
    assert free() == before


# Faults that cannot be undone


def test_an_undefined_instruction_is_reported_and_resets(board):
    board.exec("@micropython.asm_thumb\ndef undefined():\n    data(2, 0xde00)\n")
    board.disconnect()
    board.type("undefined()\r")
    report = board.wait_for("reset\r\n")
    assert "FATAL: undefined instruction at 0x" in report and "cpsr 0x" in report
    board.wait_for_prompt()
    assert board.exec("import machine; print(machine.reset_cause() == machine.FAULT_RESET)") == (
        "True\n"
    )


def test_a_fault_in_a_hard_handler_is_reported_and_the_board_goes_on(board):
    board.exec("""
import board, machine
line = board.Interrupt(200)
line.irq(lambda line: machine.mem32[0x0b000000], hard=True)
""")
    board.disconnect()
    board.type("machine.mem32[0x08000218] = 1 << 8\r")
    board.wait_for("OSError: [Errno 14] EFAULT: 0x0b000000")
    board.type("print(6 * 7)\r")
    board.wait_for("42\r\n")


def test_reset_cause_tells_a_reset_from_power_on(board):
    cause = "import machine; print(machine.reset_cause() == machine.%s)"
    assert board.exec(cause % "PWRON_RESET") == "True\n"
    board.disconnect()
    for call, name in (("reset()", "HARD_RESET"), ("deepsleep(10)", "DEEPSLEEP_RESET")):
        board.type(f"import machine; machine.{call}\r")
        board.wait_for("slot 31")
        board.wait_for_prompt()
        assert board.exec(cause % name) == "True\n"
        board.disconnect()


# Idle


def cpu_seconds(process):
    """How long QEMU's threads have run so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("doing", IDLE)
def test_a_board_that_waits_takes_no_cpu(board, doing):
    if IDLE[doing]:
        board.begin(IDLE[doing])
    time.sleep(0.5)
    before = cpu_seconds(board.process)
    time.sleep(2)
    # One that spins takes all of the time; 3 % would be 0.06 s, which a busy host may blur.
    assert cpu_seconds(board.process) - before < 0.4
