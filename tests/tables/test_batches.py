# SPDX-License-Identifier: MIT
"""``predict`` of generators, datasets and tensors."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tables.models import forecaster, series, two_inputs

X = series(7)


def test_batches_of_a_generator_give_the_bits_of_one_predict():
    model = forecaster()
    expected = model.predict(X)
    batches = [X[0:3], X[3:4], X[4:]]
    np.testing.assert_array_equal(model.predict(batch for batch in batches), expected)
    np.testing.assert_array_equal(model.predict((batch, None) for batch in batches), expected)
    np.testing.assert_array_equal(model.predict((batch, 1, 2) for batch in batches), expected)
    np.testing.assert_array_equal(model.predict([X[i : i + 1], np.zeros(1)] for i in range(7)), expected)


def test_batches_of_several_inputs_and_outputs_stay_apart():
    model = two_inputs()
    code = np.ones((7, 2), np.float32)
    expected = model.predict([X, code])
    for batches in (
        ([X[i : i + 2], code[i : i + 2]] for i in range(0, 7, 2)),
        ({"series": X[i : i + 2], "code": code[i : i + 2]} for i in range(0, 7, 2)),
        (([X[i : i + 2], code[i : i + 2]], 0) for i in range(0, 7, 2)),
    ):
        for got, want in zip(model.predict(batches), expected, strict=True):
            np.testing.assert_array_equal(got, want)


def test_a_batch_that_does_not_fit_is_named_by_its_number():
    with pytest.raises(
        ValueError, match=r"batch 1 of generator: .*expected shape \(None, 5, 3\), got \(2, 4, 3\)"
    ):
        forecaster().predict(x for x in (X, X[:2, :4]))
    with pytest.raises(ValueError, match="generator gave no batch"):
        forecaster().predict(x for x in ())


def test_what_is_no_array_is_refused_as_before():
    for x in (None, "text", object(), 3, b"bytes"):
        with pytest.raises(ValueError, match="model 'sequential'"):
            forecaster().predict(x)


def test_memory_that_numpy_can_see_is_an_array():
    model = forecaster()
    np.testing.assert_array_equal(model.predict(memoryview(X)), model.predict(X))


def test_tensors_of_torch_are_arrays():
    torch = pytest.importorskip("torch")
    model = forecaster()
    expected = model.predict(X)
    np.testing.assert_array_equal(model.predict(torch.tensor(X)), expected)
    np.testing.assert_array_equal(model.predict(torch.tensor(X, requires_grad=True)), expected)
    rounded = torch.tensor(X).bfloat16()
    np.testing.assert_array_equal(model.predict(rounded), model.predict(rounded.float().numpy()))
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.zeros(7))
    np.testing.assert_array_equal(model.predict(torch.utils.data.DataLoader(data, batch_size=3)), expected)


def test_datasets_of_tensorflow_are_batches():
    tf = pytest.importorskip("tensorflow")
    model = forecaster()
    expected = model.predict(X)
    alone = tf.data.Dataset.from_tensor_slices(X).batch(3)
    with_targets = tf.data.Dataset.from_tensor_slices((X, np.zeros(7))).batch(3)
    np.testing.assert_array_equal(model.predict(alone), expected)
    np.testing.assert_array_equal(model.predict(with_targets), expected)
    np.testing.assert_array_equal(model.predict(tf.constant(X)), expected)
