# SPDX-License-Identifier: MIT
"""The float64 reference gives what Keras gave, for every stored fixture; no TensorFlow needed."""

from __future__ import annotations

import pytest

from tests import fixtures
from tests.reference.model import Chain
from tests.tolerances import assert_close


def as_list(y):
    return list(y) if isinstance(y, list | tuple) else [y]


@pytest.mark.parametrize("fixture", fixtures.all_fixtures(), ids=str)
def test_reference_matches_what_keras_predicted(fixture):
    chain = Chain(fixture.recipe["layers"], fixture.weights(), fixture.semantics)
    for call, (x, expected) in enumerate(fixture.calls()):
        got = as_list(chain(x))
        assert len(got) == len(expected)
        for i, (y, want) in enumerate(zip(got, expected, strict=True)):
            assert_close(y, want, "reference", f"{fixture}: call {call}, output {i}")


@pytest.mark.parametrize(
    ("archive", "entry"),
    [pytest.param(*case, id=f"{case[0]}-{case[1]['name']}") for case in fixtures.call_cases()],
)
def test_reference_matches_layers_that_keras_called_on_arrays(archive, entry):
    x, weights, mask, states = fixtures.call_inputs(archive, entry)
    chain = Chain([entry["recipe"]], weights, fixtures.SEMANTICS[archive])
    got = as_list(chain(x, mask=mask, initial_state=states))
    expected = fixtures.call_outputs(archive, entry)
    assert len(got) == len(expected)
    for i, (y, want) in enumerate(zip(got, expected, strict=True)):
        assert_close(y, want, "reference", f"output {i}")
