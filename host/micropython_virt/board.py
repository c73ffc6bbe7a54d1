# SPDX-License-Identifier: MIT
"""A board: a machine that runs, and code on it, by the raw REPL of its console.

Each request carries a random token, and the board's answer begins with it. So nothing that the
user's code prints is taken for an answer, whatever it is.
"""

import ast
import os
import re
import time

from .process import BoardError, Ended, Faulted, Hung, Process, Reset

PROMPT = b">>> "
RAW_PROMPT = b"raw REPL; CTRL-B to exit\r\n>"
CTRL_A, CTRL_C, CTRL_D = b"\x01", b"\x03", b"\x04"
AGENT = "__import__('_micropython_virt')"
SILENCE = 0.3  # seconds after which an end that carries no token is looked into
OWN_FRAME = re.compile(r'^  File "(?:/host/)?_micropython_virt\w*\.py", line .*\n', re.MULTILINE)
# Of the library, where it refuses what it was asked.
REFUSED = re.compile(r'(?:^  File "virtio/.*\n)+(?=OSError: )', re.MULTILINE)
LAST_WISH = 2  # seconds for a program that was interrupted to say where it was


class Raised(BoardError):
    """Code on the board raised an exception; str() is its traceback."""

    kind = "raised"
    answer = ()  # what the agent said of it


