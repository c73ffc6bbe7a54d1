# SPDX-License-Identifier: MIT
"""The command micropython-virt: a board at this terminal, or to run a program on."""

import argparse
import os
import re
import shlex
import signal
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

from . import folder, machine, session
from .board import CTRL_D, REFUSED, Raised
from .process import Ended, Faulted, Hung, NoRoom, Reset
from .terminal import LinkError, Terminal

OUTPUT, FAULT, RESET, TIME, UNUSABLE, CTRL_C_STATUS = 74, 120, 121, 124, 126, 130
LEAVE_RAW = b"\x02"  # Ctrl-B
LEAVE = b"\x1d"  # Ctrl-]
EVER = 10 * 365 * 86400

STATUS = f"""\
exit status:
  that of the program: 0 at its end, sys.exit(3) is 3, an uncaught exception is 1
  2    the command line cannot be followed, or a file is not there
  {OUTPUT}   this machine has no room for what is written, or does not take the output
  {FAULT}  the board ended in a fault
  {RESET}  the program reset the board
  {TIME}  the program took longer than --timeout
  {UNUSABLE}  there is no QEMU, or one too old, or no such MicroPython in this package
  {CTRL_C_STATUS}  Ctrl-C
"""


class Usage(Exception):
    """What was asked for cannot be done; str() says why."""


class Killed(BaseException):
    """A signal that ends the command, once it has put away what it made."""


def options(default):
    """The options that stand before a command or after it."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=default)
    add = parser.add_argument
    add("--disk", action="append", metavar="IMAGE", help="a disk image, raw; may be repeated")
    add("--memory", metavar="SIZE", help="RAM of the board (128M)")
    add("--heap", metavar="SIZE", help="free heap at the program's start, as small as 32K")
    add("--micropython", metavar="VERSION", help="a release that this package holds")
    add("--net", choices=list(machine.NETDEVS), help="a network: isolated, or the host's as well")
    add(
        "--forward",
        action="append",
        metavar="[HOST:]PORT",
        help="lead a port of this machine's 127.0.0.1 to one of the board",
    )
    add("--qemu-args", metavar="ARGS", help="more arguments for QEMU, in one word")
    add("--timeout", type=float, metavar="SECONDS", help="end a program that takes longer")
    return parser


def parser():
    main = argparse.ArgumentParser(
        prog="micropython-virt",
        parents=[options(None)],
        description="MicroPython on a board that QEMU emulates. Without a command: its REPL in "
        "this terminal. The current folder is at /host.",
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main.add_argument("--version", action=Version, nargs=0, help="say the versions, and end")
    commands = main.add_subparsers(dest="command", metavar="run FILE, -m MODULE, -c CODE, serve")

    def command(name, **words):
        return commands.add_parser(name, parents=[options(argparse.SUPPRESS)], **words)

    run = command("run", help="run a file", epilog=STATUS)
    run.formatter_class = argparse.RawDescriptionHelpFormatter
    run.add_argument("what", metavar="FILE")
    module = command("module", help="run a module")
    module.add_argument("what", metavar="MODULE")
    code = command("code", help="run a text")
    code.add_argument("what", metavar="CODE")
    for each in (run, module, code):
        each.add_argument("arguments", nargs=argparse.REMAINDER, help="its sys.argv")
    serve = command("serve", help="start a board for mpremote and the like, and say where it is")
    serve.add_argument("--link", metavar="PATH", help="a fixed name for its terminal")
    return main


class Version(argparse.Action):
    """Finds out the versions only when they are asked for, for that takes time."""

    def __call__(self, parser, namespace, values, option_string=None):
        from . import __version__

        inside = ""
        with suppress(machine.Unusable):
            inside = f", MicroPython {' '.join(machine.micropython_versions())}"
        print(f"micropython-virt {__version__}{inside}")
        parser.exit()


def main(arguments=None):
    """Run the command and return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    open_what_is_closed()
    asked = parser().parse_args(_commands(arguments))
    try:
        end_by_signals()
        return {None: repl, "serve": serve}.get(asked.command, run)(asked)
    except machine.Unusable as error:
        return complain(error, UNUSABLE)
    except (Usage, LinkError, folder.TooMuch, session.fat.TooLarge) as error:
        return complain(error, 2)
    except Hung as error:
        return complain(host_names(error), TIME)
    except Faulted as error:
        return complain(error, FAULT)
    except Reset:
        return complain("the program reset the board", RESET)
    except NoRoom as error:
        return complain(error, OUTPUT)
    except Ended as error:
        return 0 if error.powered_off else complain(error, FAULT)
    except BrokenPipeError:
        drop_output()
        return 128 + 13
    except OSError as error:
        drop_output()
        return complain(": ".join(filter(None, (error.strerror, error.filename))), OUTPUT)
    except KeyboardInterrupt:
        return CTRL_C_STATUS
    except Killed as killed:
        (number,) = killed.args
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


