"""Runs in CPython: what does not depend on the board."""

import pytest
from datalog import DataLog, mean


@pytest.fixture
def log(tmp_path):
    return DataLog(tmp_path / "log")


def test_an_empty_log_has_no_mean(log):
    assert mean(log) is None


def test_the_mean_is_that_of_all_values(log):
    for seconds, value in ((1, 20), (2, 22)):
        log.append(seconds, value)
    assert mean(log) == 21
