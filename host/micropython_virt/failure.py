# SPDX-License-Identifier: MIT
"""What is shown of a test that failed on the board, as pytest shows its own."""

import ast
import re

from _pytest._code.code import ReprFileLocation, TerminalRepr

from . import rewrite
from .board import REFUSED, Raised
from .folder import POINT
from .machine import Unusable
from .process import BoardError

FRAME = re.compile(r'^  File "(?P<file>[^"]*)", line (?P<line>\d+)(?:, in (?P<function>\S+))?$')
BUILT_IN = ("pytest.py", "unittest.py")  # of the board, which is not the user's code
LONGEST = 8  # lines of an explanation, unless pytest is asked for more


def describe(item, excinfo):
    """What is shown for an error of the board; None for other errors."""
    error = excinfo.value
    if isinstance(error, Raised):
        return _Raised(item, error).shown()
    if isinstance(error, (BoardError, Unusable)):
        text = str(error).replace(f'File "{POINT}/', 'File "')
        return _Shown(text, str(item.path), item.line + 1, text.partition("\n")[0])
    return None


class _Shown(TerminalRepr):
    """A text, with the place and the line that stand for it in a summary."""

    def __init__(self, text, path, line, message):
        self.text = text
        self.reprcrash = ReprFileLocation(path, line, message)

    def __str__(self):
        return self.text

    def toterminal(self, tw):
        for line in self.text.split("\n"):
            tw.line(line, **({"red": True, "bold": True} if line.startswith("E ") else {}))


class _Raised:
    def __init__(self, item, error):
        self.item = item
        whole = item.config.getoption("fulltrace")
        self.lines = (str(error) if whole else REFUSED.sub("", str(error))).splitlines()
        self.answer = list(error.answer)
        frames = [match for match in map(FRAME.match, self.lines) if match]
        begun = self.lines[:1] == ["Traceback (most recent call last):"]
        self.said = self.lines[begun + len(frames) :]
        self.frames = [frame for frame in frames if frame["file"] not in BUILT_IN] or frames

    def shown(self):
        explained = [line for text in self.explanation() for line in text.splitlines() or [""]]
        file, line = str(self.item.path), self.item.line + 1
        if self.frames:
            file, line, _ = self.place(self.frames[-1])
        return _Shown(self.text(explained), file, line, explained[0])

    def text(self, explained):
        short = self.item.config.getoption("tbstyle") in ("short", "line", "native")
        parts = [self.entry(frame) for frame in self.frames[:-1]]
        if self.frames:
            last = self.entry(self.frames[-1]) if short else self.long_entry(self.frames[-1])
            parts.append(last)
        parts.append("\n".join(f"E   {line}".rstrip() for line in explained))
        if self.frames and not short:
            file, line, _ = self.place(self.frames[-1])
            kind = self.answer[1] if len(self.answer) > 1 else self.said[-1].partition(":")[0]
            parts.append(f"\n{file}:{line}: {kind}")
        return "\n".join(part for part in parts if part)

    def place(self, frame):
        """File as it is here, line and source."""
        file = frame["file"].removeprefix(POINT + "/")
        source = []
        if frame["file"].startswith(POINT + "/"):
            path = self.item.config.rootpath / file
            if path.is_file():
                source = path.read_text(errors="replace").splitlines()
        return file, int(frame["line"]), source

    def entry(self, frame):
        file, line, source = self.place(frame)
        head = f"{file}:{line}: in {frame['function'] or '<module>'}"
        return "\n".join([head, *(f"    {text.strip()}" for text in source[line - 1 : line])])

    def long_entry(self, frame):
        """The function up to the line that raised."""
        file, line, source = self.place(frame)
        if not source or line > len(source):
            return self.entry(frame)
        first, last = self.function(source, line)
        shown = source[first - 1 : last]
        marked = [
            f"{'>' if number == line else ' '}   {text}".rstrip()
            for number, text in enumerate(shown, first)
        ]
        return "\n".join(["", *marked])

    def function(self, source, line):
        """The lines from the function's head to the end of the statement that raised."""
        first, last = line, line
        try:
            tree = ast.parse("\n".join(source))
        except SyntaxError:
            return first, last
        for node in ast.walk(tree):
            if not hasattr(node, "lineno") or not node.lineno <= line <= node.end_lineno:
                continue
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = node.lineno
            elif isinstance(node, ast.Assert):
                last = node.end_lineno
        return first, last

    def explanation(self):
        """The exception, with the values of an assert that failed."""
        if len(self.answer) < 5:
            return ["\n".join(self.said)]
        message, operator, *values = self.answer[2:]
        node, source = self.asserted()
        if operator:
            texts = self.compared(operator, *values)
        else:
            texts = [values[0]]
        lines = ["assert " + texts[0], *("  " + line for line in texts[1:])]
        if node is not None:
            lines += self.origins(node, source, operator, values)
        return [f"AssertionError: {message}", *lines] if message else lines

    def compared(self, operator, left, right):
        """The lines of pytest's own hook for plain data; the values' texts for other things."""
        plain = f"{left} {operator} {right}"
        try:
            values = ast.literal_eval(left), ast.literal_eval(right)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return [plain]
        config = self.item.config
        answers = config.hook.pytest_assertrepr_compare(
            config=config, op=operator, left=values[0], right=values[1]
        )
        lines = next(filter(None, answers), [plain])
        if len(lines) > LONGEST and config.getoption("verbose") < 2:
            left_out = len(lines) - LONGEST
            lines = [*lines[:LONGEST], f"...({left_out} lines left out, -vv shows them)"]
        return lines

    def asserted(self):
        """The assert statement that raised, and its file's source."""
        if not self.frames:
            return None, ""
        _, line, lines = self.place(self.frames[-1])
        source = "\n".join(lines)
        try:
            found = [
                node
                for node in rewrite.asserts(ast.parse(source))
                if node.lineno <= line <= node.end_lineno
            ]
        except SyntaxError:
            found = []
        return (found[-1], source) if found else (None, source)

    def origins(self, node, source, operator, values):
        """Where the values came from, for those that are not written there."""
        sides = [node.test.left, node.test.comparators[0]] if operator else [node.test]
        lines = []
        for value, side in zip(values, sides):
            text = " ".join((ast.get_source_segment(source, side) or "").split())
            if not isinstance(side, ast.Constant) and text and text != value:
                lines.append(f" +  where {value} = {text}")
        return lines
