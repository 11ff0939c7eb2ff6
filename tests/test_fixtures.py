# SPDX-License-Identifier: MIT
"""Every fixture that Keras wrote loads and gives Keras's numbers."""

from __future__ import annotations

import numpy as np
import pytest

import unrolled
from tests import fixtures
from tests.tolerances import assert_close


def load(fixture):
    return unrolled.load_model(fixture.path, weights=fixture.weights_path)


def outputs_of(y):
    return list(y) if isinstance(y, list | tuple) else [y]


every_fixture = pytest.mark.parametrize("fixture", fixtures.all_fixtures(), ids=str)


@every_fixture
def test_a_file_that_keras_wrote_gives_what_keras_predicted(fixture):
    model = load(fixture)
    for call, (x, expected) in enumerate(fixture.calls()):
        y = model(x) if fixture.entry.get("call") else model.predict(x, verbose=0)
        got = outputs_of(y)
        assert len(got) == len(expected)
        for i, (array, want) in enumerate(zip(got, expected, strict=True)):
            assert array.dtype == np.float32
            assert_close(array, want, fixture.tolerance_class, f"{fixture}: call {call}, output {i}")


@every_fixture
def test_a_loaded_model_has_the_weights_of_keras_in_the_order_of_keras(fixture):
    got = load(fixture).get_weights()
    expected = fixture.weights()
    if any(layer["class"] == "Normalization" for layer in fixture.recipe["layers"]):
        got, expected = [
            [w for w in ws if np.ndim(w)] for ws in (got, expected)
        ]  # count is for training only
    assert [w.shape for w in got] == [w.shape for w in expected]
    for mine, keras in zip(got, expected, strict=True):
        np.testing.assert_array_equal(mine, keras)


@every_fixture
def test_a_model_is_called_as_it_predicts(fixture):
    if fixture.entry.get("calls", 1) > 1:
        pytest.skip("a stateful model gives something else at its second call")
    model = load(fixture)
    x, _ = fixture.calls()[0]
    called, predicted = outputs_of(model(x)), outputs_of(model.predict(x, verbose=0))
    for a, b in zip(called, predicted, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("archive", "entry"),
    [
        pytest.param(archive, entry, id=f"{archive}-{entry['name']}")
        for archive, entry in fixtures.call_cases()
        if archive == "keras3"
    ],
)
def test_a_layer_called_on_arrays_gives_what_the_layer_of_keras_gave(archive, entry):
    from tests.recipes import build_layer

    x, weights, mask, states = fixtures.call_inputs(archive, entry)
    layer = build_layer(unrolled.layers, entry["recipe"])
    layer.build(x.shape)
    layer.set_weights(weights)
    kwargs = ({"mask": mask} if mask is not None else {}) | ({"initial_state": states} if states else {})
    got = outputs_of(layer(x, **kwargs))
    expected = fixtures.call_outputs(archive, entry)
    assert len(got) == len(expected)
    for i, (y, want) in enumerate(zip(got, expected, strict=True)):
        assert_close(y, want, "default", f"output {i}")


def test_every_fixture_says_how_it_was_made():
    for fixture in fixtures.all_fixtures():
        assert fixture.entry["seed"]
        assert fixture.recipe["layers"]
    assert fixtures.index("keras3")["keras"].startswith("3.")
    assert fixtures.index("tf_keras")["keras"].startswith("2.")
