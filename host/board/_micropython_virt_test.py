# SPDX-License-Identifier: MIT
# Runs the tests that the host names, one a request.

import sys

import _micropython_virt as agent
from _micropython_virt import os, vfs  # the board's own

_TEXT = 4000  # characters of a value that the host is sent
_SKIPS = ("Skip", "SkipTest", "Skipped")

failed = None  # the texts of the assert that was false last
said = None  # the message of that
current = None  # the class whose setUpClass has run
lines = {}  # of each file of the user's, those that ran


# Asserts, as the host has rewritten them.


def compare(left, operator, right):
    global failed
    if operator == "==":
        result = left == right
    elif operator == "!=":
        result = left != right
    elif operator == "<":
        result = left < right
    elif operator == "<=":
        result = left <= right
    elif operator == ">":
        result = left > right
    elif operator == ">=":
        result = left >= right
    elif operator == "is":
        result = left is right
    elif operator == "is not":
        result = left is not right
    elif operator == "in":
        result = left in right
    else:
        result = left not in right
    if not result:
        failed = operator, _shown(left), _shown(right)
    return result


def value(result):
    global failed
    if not result:
        failed = "", _shown(result)
    return result


def why(message=""):
    global said
    said = str(message)
    return message


def _shown(value):
    try:
        text = repr(value)
        return text if len(text) <= _TEXT else text[:_TEXT] + "..."
    except Exception as error:
        return "<%s: %s in its repr>" % (type(value).__name__, type(error).__name__)


# The tests as the host has rewritten them, beside the project's own folder.


class _Project:
    def __init__(self, folder, rewritten):
        self._folder = folder
        self._rewritten = rewritten

    def __getattr__(self, name):
        return getattr(self._folder, name)

    def open(self, path, mode):
        if path.endswith(".py") and mode in ("r", "rb", "rt"):
            try:
                return self._rewritten.open(path, mode)
            except OSError:
                pass  # of no test
        return self._folder.open(path, mode)


def find_rewritten(tag):
    folders = {point: folder for folder, point in vfs.mount()}
    for point in ("/" + tag, "/host"):
        vfs.umount(point)
    vfs.mount(_Project(folders["/host"], folders["/" + tag]), "/host")


# A file's beginning.


def load(token, folders, name, tracing):
    def run():
        import builtins

        builtins._assert_ = sys.modules[__name__]
        sys.path[:0] = folders
        if tracing:
            sys.settrace(_trace)
        _module(name, __import__(name))

    if _guarded(token, run):
        agent._answer(token, "returned", "")


def _module(name, module):
    set_up = getattr(module, "setUpModule", None) or getattr(module, "setup_module", None)
    if set_up:
        set_up()


def unload(token, name):
    module = sys.modules.get(name)
    tear_down = getattr(module, "tearDownModule", None) or getattr(module, "teardown_module", None)

    def run():
        _leave_class()
        if tear_down:
            tear_down()

    if _guarded(token, run):
        agent._answer(token, "returned", "")


# One test: a function, or a method of a class.
def test(token, module, class_name, name, arguments):
    global failed, said
    failed = said = None

    def run():
        found = sys.modules[module]
        if class_name:
            _method(found, getattr(found, class_name), name, arguments)
        else:
            _leave_class()
            _call(getattr(found, name), arguments)

    if _guarded(token, run):
        agent._answer(token, "returned", "")


def _call(function, arguments):
    result = function(**arguments)
    if hasattr(result, "send") and hasattr(result, "throw"):  # it was async
        import asyncio

        asyncio.new_event_loop()
        asyncio.run(result)


def _leave_class():
    global current
    left, current = current, None
    if left is not None:
        _optional(left, "tearDownClass", "teardown_class")


def _optional(thing, *names):
    for name in names:
        method = getattr(thing, name, None)
        if method:
            return method()


def _method(module, kind, name, arguments):
    global current
    if current is not kind:
        _leave_class()
        _optional(kind, "setUpClass", "setup_class")
        current = kind
    instance = kind()
    try:
        _optional(instance, "setUp", "setup_method")
        try:
            _call(getattr(instance, name), arguments)
        finally:
            _optional(instance, "tearDown", "teardown_method")
    finally:
        _optional(instance, "doCleanups")


# Answers for what the function raises, and returns whether there is still an answer to give.
def _guarded(token, function):
    try:
        function()
        return True
    except BaseException as error:
        kind = type(error).__name__
        if kind in _SKIPS:
            agent._answer(token, "skipped", str(error))
        elif isinstance(error, AssertionError) and failed and str(error) == said:
            agent._answer(token, "raised", agent._traceback(error), kind, str(error), *failed)
        else:
            agent._answer(token, "raised", agent._traceback(error), kind, str(error))
    return False


# Which lines ran.
def _trace(frame, event, argument):
    name = frame.f_code.co_filename
    if name[:6] != "/host/":
        return None
    if event == "line":
        if name not in lines:
            lines[name] = set()
        lines[name].add(frame.f_lineno)
    return _trace


def lines_run(token):
    if hasattr(sys, "settrace"):
        sys.settrace(None)
    agent._answer(token, "returned", repr(lines))


# Empties the scratch disk.
def wipe(token):
    def remove(folder):
        for name, kind, *_ in list(os.ilistdir(folder)):
            path = folder + "/" + name
            if kind == 0x4000:
                remove(path)
                os.rmdir(path)
            else:
                os.remove(path)

    def run():
        os.chdir("/")
        for name, kind, *_ in list(os.ilistdir("/")):
            if name == "host" or name[:2] == "vd" and len(name) == 3:
                continue  # a mount
            if kind == 0x4000:
                remove("/" + name)
                os.rmdir("/" + name)
            else:
                os.remove("/" + name)

    agent._guarded(token, run)
