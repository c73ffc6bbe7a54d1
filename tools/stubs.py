# SPDX-License-Identifier: MIT
"""Write the type stubs of the library for editors, from its source: python3 tools/stubs.py FOLDER

Names, signatures, bases and documentation are the source's. The types, which MicroPython's source
does not have, stand here: a parameter of one name has one type in the whole library.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "lib/virtio"
BOARD = ROOT / "host/stubs/board.pyi"
MODULES = ("entropy", "features", "slowmotion")  # what a user imports by its own name

PARAMETERS = {
    "arg": "int",
    "bits": "int",
    "block_num": "int",
    "block_size": "int | None",
    "buf": "BufferLike",
    "buffers": "Sequence[BufferLike]",
    "bufs": "Sequence[BufferLike]",
    "callback": "Callable[[MmioTransport], None] | None",
    "confirm": "str | None",
    "config": "bytes",
    "count": "int",
    "data": "BufferLike",
    "device": "Any",
    "device_type": "int",
    "disk": "Any",
    "each": "int",
    "enable": "bool",
    "failed": "Sequence[int]",
    "feature": "int",
    "features": "int",
    "fields": "tuple[int, int]",
    "first": "int",
    "frame": "BufferLike | Sequence[BufferLike]",
    "head": "int",
    "idx": "int",
    "inputs": "Sequence[BufferLike]",
    "kind": "str",
    "length": "int",
    "mac": "BufferLike",
    "magic": "bytes",
    "message": "str",
    "multicast": "Sequence[BufferLike]",
    "n": "int",
    "name": "str",
    "offset": "int | None",
    "op": "int",
    "outputs": "Sequence[BufferLike]",
    "place": "int",
    "point": "str",
    "queue": "VirtQueue",
    "queue_max": "Sequence[int]",
    "readonly": "bool",
    "reasons": "int",
    "requests": "Sequence[tuple[int, BufferLike]]",
    "ring": "str | None",
    "size": "int",
    "slot": "int | None",
    "timeout_ms": "int | None",
    "token": "int",
    "transport": "MmioTransport | None",
    "unicast": "Sequence[BufferLike]",
    "unmap": "bool",
    "value": "int",
    "version": "int",
    "where": "int | MmioTransport",
    "why": "str",
    "width": "int",
}
# What is returned, of functions that return something; ATTRIBUTES are an object's own.
RETURNS = {
    "ack_interrupt": "int",
    "add": "int",
    "add_notify_wait_pop": "int",
    "alive": "bool",
    "arecvinto": "int",
    "areadinto": "int",
    "available_desc": "int",
    "can_pop": "bool",
    "complete": "int",
    "diagnose": "None",
    "finished": "bool",
    "ioctl": "int | None",
    "max_queue_size": "int",
    "opened": "list[Device]",
    "partitions": "list[Partition]",
    "peek_used": "int | None",
    "pending_interrupts": "int",
    "pop_used": "int",
    "queue": "VirtQueue",
    "queue_used": "bool",
    "read": "bytes",
    "read_device_features": "int",
    "readblocks": "int | None",
    "readinto": "int",
    "readsome": "int",
    "recvinto": "int | None",
    "scan": "list[MmioTransport]",
    "serial": "str",
    "should_notify": "bool",
    "status": "int",
    "submit": "int",
    "urandom": "bytes",
    "write_cache": "bool | None",
    "writeblocks": "int | None",
}
ATTRIBUTES = {
    "base": "int",
    "device_type": "int",
    "disk": "Block",
    "intid": "int | None",
    "legacy": "bool",
    "littlefs": "bool",
    "num_queues": "int",
    "slot": "int | None",
    "block_count": "int",
    "block_size": "int",
    "capacity": "int",
    "epoch": "Any",
    "failed": "Any",
    "features": "int",
    "first": "int",
    "idx": "int",
    "kind": "str | None",
    "link": "bool",
    "mac": "bytes",
    "mtu": "int | None",
    "name": "str",
    "on_link": "Callable[[Any], None] | None",
    "on_resize": "Callable[[Any], None] | None",
    "queues": "list[VirtQueue]",
    "read_only": "bool",
    "size": "int",
    "timeout_ms": "int",
    "transport": "MmioTransport",
    "version": "int",
    "why": "str | None",
}
HEAD = """\
# Made by tools/stubs.py from the source of the library.
from collections.abc import Callable, Sequence
from typing import Any

