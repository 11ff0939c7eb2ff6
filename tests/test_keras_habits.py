# SPDX-License-Identifier: MIT
"""What a Keras user types out of habit: accepted, or refused with the reason."""

from __future__ import annotations

import copy
import inspect
import json
import pickle

import numpy as np
import pytest

import unrolled
from unrolled import Sequential, layers, load_model, utils
from unrolled.models.public_names import OF_AUTHORS

RNG = np.random.default_rng(11)


def small(units=3):
    return Sequential([layers.GRU(4, input_shape=(None, 2)), layers.Dense(units, activation="softmax")])


PUBLIC = {
    "build", "built", "compute_mask", "compute_output_shape", "count_params", "dtype", "evaluate", "export",
    "from_config", "generate", "get_config", "get_layer", "get_weights", "input", "input_shape", "inputs",
    "layers", "load_weights", "name", "non_trainable_variables", "non_trainable_weights", "output",
    "output_shape", "outputs", "predict", "predict_on_batch", "predict_sequences", "reset_state",
    "reset_states", "save", "save_weights", "set_weights", "source", "stream", "stream_pool", "summary",
    "to_json", "trainable", "trainable_variables", "trainable_weights", "variables", "weights",
}  # fmt: skip


def test_tab_completion_shows_what_users_need():
    model = small()
    assert {name for name in dir(model) if name[0] != "_"} == PUBLIC | {"add", "pop"}
    functional = unrolled.Model(model.input, model.output)
    assert {name for name in dir(functional) if name[0] != "_"} == PUBLIC
    assert len(PUBLIC) + 2 <= 50
    model.version = "mine"
    assert "version" in dir(model)


def test_every_hidden_name_exists():
    model = small()
    assert [name for name in OF_AUTHORS if not hasattr(model, name)] == []


@pytest.mark.parametrize("name", ["fit", "compile", "train_on_batch", "optimizer"])
def test_training_is_refused_with_what_to_do_instead(name):
    with pytest.raises(AttributeError, match="train in Keras, save there, and load the file here"):
        getattr(small(), name)
    assert not hasattr(small(), name)
    assert not hasattr(copy.deepcopy(small()), name)
    assert not hasattr(pickle.loads(pickle.dumps(small())), name)


def test_lambda_is_refused_with_what_to_do_instead():
    with pytest.raises(AttributeError, match="give your own function"):
        _ = layers.Lambda


def test_the_order_of_arguments_is_that_of_keras():
    keras = pytest.importorskip("keras")
    for ours, theirs in (
        (load_model, keras.models.load_model),
        (unrolled.Model.predict, keras.Model.predict),
        (unrolled.Model.evaluate, keras.Model.evaluate),
        (unrolled.Model.predict_on_batch, keras.Model.predict_on_batch),
        (unrolled.Model.save_weights, keras.Model.save_weights),
        (utils.pad_sequences, keras.utils.pad_sequences),
    ):
        first, second = [
            [
                p.name
                for p in inspect.signature(function).parameters.values()
                if p.kind is p.POSITIONAL_OR_KEYWORD
            ]
            for function in (ours, theirs)
        ]
        assert first == second[: len(first)]


