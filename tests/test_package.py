# SPDX-License-Identifier: MIT
"""The package as mip and a manifest install it."""

import json
import re
from pathlib import Path

LIB = Path(__file__).parent.parent / "lib"
MODULES = {f"virtio/{path.name}" for path in (LIB / "virtio").glob("*.py")}


def test_package_json_lists_every_module():
    package = json.loads((LIB / "package.json").read_text())
    assert {target for target, _ in package["urls"]} == MODULES
    assert all(target == source for target, source in package["urls"])


def test_the_version_is_the_same_everywhere():
    package = json.loads((LIB / "package.json").read_text())["version"]
    manifest = re.search(r'version="(.*?)"', (LIB / "manifest.py").read_text())[1]
    module = re.search(r'__version__ = "(.*?)"', (LIB / "virtio/__init__.py").read_text())[1]
    assert package == manifest == module


def test_a_module_imports_only_what_is_below_it():
    order = [
        "errors",
        "features",
        "dma",
        "barrier",
        "mmio",
        "frames",
        "rings",
        "queue",
        "packed",
        "inorder",
        "aio",
        "device",
        "slots",
    ]
    order += [
        "owners",
        "blk",
        "batch",
        "rng",
        "entropy",
        "partitions",
        "lookup",
        "cache",
        "littlefs",
    ]
    order += ["filesystems", "net", "lan", "views", "slowmotion"]
    for rank, name in enumerate(order):
        source = (LIB / f"virtio/{name}.py").read_text()
        for line in re.findall(r"^from \.(\w*) import (.*)$", source, re.M):
            words = re.findall(r"\w+", line[1].split("#")[0])
            used = [line[0]] if line[0] else words
            assert all(order.index(module) < rank for module in used), (name, used)
    assert {f"virtio/{name}.py" for name in order} | {"virtio/__init__.py"} == MODULES


def constants(stem):
    source = (LIB / f"virtio/{stem}.py").read_text()
    return re.findall(r"^(_[A-Z_]+) = const\((.*)\)", source, re.M)


def test_a_constant_has_one_value():
    # MicroPython folds constants of its own file only, so some stand in more than one.
    for group in (
        ("cache", "lookup"),
        ("blk", "batch"),
        ("frames", "queue", "packed", "inorder", "slots", "views", "slowmotion"),
    ):
        values = {}
        for stem in group:
            for name, value in constants(stem):
                assert values.setdefault(name, value) == value, (stem, name)
    barrier = (LIB / "virtio/barrier.py").read_text()
    for word, name in re.findall(r"4 \* (\d+)\]\)  # (_[A-Z_]+)", barrier):
        assert values[name] == word


def test_a_disk_and_what_is_below_and_above_it_mean_the_same():
    # Of these modules only some constants are the others' too.
    for owner, others, shared in (
        ("frames", ("blk", "batch"), r"_RECORD_|_PENDING$|_FRAMED"),
        ("blk", ("cache",), r"_IOCTL_|_EINVAL$"),
    ):
        values = dict(constants(owner))
        for stem in others:
            found = [(name, value) for name, value in constants(stem) if re.match(shared, name)]
            assert found, stem
            for name, value in found:
                assert values[name] == value, (stem, name)