BufferLike = bytes | bytearray | memoryview | Any  # whatever has the buffer protocol; array.array too
"""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def is_public(name):
    return not name.startswith("_") or name == "__init__"


def returns_something(node):
    return any(isinstance(each, ast.Return) and each.value is not None for each in ast.walk(node))


def parameters(node):
    arguments = node.args
    for argument, default in zip(arguments.args[::-1], arguments.defaults[::-1]):
        if isinstance(getattr(default, "value", None), bool):
            PARAMETERS.setdefault(argument.arg, "bool")
    for argument in [*arguments.args, *filter(None, [arguments.vararg])]:
        if argument.arg != "self":
            argument.annotation = ast.Name(PARAMETERS.get(argument.arg, "Any"))
    for at, default in enumerate(arguments.defaults):
        if not isinstance(default, ast.Constant):
            arguments.defaults[at] = ast.Constant(...)
    for argument, default in zip(arguments.args[::-1], arguments.defaults[::-1]):
        if default.value is None and not argument.annotation.id.endswith(("None", "Any")):
            argument.annotation = ast.Name(f"{argument.annotation.id} | None")
    return ast.unparse(arguments)


def function(node, indent):
    lines = [f"{indent}@{ast.unparse(each)}" for each in node.decorator_list if is_property(each)]
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    result = RETURNS.get(node.name, "Any") if returns_something(node) else "None"
    head = f"{indent}{kind} {node.name}({parameters(node)}) -> {result}:"
    return lines + [head, *documentation(node, indent + "    ")]


def is_property(decorator):
    return ast.unparse(decorator) == "property" or ast.unparse(decorator).endswith(".setter")


def documentation(node, indent):
    text = ast.get_docstring(node)
    if text is None:
        return [f"{indent}..."]
    quoted = f'"""{text}"""'
    return [indent + line if line else "" for line in quoted.splitlines()]


def attributes(node):
    """What methods assign to self, in that order."""
    stored = [
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    ]
    methods = {each.name for each in node.body if isinstance(each, FUNCTIONS)}
    return [name for name in dict.fromkeys(stored) if is_public(name) and name not in methods]


def class_(node):
    bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
    lines = [f"class {node.name}{bases}:", *documentation(node, "    "), ""]
    for name in attributes(node):
        lines.append(f"    {name}: {ATTRIBUTES.get(name, 'Any')}")
    for each in node.body:
        if isinstance(each, FUNCTIONS) and is_public(each.name):
            lines += function(each, "    ")
    return lines


def definition(node):
    return class_(node) if isinstance(node, ast.ClassDef) else function(node, "")


def defined(path):
    """The classes and functions of a file, by name."""
    tree = ast.parse(path.read_text())
    return {each.name: each for each in tree.body if isinstance(each, (ast.ClassDef, *FUNCTIONS))}


def exports():
    """The names that `virtio` gives its users."""
    tree = ast.parse((LIBRARY / "__init__.py").read_text())
    found = [
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "_LATER":
            found += dict(ast.literal_eval(node.value))
    return found


def package():
    """The stub of `virtio`: what it gives, and the classes that those derive from."""
    everything = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        if path.stem != "slowmotion":  # whose Device is another one
            everything |= {name: node for name, node in defined(path).items() if is_public(name)}
    wanted, lines = [], []

    def want(name):
        node = everything[name]
        for base in getattr(node, "bases", ()):
            if ast.unparse(base) in everything:
                want(ast.unparse(base))
        if name not in wanted:
            wanted.append(name)

    for name in exports():
        if name not in MODULES:
            want(name)
    for name in wanted:
        lines += ["", *definition(everything[name])]
    imports = "\n".join(f"from . import {name} as {name}" for name in MODULES)
    return f"{HEAD}{imports}\n\n__version__: str\n" + "\n".join(lines) + "\n"


def module(name):
    (path,) = LIBRARY.rglob(f"{name}.py")
    tree = ast.parse(path.read_text())
    lines = [f"from . import {', '.join(['MmioTransport', 'VirtQueue'])}"]
    for node in tree.body:
        targets = ast.walk(node.targets[0]) if isinstance(node, ast.Assign) else ()
        names = [each.id for each in targets if isinstance(each, ast.Name)]
        kind = (
            "int" if isinstance(getattr(node, "value", None), (ast.Constant, ast.Tuple)) else "Any"
        )
        lines += [f"{name}: {kind}" for name in names if is_public(name)]
    for node in defined(path).values():
        if is_public(node.name):
            lines += ["", *definition(node)]
    return HEAD + "\n".join(lines) + "\n"


def write(folder):
    """Make the packages virtio-stubs and board-stubs in the folder."""
    virtio, board = folder / "virtio-stubs", folder / "board-stubs"
    for made in (virtio, board):
        made.mkdir(parents=True, exist_ok=True)
        (made / "py.typed").write_text("partial\n")
    (virtio / "__init__.pyi").write_text(package())
    for name in MODULES:
        (virtio / f"{name}.pyi").write_text(module(name))
    (board / "__init__.pyi").write_text(BOARD.read_text())


if __name__ == "__main__":
    write(Path(sys.argv[1]))