def test_load_model_takes_what_keras_takes(tmp_path):
    model = small()
    model.save(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras", None, False, True)
    x = RNG.normal(size=(2, 5, 2))
    assert np.array_equal(loaded.predict(x), model.predict(x))
    with pytest.raises(TypeError, match="name the file of weights"):
        load_model(tmp_path / "m.json", "m.weights.h5")


def test_save_leaves_an_existing_file_where_it_may_not_overwrite(tmp_path):
    model = small()
    for write, name in ((model.save, "m.keras"), (model.save_weights, "m.weights.h5")):
        write(tmp_path / name)
        before = (tmp_path / name).read_bytes()
        with pytest.raises(FileExistsError, match="overwrite=False"):
            write(tmp_path / name, overwrite=False)
        assert (tmp_path / name).read_bytes() == before


def test_weights_written_alone_come_back_here_and_in_keras(tmp_path):
    model, other = small(), small()
    model.save_weights(tmp_path / "m.weights.h5")
    other.load_weights(tmp_path / "m.weights.h5")
    x = RNG.normal(size=(2, 5, 2)).astype(np.float32)
    assert np.array_equal(other.predict(x), model.predict(x))
    keras = pytest.importorskip("keras")
    theirs = keras.models.model_from_json(model.to_json())
    theirs.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_allclose(theirs.predict(x, verbose=0), model.predict(x), atol=1e-6)
    with pytest.raises(ValueError, match=r"ends in \.weights\.h5"):
        model.save_weights(tmp_path / "m.h5")


def test_to_json_is_taken_back():
    model = small()
    assert json.loads(model.to_json(indent=2))["class_name"] == "Sequential"
    assert unrolled.model_from_json(model.to_json()).count_params() == model.count_params()


def test_predict_takes_steps_and_refuses_callbacks():
    model = small()
    x = RNG.normal(size=(70, 5, 2))
    assert np.array_equal(model.predict(x, 10, 0, 3), model.predict(x[:30]))
    assert np.array_equal(model.predict(x, steps=1), model.predict(x[:32]))
    assert np.array_equal(model.predict(x, callbacks=[]), model.predict_on_batch(x))
    with pytest.raises(ValueError, match="in a loop of your own"):
        model.predict(x, callbacks=[print])
    with pytest.raises(ValueError, match="steps: expected a positive integer"):
        model.predict(x, steps=0)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (None, "got None"),
        ("text", "got text"),
        ([["a", "b"]], "text"),
        ([np.zeros((3, 2)), np.zeros((4, 2))], "use predict_sequences"),
        ([[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]], "use predict_sequences"),
        (np.ma.masked_array(np.zeros((1, 3, 2))), "got a masked array"),
        (np.zeros((1, 3, 2), complex), "got complex numbers"),
        (np.zeros((1, 3, 2), "datetime64[s]"), "got times"),
        (object(), r"builtins\.object: make it a NumPy array"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("way", ["predict", "__call__"])
def test_what_is_no_array_is_refused_with_its_type_and_what_to_do(way, x, message):
    model = small()
    with pytest.raises(ValueError, match=message):
        getattr(model, way)(x)


def test_a_call_refuses_a_generator_which_predict_takes():
    model = small()
    x = RNG.normal(size=(4, 5, 2))
    with pytest.raises(ValueError, match=r"a generator: predict\(x\) takes its batches"):
        model(batch for batch in (x[:2], x[2:]))
    assert np.array_equal(model.predict(batch for batch in (x[:2], x[2:])), model.predict(x))


def test_a_pool_closes_its_clients_at_the_end_of_a_with_block():
    with small().stream_pool() as pool:
        assert isinstance(pool, unrolled.StreamPool)
        pool.open()
        pool.open()
    assert len(pool) == 0


def test_pad_sequences_is_that_of_keras():
    keras = pytest.importorskip("keras")
    rows = [[1], [2, 3], [4, 5, 6], []]
    for options in (
        {},
        {"maxlen": 2},
        {"maxlen": 5, "padding": "post", "value": 9},
        {"maxlen": 2, "truncating": "post", "dtype": "float32"},
    ):
        expected = keras.utils.pad_sequences(rows, **options)
        found = utils.pad_sequences(rows, **options)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
    features = [RNG.normal(size=(length, 3)) for length in (2, 4)]
    expected = keras.utils.pad_sequences(features, dtype="float32")
    assert np.array_equal(utils.pad_sequences(features, dtype="float32"), expected)
    with pytest.raises(ValueError, match="sequence 1 has timesteps of shape"):
        utils.pad_sequences([[[1, 2]], [[1, 2, 3]]])
