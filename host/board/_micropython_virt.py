# SPDX-License-Identifier: MIT
# What answers the host on the board, frozen into the firmware. Each function gets the token that
# begins its answer: \x04 token \x04 and then texts, with \x04 after each.
#
# What it imports it does at once, while there is nothing of the user's to be found: a project may
# have an os or io of its own.

import gc
import io
import os
import sys
import vfs


def _answer(token, *texts):
    write = sys.stdout.write
    write("\x04" + token + "\x04")
    for text in texts:
        write(text.replace("\x04", "\\x04"))
        write("\x04")


def _raised(token, error):
    text = _traceback(error)
    _answer(token, "raised", text)


def _traceback(error):
    try:
        text = io.StringIO()
        sys.print_exception(error, text)
        return text.getvalue()
    except MemoryError:
        return "%s: %s (no memory for more)" % (type(error).__name__, error)


def _main():
    return __import__("__main__").__dict__


def _guarded(token, function):
    try:
        value = function()
    except BaseException as error:
        return _raised(token, error)
    try:
        text = repr(value)
    except BaseException as error:
        return _raised(token, error)
    _answer(token, "returned", text)


def execute(token, code):
    _guarded(token, lambda: exec(code, _main()))


def evaluate(token, expression):
    _guarded(token, lambda: eval(expression, _main()))


def call(token, name, arguments, keywords):
    def run():
        path, _, function = name.rpartition(".")
        module = __import__(path, None, None, (function,)) if path else None
        found = getattr(module, function) if path else _main()[function]
        return found(*arguments, **keywords)

    _guarded(token, run)


def put(token, path, data, mode):
    def run():
        place = path.find("/", 1)
        while place > 0:
            try:
                os.mkdir(path[:place])
            except OSError:
                pass  # it is there, or open() will say what is wrong
            place = path.find("/", place + 1)
        with open(path, mode) as file:
            file.write(data)

    _guarded(token, run)


def get(token, path, start, size):
    def run():
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(size)

    _guarded(token, run)


# The answer: the exit status, or what to print instead of it, or a traceback.
def run(token, how, what, argv):
    names = _main()
    os.chdir("/host")
    sys.argv[:] = argv
    try:
        if how == "code":
            exec(compile(what, "<string>", "exec"), names)
        else:
            path = what if how == "file" else _module_file(what)
            names["__file__"] = path
            if how == "file":
                sys.path[0] = path.rpartition("/")[0]
            execfile(path, names)
        status = 0
    except SystemExit as exit:
        status = exit.args[0] if exit.args else None
    except BaseException as error:
        _raised(token, error)
        return
    finally:
        _close_files(names)
    if status is None or isinstance(status, (bool, int)):
        _answer(token, "returned", str(int(status or 0) & 0xFF))
    else:
        _answer(token, "returned", "1", str(status))


# What a program leaves open is written, as at the end of any other interpreter.
def _close_files(names):
    for name in list(names):
        if name[:2] != "__":
            del names[name]
    gc.collect()
    os.sync()


def _module_file(name):
    for folder in sys.path:
        if folder == ".frozen":
            continue
        path = (folder or os.getcwd()).rstrip("/") + "/" + name.replace(".", "/")
        for file in (path + "/__main__.py", path + ".py"):
            try:
                os.stat(file)
                return file
            except OSError:
                pass
    raise ImportError("no module named '%s' that can be run" % name)
