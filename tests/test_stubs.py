# SPDX-License-Identifier: MIT
"""The type stubs that the wheel brings for editors say what the modules have."""

import ast

import pytest
import stubs


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stubs")
    stubs.write(folder)
    return folder


def names(path):
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.ClassDef, *stubs.FUNCTIONS)):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            found.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def on_board(start, code):
    board = start()
    board.wait_for_prompt()
    return set(board.exec(code).split())


def test_each_name_that_virtio_gives_is_in_its_stub(written, start):
    given = on_board(start, "import virtio\nprint(*[n for n in dir(virtio) if n[0] != '_'])")
    given |= set(stubs.exports())  # those too that are imported when they are first used
    layers = {path.name for path in stubs.LIBRARY.iterdir() if path.is_dir()}
    layers |= {path.stem for path in stubs.LIBRARY.glob("*.py")} - set(stubs.MODULES)
    assert given - layers <= names(written / "virtio-stubs/__init__.pyi")


def test_the_stub_of_board_is_what_board_has(written, start):
    given = on_board(start, "import board\nprint(*[n for n in dir(board) if n[0] != '_'])")
    said = names(written / "board-stubs/__init__.pyi") - {"Any", "Callable"}
    assert given == said


def test_methods_of_a_stub_are_those_of_the_source(written):
    tree = ast.parse((written / "virtio-stubs/__init__.pyi").read_text())
    (block,) = [node for node in tree.body if getattr(node, "name", "") == "Block"]
    source = stubs.defined(stubs.LIBRARY / "drivers/block.py")["Block"]
    for node in source.body:
        if isinstance(node, stubs.FUNCTIONS) and stubs.is_public(node.name):
            assert any(
                isinstance(each, type(node)) and each.name == node.name for each in block.body
            )


def test_each_module_of_its_own_parses(written):
    for name in stubs.MODULES:
        assert names(written / f"virtio-stubs/{name}.pyi")
