# SPDX-License-Identifier: MIT
"""The package as mip and a manifest install it."""

import json
import re
from pathlib import Path

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
    manifest = re.search(r'version="(.*?)"', (LIB / "manifest.py").read_text())[1]
    module = re.search(r'__version__ = "(.*?)"', (LIB / "virtio/__init__.py").read_text())[1]
    assert package == manifest == module


def layer(name):
    return name.split("/")[1]


def test_a_module_imports_only_what_is_below_it():
    for name in MODULES - {"virtio/__init__.py"}:
        for used in imported(LIB / name):
            if layer(used) in COMMON:
                continue
            assert layer(name) not in COMMON, name
            assert LAYERS.index(layer(used)) <= LAYERS.index(layer(name)), (name, used)


def test_no_two_modules_import_each_other():
    left = {name: imported(LIB / name) - {name} for name in MODULES}
    while left:
        free = [name for name in left if not left[name] & set(left)]
        assert free, left
        for name in free:
            del left[name]


def test_what_is_imported_later_is_where_it_is_said_to_be():
    names = re.findall(r'^    "(\w+)": "([\w.]+)",', (PACKAGE / "__init__.py").read_text(), re.M)
    assert dict(names)["Block"] == "drivers.block"
    for name, module in names:
        source = (PACKAGE / (module.replace(".", "/") + ".py")).read_text()
        found = re.search(rf"^(class|def) {name}\b", source, re.M)
        assert found or module.rpartition(".")[2] == name, name


def constants(stem):
    source = (LIB / f"virtio/{stem}.py").read_text()
    return re.findall(r"^(_[A-Z_]+) = const\((.*)\)", source, re.M)


def test_a_constant_has_one_value():
    # MicroPython folds constants of its own file only, so some stand in more than one.
    for group in (
        ("storage/cache", "storage/lookup"),
        ("drivers/block", "drivers/batch"),
        ("ring/framed", "ring/split", "ring/packed", "ring/inorder", "ring/slots", "views"),
    ):
        values = {}
        for stem in group:
            for name, value in constants(stem):
                assert values.setdefault(name, value) == value, (stem, name)
    barrier = (LIB / "virtio/platform/barrier.py").read_text()
    for word, name in re.findall(r"4 \* (\d+)\]\)  # (_[A-Z_]+)", barrier):
        assert values[name] == word


def test_a_disk_and_what_is_below_and_above_it_mean_the_same():
    # Of these modules only some constants are the others' too.
    for owner, others, shared in (
        ("ring/framed", ("drivers/block", "drivers/batch"), r"_RECORD_|_PENDING$|_FRAMED"),
        ("blockdev/calls", ("storage/cache",), r"_IOCTL_(?!ERASE)|_EINVAL$"),
    ):
        values = dict(constants(owner))
        for stem in others:
            found = [(name, value) for name, value in constants(stem) if re.match(shared, name)]
            assert found, stem
            for name, value in found:
                assert values[name] == value, (stem, name)
