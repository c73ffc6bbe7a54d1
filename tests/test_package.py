# SPDX-License-Identifier: MIT
"""The package as mip and a manifest install it."""

import ast
import json
import re
from pathlib import Path

import layout
import pytest

LIB = Path(__file__).parent.parent / "lib"
PACKAGE = LIB / "virtio"
MODULES = {path.relative_to(LIB).as_posix() for path in PACKAGE.rglob("*.py")}
DRIVERS = ("block", "net", "rng")
# From the bottom; each may import from itself and from those before.
LAYERS = ("platform", "transport", "ring", "device", "blockdev", "drivers", "storage")
LAYERS += ("views.py", "slowmotion.py")
COMMON = ("errors.py", "features.py")  # which import nothing


def listed(name):
    package = json.loads((LIB / f"{name}.json").read_text())
    assert all(target == source for target, source in package["urls"])
    return {target for target, _ in package["urls"]}


def imported(path):
    """The modules of the package that one imports, at its start or later, as files."""
    found = set()
    for dots, name, words in re.findall(
        r"^ *from (\.+)([\w.]*) import ([^#\n]*)", path.read_text(), re.MULTILINE
    ):
        target = path.parents[len(dots) - 1].joinpath(*name.split("."))
        for word in re.findall(r"\w+", words) or [""]:
            module = target / word if target.is_dir() else target
            if not module.with_suffix(".py").exists():
                module = target / "__init__"
            found.add(module.with_suffix(".py").relative_to(LIB).as_posix())
    return found


def test_the_whole_package_is_listed():
    assert listed("package") == MODULES


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_list_of_a_driver_has_all_that_it_imports_and_no_other_driver(driver):
    names = listed(driver)
    assert {"virtio/__init__.py", f"virtio/drivers/{driver}.py"} <= names
    for name in names:
        assert imported(LIB / name) <= names, name
        assert f"{name.rpartition('/')[0]}/__init__.py" in names
    others = {f"virtio/drivers/{other}.py" for other in ("block", "net") if other != driver}
    assert not names & others
    assert not [name for name in names if name.startswith("virtio/storage/")]


def test_the_version_is_the_same_everywhere():
    package = json.loads((LIB / "package.json").read_text())["version"]
    module = re.search(r'__version__ = "(.*?)"', (LIB / "virtio/__init__.py").read_text())[1]
    assert package == module
    # Each module would be given a name by it when it is frozen, which takes heap.
    assert "version=" not in (LIB / "manifest.py").read_text()


def layer(name):
    return name.split("/")[1]


def test_a_module_imports_only_what_is_below_it():
    for name in MODULES - {"virtio/__init__.py"}:
        for used in imported(LIB / name):
            if layer(used) in COMMON:
                continue
            assert layer(name) not in COMMON, name
            assert LAYERS.index(layer(used)) <= LAYERS.index(layer(name)), (name, used)


def methods(path, name):
    """The names that a class of a module defines in its body."""
    (body,) = [
        node for node in ast.parse(path.read_text()).body if getattr(node, "name", 0) == name
    ]
    return {node.name for node in body.body if isinstance(node, ast.FunctionDef)}


def test_a_ring_knows_nothing_of_waiting():
    """Nor has it a name of its own that would be found before that of what waits."""
    waiting = methods(PACKAGE / "device/waiting.py", "Waiting")
    assert {"add_notify_wait_pop", "submit", "wait"} <= waiting
    for path in PACKAGE.glob("ring/*.py"):
        text = path.read_text()
        assert not re.search(rf"\bself\.({'|'.join(waiting)})\b", text), path
        assert not re.search(rf"^    def ({'|'.join(waiting)})\(", text, re.M), path


def test_only_the_platform_knows_the_board_and_speaks_assembler():
    for name in MODULES:
        text = (LIB / name).read_text()
        if layer(name) != "platform":
            assert not re.search(r"^ *(import board\b|from board )|asm_|\bitemsize", text, re.M), (
                name
            )


def test_what_stands_in_for_the_processors_routines_has_the_same_names():
    names = [
        set(re.findall(r"^ *def ([a-z]\w*)", (PACKAGE / f"platform/{name}.py").read_text(), re.M))
        for name in ("processor", "viper")
    ]
    assert names[0] == names[1]


def test_no_two_modules_import_each_other():
    left = {name: imported(LIB / name) - {name} for name in MODULES}
    while left:
        free = [name for name in left if not left[name] & set(left)]
        assert free, left
        for name in free:
            del left[name]


def test_what_is_imported_later_is_where_it_is_said_to_be():
    names = re.findall(
        r'^    \("(\w+)", "([\w.]+)"\),', (PACKAGE / "__init__.py").read_text(), re.M
    )
    assert dict(names)["Block"] == "drivers.block"
    for name, module in names:
        source = (PACKAGE / (module.replace(".", "/") + ".py")).read_text()
        found = re.search(rf"^(class|def) {name}\b", source, re.M)
        assert found or module.rpartition(".")[2] == name, name


CONSTANT = re.compile(r"^(_[A-Z][A-Z0-9_]*) = const\((.*)\)", re.M)


def test_a_number_of_the_table_is_the_same_in_each_module_that_names_it():
    table = dict(CONSTANT.findall((PACKAGE / "layout.py").read_text()))
    copies = 0
    for name in MODULES:
        for constant, value in CONSTANT.findall((LIB / name).read_text()):
            if constant in table:
                assert value == table[constant], (name, constant)
                copies += 1
    assert copies > len(table)


def test_no_two_modules_have_a_constant_of_the_same_name_but_by_the_table():
    # The drivers' own, such as _QUEUE_SIZE, are each of its device.
    table = dict(CONSTANT.findall((PACKAGE / "layout.py").read_text()))
    owners = {}
    for name in MODULES:
        for constant, _ in CONSTANT.findall((LIB / name).read_text()):
            if constant not in table and not name.startswith("virtio/drivers/"):
                assert owners.setdefault(constant, name) == name, constant


def test_a_stale_copy_of_the_table_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(layout, "PACKAGE", tmp_path)
    monkeypatch.setattr(layout, "TABLE", tmp_path / "layout.py")
    monkeypatch.setattr("sys.argv", ["layout.py"])
    (tmp_path / "layout.py").write_text("# Words.\n_A = const(1)  # one\n_B = const(2)\n")
    module = tmp_path / "module.py"
    module.write_text(f"{layout.BEGIN}{layout.END}\nprint(_B, _A)\n")
    layout.main()
    block = "\n# Words.\n_A = const(1)  # one\n_B = const(2)\n"
    assert module.read_text() == f"{layout.BEGIN}{block}{layout.END}\nprint(_B, _A)\n"
    (tmp_path / "layout.py").write_text("_A = const(3)\n_B = const(2)\n")
    monkeypatch.setattr("sys.argv", ["layout.py", "--check"])
    with pytest.raises(SystemExit, match="module.py: run make layout"):
        layout.main()
    module.write_text("_A = const(1)\n")
    with pytest.raises(SystemExit, match="defines _A itself"):
        layout.main()