# The process


def open_what_is_closed():
    """Have the three standard files: what is opened next would be taken for one that is not there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")


def drop_output():
    """What is written yet, when the output takes nothing any more, would be an error at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def ending_signals():
    return [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def end_by_signals():
    def end(number, frame):
        raise Killed(number)

    for number in ending_signals():
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)


@contextmanager
def put_away():
    """Gives a function from whose call on, up to the end of the block, no signal disturbs."""
    before = {}

    def undisturbed():
        for number in (signal.SIGINT, *ending_signals()):
            before[number] = signal.signal(number, signal.SIG_IGN)

    try:
        yield undisturbed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# The command line


def _commands(arguments):
    """Make commands of -m and -c, which argparse takes for options."""
    place = 0
    while place < len(arguments) and arguments[place].startswith("--"):
        place += 1 if "=" in arguments[place] else 2
    match = (
        re.fullmatch("-([mc])(.*)", arguments[place], re.DOTALL)
        if place < len(arguments)
        else None
    )
    if match is None:
        return arguments
    command = ["module" if match[1] == "m" else "code"]
    return [
        *arguments[:place],
        *command,
        *([match[2]] if match[2] else []),
        *arguments[place + 1 :],
    ]


def complain(error, status):
    with suppress(OSError):
        print(f"micropython-virt: {error}", file=sys.stderr)
    return status


def here():
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise Usage("the current folder is not there any more")


def wanted(asked):
    """The machine that the options ask for."""
    try:
        heap = machine.heap_size(asked.heap) if asked.heap else 0
        memory = machine.memory_size(asked.memory or "128M")
        more = shlex.split(asked.qemu_args or "")
    except ValueError as error:
        raise Usage(error)
    if asked.timeout is not None and asked.timeout <= 0:
        raise Usage(f"--timeout {asked.timeout:g}: it must be more than nothing")
    disks = [machine.Disk(here() / name) for name in asked.disk or []]
    for disk in disks:
        if not disk.path.is_file():
            raise Usage(f"there is no disk image {disk.path}")
    net, ports = network(asked)
    return machine.Machine(
        boot=["-kernel", machine.firmware(asked.micropython)],
        disks=disks,
        memory=memory,
        heap=heap,
        net=net,
        ports=ports,
        more=more,
    )


def network(asked):
    """The netdev, and the forwarded ports."""
    if not asked.net:
        if asked.forward:
            raise Usage("--forward needs a network: --net isolated, or --net user")
        return "", {}
    ports = {}
    for given in asked.forward or []:
        host, _, own = given.rpartition(":")
        host = host or str(machine.ANY_PORT)
        if not (is_port(own) and is_port(host) and int(own)):
            raise Usage(f"--forward {given}: it must be a port of the board, or HOST:BOARD")
        ports[int(own)] = int(host)
    return machine.NETDEVS[asked.net], ports


def is_port(text):
    return text.isdecimal() and int(text) < 1 << 16


@contextmanager
def board(asked, start, program=None):
    """A board with the current folder at /host, and that of a program from elsewhere."""
    wants = wanted(asked)
    with put_away() as undisturbed, session.scratch_folder() as scratch:
        share = session.Shared(here(), program=program)
        try:
            started = start(wants, scratch / "scratch", share)
        except machine.NoFolders as without:
            share = copied(scratch / "host", program, without)
            started = start(wants, scratch / "scratch", share)
        for own, host in started.ports.items():
            complain(f"the board's port {own} is 127.0.0.1:{host} here", 0)
        try:
            yield started
        finally:
            undisturbed()
            started.close()
            share.bring_back()


def copied(path, program, why):
    complain(f"{why}: the board has a copy of the folder, which is written back at the end", 0)
    top = here()
    share = session.Copied(path, top, readonly=not os.access(top, os.W_OK), program=program)
    if share.left_out:
        complain(f"FAT has no such names, left out: {', '.join(share.left_out)}", 0)
    return share


