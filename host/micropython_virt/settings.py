# SPDX-License-Identifier: MIT
"""What ini file, options and marks ask for."""

import shlex
from dataclasses import dataclass

import pytest

from .folder import POINT
from .machine import NETDEVS, heap_size, memory_size

INTERFACES = ("legacy", "modern")


@dataclass(frozen=True)
class Configuration:
    """What is asked of a board."""

    memory: str = "128M"
    heap: int = 0
    disks: tuple = ()
    net: str = ""
    ports: tuple = ()
    qemu_args: tuple = ()
    micropython: str | None = None
    firmware: str = ""
    interface: str = "modern"
    tracing: bool = False


def folders(config):
    """The folders whose tests run on the board."""
    top = config.inipath.parent if config.inipath else config.rootpath
    return [top / name for name in config.getini("board_testpaths")]


def versions(config):
    """The releases in which each test on the board runs; None is the usual one."""
    given = config.getoption("board_micropython")
    return given.split(",") if given else [None]


def board_marks(node, more=()):
    """What the marks of a node ask of its board, and these that it will have."""
    asked = {}
    for mark in [*reversed(list(node.iter_markers("board"))), *more]:
        asked |= mark.kwargs
    return asked


def interfaces(node, marks):
    """The virtio interfaces in each of which a test runs; None where it has one alone."""
    asked = board_marks(node, [mark for mark in marks if mark.name == "board"])
    given = asked.get("interface")
    if given is None or given in INTERFACES:
        return [None]
    if not given or isinstance(given, str) or not set(given) <= set(INTERFACES):
        raise ValueError(
            f"interface is {given!r}: it must be {' or '.join(INTERFACES)}, or a tuple"
        )
    return list(given)


def configuration(config, node, version=None):
    """What a test's marks and the options ask of its board."""
    asked = board_marks(node)
    known = {"memory", "heap", "disks", "net", "ports", "qemu_args", "micropython"}
    known |= {"firmware", "interface"}
    unknown = asked.keys() - known
    if unknown:
        raise pytest.UsageError(f"{node.nodeid}: board() knows no {', '.join(sorted(unknown))}")
    net = asked.get("net") or ""
    if net and net not in NETDEVS:
        raise pytest.UsageError(
            f"{node.nodeid}: net is {net!r}: it must be {' or '.join(NETDEVS)}"
        )
    if asked.get("ports") and not net:
        raise pytest.UsageError(f"{node.nodeid}: ports need a network, net='isolated' for one")
    heap = config.getoption("board_heap") or asked.get("heap")
    try:
        heap = heap_size(heap) if heap else 0
        memory = memory_size(asked.get("memory") or "128M")
    except ValueError as error:
        raise pytest.UsageError(f"{node.nodeid}: {error}")
    tracing = config.getoption("board_cov")
    words = asked.get("qemu_args") or ()
    return Configuration(
        memory=memory,
        heap=0 if tracing else heap,  # the tracing itself takes some with each call
        disks=tuple(str(disk) for disk in asked.get("disks") or ()),
        net=NETDEVS.get(net, ""),
        ports=tuple(asked.get("ports") or ()),
        qemu_args=tuple(shlex.split(words) if isinstance(words, str) else words),
        firmware=str(config.rootpath / asked["firmware"]) if asked.get("firmware") else "",
        interface=asked.get("interface") or "modern",
        micropython=version or asked.get("micropython") or versions(config)[0],
        tracing=tracing,
    )


def files(node):
    """The files that a test's marks ask for."""
    found = {}
    for mark in reversed(list(node.iter_markers("files"))):
        found |= mark.args[0]
    return found


def on_board(config, folder):
    """The name of one of the project's folders on the board."""
    return f"{POINT}/{folder.relative_to(config.rootpath).as_posix()}".removesuffix("/.")


def places(config):
    """Where the board looks for the project's modules."""
    top = config.rootpath
    given = [top / name for name in config.getini("pythonpath")]
    found = dict.fromkeys([*given, top, top / "src", top / "lib"])
    return [on_board(config, each) for each in found if each.is_dir() and each.is_relative_to(top)]
