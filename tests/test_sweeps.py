# SPDX-License-Identifier: MIT
"""The short form of make soak's sweeps: in each configuration some points of some operations."""

import os

import pytest
from sweep import sweep

SERIES = 9  # of a configuration
POINTS = 5  # of a series
SEED = int(os.environ["SEED"])  # conftest.py chooses one


@pytest.mark.parametrize("config", sweep.CONFIGS)
def test_whatever_comes_in_nothing_is_lost(config, record_property):
    result = sweep.run(config, sweep.some(POINTS), SEED, SERIES)
    record_property("points", result.points)
    assert not result.failures, "\n".join(
        [f"SEED={SEED}"]
        + [f"make sweep ONE='{recipe}': {what}" for recipe, what in result.failures]
    )
