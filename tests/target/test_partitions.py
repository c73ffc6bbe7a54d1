"""Partition tables of every kind; `make soak` looks at more of those that are made at random."""

import pytest
import random

import tables

pytestmark = pytest.mark.board(interface=("modern",))


def test_any_table_is_read_without_an_error_and_what_is_wrong_is_said():
    seed = random.getrandbits(30)
    print("seed %d: %s" % (seed, tables.run(60, seed)))
