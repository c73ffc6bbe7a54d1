# SPDX-License-Identifier: MIT
"""The tests in a file that runs on the board, found without running it."""

import ast
import fnmatch
import itertools
import warnings

import pytest

from . import failure, settings
from .board import Raised
from .process import BoardError
from .station import STATIONS, TESTER, run

SECONDS = 60
CASES = ("TestCase", "unittest.TestCase")


class BoardFile(pytest.File):
    def collect(self):
        source = self.path.read_bytes()
        try:
            tree = ast.parse(source, str(self.path))
        except SyntaxError as error:
            line = (error.text or "").rstrip("\n")
            raise self.CollectError(
                f'  File "{self.path}", line {error.lineno}\n{line}\nSyntaxError: {error.msg}'
            )
        self.marks = marks(self, module_marks(tree))
        for mark in self.marks:
            self.add_marker(mark)
        cases = set()
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and self.is_case(node, cases):
                cases.add(node.name)
                yield BoardClass.from_parent(self, name=node.name, node=node, tree=tree)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if self.matches(node.name, "python_functions"):
                    yield from tests(self, node, "")

    def is_case(self, node, cases):
        bases = [ast.unparse(base) for base in node.bases]
        if any(base in CASES or base in cases for base in bases):
            return True
        return self.matches(node.name, "python_classes")

    def matches(self, name, option):
        return any(
            name.startswith(pattern) or fnmatch.fnmatch(name, pattern)
            for pattern in self.config.getini(option)
        )


class BoardClass(pytest.Collector):
    def __init__(self, node, tree, **keywords):
        super().__init__(**keywords)
        self.node, self.tree = node, tree

    def collect(self):
        for mark in marks(self, self.node.decorator_list):
            self.add_marker(mark)
        for name, node in self.methods(self.node).items():
            case = any(ast.unparse(base) in CASES for base in self.node.bases)
            if name.startswith("test") if case else self.parent.matches(name, "python_functions"):
                yield from tests(self, node, self.name)

    def methods(self, node):
        """The methods of a class, and those that it has from classes of the same file."""
        classes = {each.name: each for each in self.tree.body if isinstance(each, ast.ClassDef)}
        found = {}
        for base in node.bases:
            if ast.unparse(base) in classes:
                found |= self.methods(classes[ast.unparse(base)])
        for each in node.body:
            if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found[each.name] = each
        return found


def tests(parent, node, class_name):
    """The items of one function: one for each set of its parameters, in each MicroPython."""
    found = marks(parent, node.decorator_list)
    sets = parameters(parent, node, found)
    wanted = {arg.arg for arg in node.args.args[bool(class_name) :]}
    given = set(sets[0][1])
    unknown = wanted - given - defaults(node)
    # A decorator of the project's own may give them.
    if unknown and len(found) == len(node.decorator_list):
        raise parent.CollectError(
            f"{parent.path}:{node.lineno}: {node.name} wants {', '.join(sorted(unknown))}: tests on "
            "the board have no fixtures, only @pytest.mark.parametrize"
        )
    try:
        interfaces = settings.interfaces(parent, found)
    except ValueError as error:
        line = [*node.decorator_list, node][0].lineno
        raise parent.CollectError(f"{parent.path}:{line}: {node.name}: {error}")
    versions = settings.versions(parent.config)
    for (identity, values), version, interface in itertools.product(sets, versions, interfaces):
        ids = "-".join(filter(None, [identity, version, interface]))
        item = BoardTest.from_parent(parent, name=f"{node.name}[{ids}]" if ids else node.name)
        item.line, item.called, item.class_name = node.lineno - 1, node.name, class_name
        item.values, item.version, item.kind = values, version, (version, interface)
        if interface:
            item.add_marker(pytest.mark.board(interface=interface))
        for mark in found:
            item.add_marker(mark)
        yield item


def in_order(items):
    """The items of one file, those on one kind of board after those on another."""
    kinds = list(dict.fromkeys(getattr(item, "kind", None) for item in items))
    return sorted(items, key=lambda item: kinds.index(getattr(item, "kind", None)))


def defaults(node):
    count = len(node.args.defaults)
    return {arg.arg for arg in node.args.args[-count:]} if count else set()


def module_marks(tree):
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            return (
                node.value.elts if isinstance(node.value, (ast.List, ast.Tuple)) else [node.value]
            )
    return []


