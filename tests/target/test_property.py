"""Random steps against a model, in a short form; `make soak` takes the long one."""

import property
import pytest

pytestmark = pytest.mark.board(interface=("modern",))


@pytest.mark.timeout(200)
def test_no_random_step_contradicts_the_model():
    steps, faults = property.run(12000, 20261123)
    assert steps >= 12000 and faults > 20
