# SPDX-License-Identifier: MIT
"""The library on a port that nobody here made: tests of tests/target on MicroPython's VIRT_RV32."""

import re
from pathlib import Path

import pytest
import station
from virt_rv32 import ELF, Rv32Station

TARGET = Path(__file__).with_name("target")
FILES = ("errors", "framed", "in_order", "queue", "queue_device", "rng", "block", "batch")
LEGACY = ("queue_device", "rng")  # in both interfaces; the others in the modern one
LEFT_OUT = {
    "test_an_awaited_buffer_is_filled_the_same_way": "no asyncio",
    "test_awaited_batches_let_other_tasks_run": "no asyncio",
    "test_an_awaited_batch_says_which_requests_failed_and_does_the_others": "no asyncio",
    "test_an_awaited_batch_ends_at_a_status_that_does_not_exist": "no asyncio",
    "test_what_is_not_awaited_has_room_beside_awaited_requests": "no asyncio",
    "test_a_read_only_disk_refuses_to_write": "no asyncio",
    "test_FAT_and_littlefs_mount_on_it": "no VfsFat, no VfsLfs2",
    "test_the_disk_mounted_at_boot_is_open": "nothing is mounted at its boot",
    "test_70000_requests_wrap_the_ring_indices": "a matter of the ring, and long",
    "test_the_steady_state_allocates_nothing": "no memoryview.itemsize: a length takes heap",
    "test_pop_with_the_buffers_allocates_nothing": "no memoryview.itemsize: a length takes heap",
    "test_a_request_allocates_nothing": "no memoryview.itemsize: a length takes heap",
}

pytestmark = pytest.mark.skipif(not ELF.exists(), reason="VIRT_RV32 is not built: make virt-rv32")


def cases():
    for name in FILES:
        path = TARGET / f"test_{name}.py"
        for configuration, function, seconds in station.cases(path):
            interface = configuration.interface
            if interface == "modern" or name in LEGACY:
                case = configuration, path, function, seconds
                yield pytest.param(*case, id=f"{path.stem}.{function}[{interface}]")


@pytest.fixture(scope="module")
def stations():
    stations = {}
    yield stations
    for each in stations.values():
        each.close()


@pytest.mark.parametrize("configuration, path, function, seconds", [*cases()])
def test_it_is_so_on_virt_rv32(stations, configuration, path, function, seconds):
    if function in LEFT_OUT:
        pytest.skip(LEFT_OUT[function])
    if configuration not in stations:
        stations[configuration] = Rv32Station(
            configuration, [TARGET / f"test_{name}.py" for name in FILES]
        )
    stations[configuration].run(path, function, seconds)


def test_what_is_left_out_exists():
    names = re.findall(r"def (test_\w+)", "".join(p.read_text() for p in TARGET.glob("test_*.py")))
    assert set(LEFT_OUT) <= set(names)