def marks(parent, decorators):
    """The marks among decorators, which are read and not run: their arguments are plain data."""
    found = []
    for node in decorators:
        call = node if isinstance(node, ast.Call) else None
        name = ast.unparse(call.func if call else node)
        if not name.startswith("pytest.mark."):
            continue
        try:
            arguments = [ast.literal_eval(each) for each in (call.args if call else ())]
            keywords = {
                each.arg: ast.literal_eval(each.value) for each in (call.keywords if call else ())
            }
        except ValueError:
            raise parent.CollectError(
                f"{parent.path}:{node.lineno}: {name}: marks of tests on the board are read on "
                "the host, their arguments must be plain data"
            )
        mark = getattr(pytest.mark, name.removeprefix("pytest.mark."))
        # A mark without arguments that is called with a function would decorate it.
        found.append(mark.with_args(*arguments, **keywords) if call else mark)
    return found


def parameters(parent, node, found):
    """Pairs of an id and the arguments by name, at least one."""
    sets = []
    for mark in reversed([mark for mark in found if mark.name == "parametrize"]):
        try:
            names, values = mark.args[:2]
        except ValueError:
            raise parent.CollectError(
                f"{parent.path}:{node.lineno}: parametrize takes names and values"
            )
        names = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
        rows = [[value] if len(names) == 1 else list(value) for value in values]
        ids = mark.kwargs.get("ids") or [
            "-".join(identity(name, value, n) for name, value in zip(names, row))
            for n, row in enumerate(rows)
        ]
        sets.append([(str(i), dict(zip(names, row))) for i, row in zip(ids, rows)])
    product = []
    for each in itertools.product(*sets):
        values = {}
        for _, some in each:
            values |= some
        product.append(("-".join(i for i, _ in each), values))
    return product or [("", {})]


def identity(name, value, number):
    if isinstance(value, (str, int, float, bool, type(None))):
        return str(value)
    return f"{name}{number}"


class BoardTest(pytest.Item):
    def setup(self):
        """Nothing: the board is there when the test runs."""

    def runtest(self):
        config = self.config
        asked = settings.configuration(config, self, self.version)
        mark = self.get_closest_marker("timeout")
        seconds = float(mark.args[0]) if mark and mark.args else SECONDS
        runner = config.stash.setdefault(RUNNER, Runner(config))
        try:
            printed = runner.run(self, asked, settings.files(self), seconds)
        except BoardError as error:
            self.show(getattr(error, "printed", ""))
            raise
        self.show(printed)

    def show(self, printed):
        if not printed:
            return
        if self.config.getoption("capture") == "no":
            print(printed, end="" if printed.endswith("\n") else "\n")
        else:
            self.add_report_section("call", "stdout", printed)

    def repr_failure(self, excinfo, style=None):
        return failure.describe(self, excinfo) or super().repr_failure(excinfo, style)

    def reportinfo(self):
        words = [self.class_name, self.name] if self.class_name else [self.name]
        return self.path, self.line, ".".join(words)


def finish(config):
    """Let go of the board that the last test ran on."""
    runner = config.stash.get(RUNNER, None)
    if runner is not None:
        runner.leave()


RUNNER = pytest.StashKey["Runner"]()


class Runner:
    """Which file is loaded on which board, from one test to the next."""

    def __init__(self, config):
        self.config = config
        self.station = None
        self.path = None
        self.error = None  # that the file raised when it was imported

    def run(self, item, asked, files, seconds):
        """Run one test and return what it printed."""
        fresh = self.config.getoption("board_fresh")
        if (
            fresh
            or files
            or (item.path, asked) != (self.path, getattr(self.station, "configuration", None))
        ):
            self.load(item, asked, files, seconds)
        if self.error:
            raise self.error
        try:
            printed = run(
                self.station.board,
                item.path,
                item.called,
                seconds,
                class_name=item.class_name,
                arguments=item.values,
                what=item.name,
            )
        except Raised as raised:
            if raised.kind == "skipped":
                pytest.skip(raised.answer[0])
            self.leave()
            raise
        except BaseException:  # of Ctrl-C, too: there is no answer to be had from that board
            self.station.loaded = None
            self.station.board.close()
            self.leave()
            raise
        if files or fresh:
            self.leave()
        return printed

    def load(self, item, asked, files, seconds):
        self.leave()
        self.station = self.config.stash[STATIONS].take(asked)
        self.path = item.path
        board = self.station.board
        try:
            for name, content in files.items():
                board.put("/" + name.lstrip("/"), content)
            self.station.load(item.path, seconds)
        except Raised as raised:
            if raised.kind == "skipped":
                pytest.skip(raised.answer[0])
            self.error = raised
        except BaseException:
            board.close()
            self.leave()
            raise

    def leave(self):
        station, self.station = self.station, None
        if station is not None:
            if not station.board.process.is_over() and not self.error:
                try:
                    station.board.ask("unload", self.path.stem, agent=TESTER)
                except BoardError as error:
                    what = f"{self.path.name}: after its last test\n{error}"
                    warnings.warn(pytest.PytestWarning(what))
            self.config.stash[STATIONS].give_back(station)
        self.path = self.error = None