# Programs


def run(asked):
    how = {"run": "file"}.get(asked.command, asked.command)
    what, program = locate(asked.what) if how == "file" else (asked.what, None)
    name = {"module": "-m", "code": "-c"}.get(asked.command, asked.what)
    with board(asked, session.start, program) as started:
        request = started.request(
            "run", how, what, [name, *asked.arguments], output=show, what="the program"
        )
        with keys(started.process):
            try:
                _, answer = finish(request, asked.timeout)
            except Raised as raised:
                sys.stdout.flush()
                print(host_names(str(raised)), file=sys.stderr)
                return CTRL_C_STATUS if "KeyboardInterrupt" in last_line(raised) else 1
    sys.stdout.flush()
    status, *message = answer
    if message:
        print(message[0], file=sys.stderr)
    return int(status)


def locate(name):
    """The path of a program on the board, and its folder where that is elsewhere."""
    path, top = Path(name), here()
    if name and path.is_dir():
        raise Usage(f"can't run {name!r}, which is a folder: -m MODULE runs a package")
    if not path.is_file():
        missing = "it is no file" if path.exists() else "there is no such file"
        raise Usage(f"can't open file {name!r}: {missing}")
    if not os.access(path, os.R_OK):
        raise Usage(f"can't open file {name!r}: it cannot be read")
    resolved = Path(os.path.abspath(path))
    if resolved.is_relative_to(top):
        below = resolved.relative_to(top)
        if not any(part.startswith(".") for part in below.parts):
            return f"{folder.POINT}/{below.as_posix()}", None
    return f"/{session.PROGRAM}/{path.name}", resolved.parent


def finish(request, timeout):
    """Wait for the program's end; the first Ctrl-C is the program's, the second ends the board."""
    try:
        return request.wait(timeout or EVER)
    except KeyboardInterrupt:
        request.interrupt()
        return request.wait(timeout or EVER)


def show(output):
    sys.stdout.buffer.write(output)
    sys.stdout.buffer.flush()


def host_names(text):
    """The names of files as they are here, of the lines that led to an error the user's."""
    text = REFUSED.sub("", str(text))
    return re.sub(f'File "(?:{folder.POINT}|/{session.PROGRAM})/', 'File "', text)


def last_line(raised):
    return str(raised).rpartition("\n")[2]


def lines(data):
    """As a terminal sends them: a line ends in a carriage return, the input in Ctrl-D."""
    return data.replace(b"\n", b"\r") or CTRL_D


@contextmanager
def keys(process):
    """Pass on what comes from the standard input, as it comes."""
    if os.name != "posix":
        yield
        return
    import termios
    import tty

    try:
        fd = sys.stdin.fileno()
        mine = os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
        before = termios.tcgetattr(fd) if mine else None
    except (AttributeError, OSError, ValueError):
        yield
        return
    if os.isatty(fd) and not mine:  # in the background: the terminal is another's
        yield
        return
    if mine:
        tty.setcbreak(fd)
    process.typed, process.source = lines, fd
    try:
        yield
    finally:
        process.source = None
        if mine:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


# The terminal


def repl(asked):
    if os.name != "posix" or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Usage("the REPL needs a terminal; run FILE, -m MODULE and -c CODE need none")
    import tty
    import termios

    with board(asked, session.start_for_a_person) as started:
        process = started.process
        fd = sys.stdin.fileno()
        before = termios.tcgetattr(fd)
        print("Ctrl-] ends the board. The current folder is at /host.", flush=True)
        tty.setraw(fd)
        try:
            process.send(LEAVE_RAW)
            converse(process, fd)
        finally:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
    return 0


def converse(process, fd):

    def typed(data):
        if LEAVE in data:
            process.source = None
        return data.partition(LEAVE)[0]

    process.typed, process.source = typed, fd
    try:
        while process.source is not None:
            process.pump(3600)
            show(bytes(process.unread))
            process.unread.clear()
    except Ended:
        pass
    print("\r")


# For other programs


def serve(asked):
    if os.name != "posix":
        raise Usage("serve needs a system with pseudo-terminals")
    with (
        board(asked, session.start_for_a_person) as started,
        Terminal(asked.link) as terminal,
    ):
        print(f"{terminal.name}: the board's console. Ctrl-C here ends it.", flush=True)
        started.process.send(LEAVE_RAW)
        terminal.serve(started.process)
    return 0


if __name__ == "__main__":
    sys.exit(main())