class Board:
    """A machine with its console at the raw REPL. Use it in a with statement."""

    def __init__(self, machine, seconds=30):
        self.machine = machine
        self.after_reset = lambda: None  # brings back what is not there after a reset
        self.process = Process(machine)
        try:
            self._wait_for_repl(seconds)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End the board. May be called again."""
        self.process.close()

    @property
    def console(self):
        """All that the console printed since the start, as text."""
        return bytes(self.process.log).decode(errors="replace").replace("\r\n", "\n")

    @property
    def ports(self):
        """The ports of the board that can be reached, and those of 127.0.0.1 that lead to them."""
        return self.process.ports

    # What a test asks for

    def exec(self, code, timeout=60):
        """Run statements and return what they printed; Raised holds a traceback."""
        return self.ask("execute", str(code), timeout=timeout)[0]

    def eval(self, expression, timeout=60):
        """Return the value of an expression, which is plain data: numbers, texts, lists…"""
        return self._data(self.ask("evaluate", str(expression), timeout=timeout))

    def call(self, function, *arguments, timeout=60, **keywords):
        """Call a function of a module, "package.module.function", with plain data."""
        return self._data(self.ask("call", function, arguments, keywords, timeout=timeout))

    def put(self, path, content, timeout=60):
        """Write a file on the board; its folders are made."""
        data = content.encode() if isinstance(content, str) else bytes(content)
        self.ask("put", path, b"", "wb", timeout=timeout)
        for start in range(0, len(data), 4096):
            self.ask("put", path, data[start : start + 4096], "ab", timeout=timeout)

    def get(self, path, timeout=60):
        """Return what a file on the board holds, as bytes."""
        content = b""
        while True:
            piece = self._data(self.ask("get", path, len(content), 4096, timeout=timeout))
            if not piece:
                return content
            content += piece

    def interrupt(self):
        """Press Ctrl-C."""
        self.process.send(CTRL_C)

    def soft_reset(self, timeout=30):
        """A new interpreter, devices as at a start; disks keep what they hold."""
        self.process.unread.clear()
        self.process.send(CTRL_D)
        self._until(RAW_PROMPT, timeout, "soft reset")
        self.after_reset()

    def reset(self, timeout=30):
        """Reset the machine, as its button would; disks keep what they hold."""
        self.process.unread.clear()
        self.process.command("system_reset")
        self._wait_for_repl(timeout)
        self.after_reset()

    def reset_cause(self):
        """Why the board started last: "pwron", "hard", "fault"…"""
        names = "PWRON_RESET HARD_RESET WDT_RESET DEEPSLEEP_RESET SOFT_RESET FAULT_RESET".split()
        code = f"[n for n in {names} if getattr(machine, n, None) == machine.reset_cause()]"
        found = self.eval(f"(lambda machine: {code})(__import__('machine'))")
        return found[0].removesuffix("_RESET").lower() if found else None

    # How it is done

    def _wait_for_repl(self, seconds):
        process = self.process
        # What was read already may have the prompt: on a busy host it can be there by now.
        self._until(PROMPT, seconds, "the board's start", may_reset=True)
        process.was_reset()
        process.unread.clear()
        process.send(CTRL_A)
        self._until(RAW_PROMPT, seconds, "the raw REPL")

    def _until(self, text, seconds, what, may_reset=False):
        """Return what comes before the text."""
        process = self.process

        def found():
            if not may_reset and process.was_reset():
                raise Reset(f"{what}: the board was reset\n{process.last_words()}")
            return text in process.unread

        try:
            process.pump_until(found, seconds, what)
        except Hung as hung:
            raise Hung(f"{hung}\n{process.last_words()}".strip()) from None
        before, _, rest = bytes(process.unread).partition(text)
        process.unread[:] = rest
        return before

    def _data(self, answer):
        try:
            return ast.literal_eval(answer[1][0])
        except (ValueError, SyntaxError):
            raise BoardError(f"the board's value is no plain data: {answer[1][0]}") from None

    def ask(self, function, *arguments, timeout=60, **options):
        """Call a function of the agent on the board; return what it printed, and its answer.

        The answer is a list of texts. As it is printed, output goes to output(bytes) instead of
        being returned, where that is given.
        """
        return self.request(function, *arguments, **options).wait(timeout)

    def request(self, function, *arguments, output=None, what=None, agent=AGENT):
        """Begin what ask() does; wait() for the answer."""
        token = os.urandom(8).hex()
        words = "".join(f", {argument!r}" for argument in arguments)
        code = f"print({token!r}, end='');{agent}.{function}({token!r}{words})"
        code = code.replace("\x04", "\\x04")
        self.process.unread.clear()
        self.process.send(code.encode() + CTRL_D)
        return Answer(self, token, what or function, output)


class Answer:
    """The answer to one request, while it comes in."""

    def __init__(self, board, token, what, output):
        self.board = board
        self.process = board.process
        self.token = token.encode()
        self.mark = b"\x04" + token.encode() + b"\x04"
        self.what = what
        self.output = output
        self.printed = bytearray()
        self.begun = self.runs = False
        self.interrupted = False  # and the board has not been told yet
        self.log_begins = len(board.process.log)
        self.probed = None

    def wait(self, timeout):
        end = time.monotonic() + timeout
        try:
            while not self._complete():
                left = end - time.monotonic()
                if left <= 0:
                    self._hang(timeout)
                waited = min(left, SILENCE) if self._looks_over() else left
                if not self.process.pump(waited) and waited < left:
                    self._probe()
        except Ended as ended:
            ended.printed = self.text()
            raise
        return self._result()

    def interrupt(self):
        """Press Ctrl-C, as soon as the program runs: before that it would be input, or nothing."""
        self.interrupted = True
        self._pass_on()

    def _pass_on(self):
        if self.interrupted and self.runs:
            self.interrupted = False
            self.process.send(CTRL_C)

    def text(self):
        return bytes(self.printed).decode(errors="replace").replace("\r\n", "\n")

    def _complete(self):
        """Sort what has come; true once the answer is there to its end."""
        if self.process.was_reset():
            error, error.printed = self._settle_after_reset()
            raise error
        unread = self.process.unread
        if not self.begun:
            if not unread.startswith(b"OK"):
                return False
            del unread[:2]
            self.begun = True
        if not self.runs:
            if self.token.startswith(unread[: len(self.token)]) and len(unread) < len(self.token):
                return False
            if unread.startswith(self.token):
                del unread[: len(self.token)]
            self.runs = True
            self._pass_on()
        self._take_output()
        return unread.startswith(self.mark) and self._end() > 0

    def _end(self):
        return self.process.unread.find(b"\x04\x04>", len(self.mark))

    def _take_output(self):
        unread = self.process.unread
        place = unread.find(self.mark)
        if place < 0:  # the mark may have come in part
            place = unread.rfind(b"\x04", max(0, len(unread) - len(self.mark)))
            if place < 0 or not self.mark.startswith(unread[place:]):
                place = len(unread)
        # The end of a carriage return and line feed may be still to come.
        if place == len(unread) and unread.endswith(b"\r"):
            place -= 1
        data = bytes(unread[:place])
        del unread[:place]
        self._print(data)

    def _print(self, data):
        self.printed += data
        if self.output and data:
            self.output(data.replace(b"\r\n", b"\n"))

    def _result(self):
        unread = self.process.unread
        body = bytes(unread[len(self.mark) : self._end()])
        unread.clear()
        # The REPL has its say after the answer: that interrupts were left off, for one.
        body, _, later = body.rpartition(b"\x04")
        self._print(later)
        kind, *answer = body.decode(errors="replace").split("\x04")
        if kind != "returned":
            error = Raised(OWN_FRAME.sub("", answer[0].replace("\r\n", "\n")).strip())
            error.kind, error.printed, error.answer = kind, self.text(), answer
            raise error
        return self.text(), answer

    def _looks_over(self):
        """Whether the REPL may have ended the request without the agent's word."""
        return self.probed is None and self.printed.endswith(b"\x04>")

    def _probe(self):
        """Ask the REPL whether it is there: what looked like its end may be what a test printed."""
        self.probed = os.urandom(8).hex()
        place = len(self.printed)
        half = len(self.probed) // 2
        code = f"print({self.probed[:half]!r} + {self.probed[half:]!r})"
        self.process.send(code.encode() + CTRL_D)
        there = self.probed.encode()

        def answered():
            self._take_output()
            return there in self.printed[place:] or self.mark in self.process.unread

        try:
            self.process.pump_until(answered, 5, self.what)
        except Hung:
            return  # a program that runs on, and printed what only looked like an end
        if there not in self.printed[place:]:
            return
        printed = self.text()[: self.text().find(self.probed)]
        output, _, error = printed.rpartition("\x04>")[0].rpartition("\x04")
        self.process.unread.clear()
        raised = Raised(error.strip() or "the board's agent is not there")
        raised.printed = output
        raise raised

    def _hang(self, timeout):
        """Interrupt the program, so that it says where it was, and give the board up."""
        self.process.send(CTRL_C)
        where = ""
        try:
            self.process.pump_until(self._complete, LAST_WISH, self.what)
            self._result()
        except Raised as raised:
            where = str(raised)
        except BoardError:
            where = "It did not take Ctrl-C either."
        error = Hung(f"{self.what}: no end within {timeout:g} s\n{where}".strip())
        error.printed = self.text()
        self.process.kill()
        raise error

    def _settle_after_reset(self):
        """Give the board the time to be there again, and say what became of the request."""
        try:
            self.board._wait_for_repl(10)
        except BoardError:
            self.process.kill()
        said = bytes(self.process.log[self.log_begins :]).decode(errors="replace")
        printed, fault, registers = said.replace("\r\n", "\n").partition("\nFATAL: ")
        if not fault:
            return Reset(f"{self.what}: the board was reset by what ran on it"), self.text()
        text = "FATAL: " + registers.partition("\nreset\n")[0]
        return Faulted(f"{self.what}: the board ended in a fault\n{text}"), printed
