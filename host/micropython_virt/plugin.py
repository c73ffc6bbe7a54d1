# SPDX-License-Identifier: MIT
"""The pytest plugin: tests that run on a board, and fixtures for tests that talk to one.

Files in the folders of the ini option board_testpaths run on the board, each function and each
method a test by its own name. docs/testing-your-project.md is the manual.
"""

import itertools

import pytest

from . import collect, coverage, settings
from .machine import Unusable, firmware, heap_size
from .station import STATIONS, Stations

MARKERS = (
    "board(memory=, heap=, disks=, net=, ports=, qemu_args=, micropython=, interface=, firmware=): "
    "the board that a test runs on",
    "files({name: content}): files that the test finds on the board's own disk, at /",
    "timeout(seconds): how long a test on the board may take, 60 without",
)


def pytest_addoption(parser):
    parser.addini(
        "board_testpaths", "folders whose tests run on the board", "args", ["tests/board"]
    )
    group = parser.getgroup("board", "MicroPython on an emulated board")
    group.addoption("--board-heap", metavar="SIZE", help="free heap of the boards, such as 192K")
    group.addoption(
        "--board-micropython", metavar="VERSIONS", help="run each board test in each of these"
    )
    group.addoption("--board-fresh", action="store_true", help="a new board for each test")
    group.addoption(
        "--share-writable", action="store_true", help="let the board write to the project's folder"
    )
    group.addoption(
        "--board-cov", action="store_true", help="measure which lines ran on the board"
    )


def pytest_configure(config):
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    given = config.getoption("board_micropython")
    versions = given.split(",") if given else []
    try:
        if config.getoption("board_heap"):
            heap_size(config.getoption("board_heap"))
        for version in versions:
            firmware(version)
    except (ValueError, Unusable) as error:
        raise pytest.UsageError(str(error))
    if config.getoption("board_cov"):
        complaint = coverage.unusable()
        if complaint:
            raise pytest.UsageError(complaint)
    config.stash[STATIONS] = Stations(config)


def pytest_pycollect_makemodule(module_path, parent):
    if any(module_path.is_relative_to(folder) for folder in settings.folders(parent.config)):
        return collect.BoardFile.from_parent(parent, path=module_path)
    return None


def pytest_collection_modifyitems(items):
    """Have the tests of a file that run on the same kind of board follow each other."""
    items[:] = [
        item
        for _, group in itertools.groupby(items, lambda item: item.path)
        for item in collect.in_order(list(group))
    ]


# Inside of pytest-cov's, which puts together what is written by then.
@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session):
    try:
        return (yield)
    finally:
        collect.finish(session.config)
        session.config.stash[STATIONS].close()
        if session.config.getoption("board_cov"):
            coverage.finish(session.config)


# For tests that run on the host.


@pytest.fixture
def boards(request):
    """A function that gives so many boards, each a Board, which end with the test."""
    taken = []
    stations = request.config.stash[STATIONS]

    def boards(n):
        asked = settings.configuration(request.config, request.node)
        for _ in range(n):
            taken.append(stations.take(asked))
            for name, content in settings.files(request.node).items():
                taken[-1].board.put("/" + name.lstrip("/"), content)
        return [each.board for each in taken[-n:]]

    try:
        yield boards
    finally:
        for each in taken:
            text = each.board.console
            if text:
                request.node.add_report_section("teardown", "board", text[-10000:])
            stations.give_back(each)


@pytest.fixture
def board(boards):
    """A board with nothing on it but what the test's marks ask for."""
    return boards(1)[0]
