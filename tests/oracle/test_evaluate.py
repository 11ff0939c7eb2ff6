# SPDX-License-Identifier: MIT
"""``evaluate`` against live Keras: every loss and metric, with and without masks and weights."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled import load_model
from unrolled.models.losses import LOSSES

keras = pytest.importorskip("keras")

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of Keras's own arrays
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning"),
]
RNG = np.random.default_rng(3)
ROWS = 75  # two whole batches of 32 and a part of one


def both(tmp_path, *, units, activation, masked=False, sequences=False):
    keras.utils.set_random_seed(4)
    inner = [keras.layers.Masking()] if masked else []
    theirs = keras.Sequential(
        [
            keras.layers.Input((6, 2)),
            *inner,
            keras.layers.LSTM(5, return_sequences=sequences),
            keras.layers.Dense(units, activation=activation),
        ]
    )
    theirs.save(tmp_path / "m.keras")
    x = RNG.normal(size=(ROWS, 6, 2)).astype(np.float32)
    if masked:
        for row, length in enumerate(RNG.integers(1, 7, size=ROWS)):
            x[row, length:] = 0
    return theirs, load_model(tmp_path / "m.keras"), x


def compare(theirs, ours, x, y, loss, metrics, **options):
    theirs.compile(loss=loss, metrics=metrics)
    expected = theirs.evaluate(x, y, verbose=0, return_dict=True, **options)
    if isinstance(loss, keras.losses.Loss):
        loss = keras.losses.serialize(loss)
    found = ours.evaluate(x, y, loss=loss, metrics=metrics, return_dict=True, **options)
    assert list(found) == ["loss", *(metrics or [])]
    assert found == pytest.approx({key: expected[key] for key in found}, rel=3e-6, abs=1e-6)
    values = ours.evaluate(x, y, loss=loss, metrics=metrics, **options)
    assert values == (list(found.values()) if metrics else found["loss"])


def labels(name, shape, classes):
    if name.startswith("sparse"):
        return RNG.integers(0, classes, size=shape)
    if name in ("binary_crossentropy", "hinge", "squared_hinge"):
        return RNG.integers(0, 2, size=(*shape, classes)).astype(np.float32)
    if name.startswith(("categorical", "top_k")):
        return np.eye(classes, dtype=np.float32)[RNG.integers(0, classes, size=shape)]
    return RNG.uniform(0.1, 1, size=(*shape, classes)).astype(np.float32)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_keras(tmp_path, name, masked, weighted):
    # Of a softmax Keras on TensorFlow takes the logits, and has binary_crossentropy put them into a sigmoid.
    activation = "sigmoid" if name == "binary_crossentropy" else "softmax"
    theirs, ours, x = both(tmp_path, units=7, activation=activation, masked=masked, sequences=True)
    weights = {"sample_weight": RNG.uniform(0.5, 2, size=(ROWS, 6)).astype(np.float32)} if weighted else {}
    compare(theirs, ours, x, labels(name, (ROWS, 6), 7), name, None, **weights)


@pytest.mark.parametrize(
    "name", ["binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy"]
)
def test_losses_take_logits_where_the_serialised_form_says_so(tmp_path, name):
    theirs, ours, x = both(tmp_path, units=7, activation=None)
    loss = {
        "binary_crossentropy": keras.losses.BinaryCrossentropy,
        "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
        "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
    }[name](from_logits=True)
    compare(theirs, ours, x, labels(name, (ROWS,), 7), loss, None)


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize(
    ("loss", "metrics"),
    [
        ("categorical_crossentropy", ["accuracy", "top_k_categorical_accuracy", "categorical_accuracy"]),
        ("sparse_categorical_crossentropy", ["accuracy", "sparse_top_k_categorical_accuracy"]),
        ("mse", ["mae", "mape", "msle", "cosine_similarity", "mse", "poisson"]),
    ],
)
def test_metrics_are_those_of_keras(tmp_path, loss, metrics, masked):
    theirs, ours, x = both(tmp_path, units=7, activation="softmax", masked=masked, sequences=masked)
    shape = (ROWS, 6) if masked else (ROWS,)
    compare(theirs, ours, x, labels(loss, shape, 7), loss, metrics)


@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, 1)])
def test_metrics_of_two_classes_are_those_of_keras(tmp_path, shape):
    theirs, ours, x = both(tmp_path, units=1, activation="sigmoid")
    y = RNG.integers(0, 2, size=shape)
    metrics = ["accuracy", "binary_accuracy", "precision", "recall", "auc", "root_mean_squared_error"]
    names = ["accuracy", "binary_accuracy", "Precision", "Recall", "AUC", "RootMeanSquaredError"]
    theirs.compile(loss="binary_crossentropy", metrics=names)
    expected = theirs.evaluate(x, y, verbose=0)
    found = ours.evaluate(x, y, loss="binary_crossentropy", metrics=metrics)
    assert found == pytest.approx(expected, rel=3e-6, abs=1e-6)


def test_what_cannot_be_compared_is_refused(tmp_path):
    _, ours, x = both(tmp_path, units=7, activation="softmax")
    with pytest.raises(ValueError, match="expected 75 rows"):
        ours.evaluate(x, np.zeros((3, 7)), loss="mse")
    with pytest.raises(ValueError, match="expected shape"):
        ours.evaluate(x, np.zeros((ROWS, 5)), loss="mse")
    with pytest.raises(ValueError, match="loss 'nothing': expected a function"):
        ours.evaluate(x, np.zeros((ROWS, 7)), loss="nothing")
    with pytest.raises(ValueError, match="metric 'nothing': expected a function"):
        ours.evaluate(x, np.zeros((ROWS, 7)), metrics=["nothing"])
    with pytest.raises(ValueError, match="say what to compute"):
        ours.evaluate(x, np.zeros((ROWS, 7)))
    with pytest.raises(ValueError, match="labels go from 0 to 9, but the model has 7 classes"):
        ours.evaluate(x, np.arange(ROWS) % 10, loss="sparse_categorical_crossentropy")
