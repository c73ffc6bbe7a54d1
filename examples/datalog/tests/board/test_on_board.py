"""Runs on the board, in MicroPython: files on a real FAT, little memory."""

import gc

import pytest
from datalog import DataLog, mean


def test_records_come_back():
    log = DataLog("/log")
    log.append(1, -40)
    log.append(2, 85)
    assert list(log) == [(1, -40), (2, 85)]


def test_a_damaged_end_is_left_out():
    log = DataLog("/damaged")
    log.append(1, 20)
    with open("/damaged", "ab") as file:
        file.write(b"half")
    assert list(log) == [(1, 20)]


@pytest.mark.parametrize("value", [-32768, 0, 32767])
def test_every_value_fits(value):
    log = DataLog("/value%d" % value)
    log.append(0, value)
    assert mean(log) == value


@pytest.mark.board(heap="48K")
def test_a_long_log_needs_little_memory():
    log = DataLog("/long")
    for seconds in range(200):
        log.append(seconds, seconds)
    gc.collect()
    before = gc.mem_alloc()
    assert mean(log) == 99.5
    gc.collect()
    assert gc.mem_alloc() - before < 4096
