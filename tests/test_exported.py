# SPDX-License-Identifier: MIT
"""Models as plan files: the same bits, everywhere that a model runs; opened in milliseconds."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import unrolled
from tests import fixtures
from tests.streaming import causal_models
from unrolled import Input, Model, Sequential, _core, layers
from unrolled.cli import main
from unrolled.engine import tree
from unrolled.layers.custom import PythonLayer
from unrolled.models.exported import ExportedModel, is_plan_file, open_plan_file
from unrolled.models.exporting import plan_file


def exported(model):
    return ExportedModel(_core.PlanFile.from_bytes(plan_file(model), verify=True))


def same_bits(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_bits(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same_bits, a, b))
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


STATELESS = sorted(set(causal_models.MODELS) - {"stateful"})
ONE_INPUT = sorted(set(STATELESS) - {"several_inputs_and_outputs"})


@pytest.mark.parametrize("name", ONE_INPUT)
def test_predictions_streams_and_pools_have_the_bits_of_the_original(name):
    model = causal_models.make(name)
    other = exported(model)
    assert other.input_shape == model.input_shape
    assert other.output_shape == model.output_shape
    assert other.name == model.name
    for batch, timesteps in [(1, 1), (3, 7), (50, 4)]:
        x = causal_models.sequences(model, batch, timesteps)
        assert same_bits(other.predict(x, verbose=0), model.predict(x, verbose=0))
        assert same_bits(other(x), model(x))
    streams = model.stream(2), other.stream(2)
    x = causal_models.sequences(model, 2, 9)
    for t in range(4):
        assert same_bits(streams[1].step(x[:, t]), streams[0].step(x[:, t]))
    streams[1].set_state(streams[0].get_state())
    assert same_bits(streams[1].run(x[:, 4:]), streams[0].run(x[:, 4:]))
    assert same_bits(streams[1].get_state(), streams[0].get_state())
    pools = model.stream_pool(2), other.stream_pool(2)
    clients = [[pool.open() for _ in range(2)] for pool in pools]
    for t in range(3):
        assert same_bits(*(pool.step(ids, x[:, t]) for pool, ids in zip(pools, clients, strict=True)))
    items = [causal_models.sequences(model, 1, length)[0] for length in (1, 5, 3)]
    assert same_bits(other.predict_sequences(items), model.predict_sequences(items))


@pytest.mark.parametrize("archive", sorted(fixtures.SEMANTICS))
def test_every_fixture_predicts_the_same_or_is_refused_by_name(archive):
    refused = {}
    for fixture in fixtures.all_fixtures():
        if fixture.archive != archive:
            continue
        model = unrolled.load_model(fixture.path, weights=fixture.weights_path)
        try:
            other = exported(model)
        except unrolled.UnsupportedModelError as error:
            refused[fixture.name] = str(error)
            continue
        x, _ = fixture.calls()[0]
        assert same_bits(other.predict(x, verbose=0), model.predict(x, verbose=0)), fixture.name
    assert len(refused) < 20, refused
    assert all("stateful" in reason for reason in refused.values())


def test_structures_of_inputs_and_outputs_are_kept():
    model = causal_models.several_inputs_and_outputs()
    other = exported(model)
    x = {"a": np.ones((2, 5, 3), np.float32), "b": np.ones((2, 5, 2), np.float32)}
    assert same_bits(other.predict(x), model.predict(x))
    assert same_bits(other.predict([x["a"], x["b"]]), model.predict(x))
    assert same_bits(other.stream(2).run(x), model.stream(2).run(x))
    named = Model(
        {"left": (a := Input((None, 2), name="left")), "right": (b := Input((None, 2), name="right"))},
        {"sum": layers.Add()([a, b]), "last": layers.GRU(3)(b)},
    )
    x = {"left": np.ones((1, 4, 2), np.float32), "right": np.zeros((1, 4, 2), np.float32)}
    assert same_bits(exported(named).predict(x), named.predict(x))
    assert exported(named).output_shape == named.output_shape


def test_a_bidirectional_model_predicts_and_says_that_it_cannot_stream():
    model = Sequential([Input((None, 3)), layers.Bidirectional(layers.LSTM(4)), layers.Dense(2)])
    other = exported(model)
    x = np.random.default_rng(0).standard_normal((5, 6, 3)).astype(np.float32)
    assert same_bits(other.predict(x), model.predict(x))
    items = [x[0], x[1, :2], x[2, :4]]
    assert same_bits(other.predict_sequences(items), model.predict_sequences(items))
    with pytest.raises(unrolled.streaming.StreamError, match="cannot run as a live stream"):
        other.stream()


def test_generate_draws_the_same_tokens():
    model = causal_models.make("embedding")
    text = Sequential(
        [Input((None,)), layers.Embedding(11, 4), layers.GRU(8), layers.Dense(11, activation="softmax")]
    )
    x = np.array([[1, 2, 3]], np.int32)
    assert same_bits(
        exported(text).generate(x, 9, temperature=1.0, seed=4), text.generate(x, 9, temperature=1.0, seed=4)
    )
    assert same_bits(exported(text).generate(x, 5, window=2), text.generate(x, 5, window=2))
    assert exported(model).predict(x).shape == (1, 3, 3)


def test_ids_out_of_range_are_refused_as_in_the_original():
    other = exported(Sequential([Input((None,)), layers.Embedding(11, 4), layers.GRU(3)]))
    with pytest.raises(ValueError, match="id 11"):
        other.predict(np.array([[11]]))
    with pytest.raises(ValueError, match="expected int32 values"):
        other.predict(np.array([[0.5]]))


def test_models_with_python_functions_are_refused_by_name():
    double = PythonLayer(lambda values: values * 2, "Doubling", name="doubling")
    with pytest.raises(unrolled.UnsupportedModelError, match=r"doubling.*Doubling.*Python function"):
        plan_file(Sequential([Input((None, 3)), double]))


def test_stateful_models_are_refused_by_name_and_stateless_copies_are_not():
    model = causal_models.make("stateful")
    with pytest.raises(unrolled.UnsupportedModelError, match="stateful"):
        plan_file(model)
    for layer in model.walk():
        if getattr(layer, "stateful", False):
            layer.stateful = False
    assert exported(model).stream() is not None


def test_load_model_tells_a_plan_file_by_its_content(tmp_path):
    model = causal_models.make("gru")
    path = tmp_path / "anything.keras"
    model.export(path)
    assert is_plan_file(path)
    assert not is_plan_file(tmp_path)
    assert not is_plan_file(tmp_path / "nothing")
    other = unrolled.load_model(path)
    assert isinstance(other, ExportedModel)
    x = causal_models.sequences(model, 2, 3)
    assert same_bits(other.predict(x), model.predict(x))
    with pytest.raises(ValueError, match="takes no weights"):
        unrolled.load_model(path, weights=path)
    again = tmp_path / "again.unrolled"
    other.export(again)
    assert again.read_bytes() == path.read_bytes()


def test_exporting_onto_a_file_that_is_open_leaves_the_open_model_whole(tmp_path):
    path = tmp_path / "model.unrolled"
    first, second = causal_models.make("lstm"), causal_models.make("gru")
    first.export(path)
    opened = unrolled.load_model(path)
    second.export(path)
    x = causal_models.sequences(first, 2, 3)
    assert same_bits(opened.predict(x), first.predict(x))
    assert same_bits(unrolled.load_model(path).predict(x), second.predict(x))


def test_exports_of_one_model_are_equal_byte_for_byte():
    assert plan_file(causal_models.make("branches")) == plan_file(causal_models.make("branches"))


def test_weights_are_stored_once_for_both_plans():
    model = Sequential([Input((None, 64)), layers.LSTM(64), layers.Dense(64)])
    weights = 4 * model.count_params()
    assert weights < len(plan_file(model)) < weights + 8192


def test_copies_and_pickles_run_alike():
    model = causal_models.make("lstm")
    other = exported(model)
    x = causal_models.sequences(model, 2, 3)
    for made in (copy.copy(other), copy.deepcopy(other), pickle.loads(pickle.dumps(other))):
        assert same_bits(made.predict(x), model.predict(x))
    stream = other.stream()
    stream.run(x[:1])
    gone_on = pickle.loads(pickle.dumps(stream))
    assert same_bits(gone_on.step(x[:1, 0]), stream.step(x[:1, 0]))


def test_what_needs_layers_is_refused_with_a_reason(tmp_path):
    other = exported(causal_models.make("lstm"))
    assert other.layers == []
    assert other.count_params() == 0
    for call in (
        other.get_config,
        lambda: other.save(tmp_path / "x.keras"),
        lambda: other.load_weights(tmp_path / "x.h5"),
        lambda: other(np.ones((1, 2, 5), np.float32), mask=np.ones((1, 2), bool)),
        lambda: other(Input((None, 5))),
    ):
        with pytest.raises(ValueError, match="plan file"):
            call()


def test_threads_that_run_a_model_first_at_the_same_time_get_the_same_bits():
    model = causal_models.make("wide")
    x = causal_models.sequences(model, 4, 6)
    expected = model.predict(x)
    for _ in range(20):
        other = exported(model)
        results = [None] * 8
        start = threading.Barrier(8)

        def run(number, results=results, start=start, other=other):
            start.wait()
            results[number] = other.predict(x, verbose=0)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(same_bits(result, expected) for result in results)


OPENING = """
import resource, sys, time, unrolled
unrolled.load_model(sys.argv[2])
def spent():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
times = []
for _ in range(5):
    start = spent()
    unrolled.load_model(sys.argv[1])
    times.append(spent() - start)
print(min(times))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs getrusage")
def test_opening_35_megabytes_takes_less_than_5_milliseconds_of_processor_time(tmp_path):
    x = Input((None, 256))
    model = Model(x, layers.Dense(10)(layers.LSTM(1024)(layers.LSTM(1024, return_sequences=True)(x))))
    assert 4 * model.count_params() > 50e6
    model.export(tmp_path / "large.unrolled")
    causal_models.make("gru").export(tmp_path / "small.unrolled")
    result = subprocess.run(
        [sys.executable, "-c", OPENING, tmp_path / "large.unrolled", tmp_path / "small.unrolled"],
        capture_output=True,
        check=True,
    )
    assert float(result.stdout) < 5e-3


def test_the_command_exports_and_the_others_take_plan_files(tmp_path, capsys):
    model = causal_models.make("gru")
    source, target = tmp_path / "model.keras", tmp_path / "model.unrolled"
    model.save(source)
    assert main(["export", str(source), "-o", str(target)]) == 0
    assert "plan file" in capsys.readouterr().out
    np.save(tmp_path / "x.npy", causal_models.sequences(model, 2, 3))
    assert main(["predict", str(target), str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")]) == 0
    assert same_bits(
        np.load(tmp_path / "y.npy"), unrolled.load_model(source).predict(np.load(tmp_path / "x.npy"))
    )
    assert main(["summary", str(target)]) == 0
    assert "without layers" in capsys.readouterr().out
    assert main(["export", str(target), "-o", str(tmp_path / "nowhere" / "x")]) == 2
    damaged = bytearray(target.read_bytes())
    damaged[70] ^= 1
    target.write_bytes(damaged)
    assert main(["summary", str(target)]) == 1
    assert "checksum" in capsys.readouterr().err


def test_a_summary_can_be_printed_elsewhere():
    buffer = io.StringIO()
    exported(causal_models.make("lstm")).summary(print_fn=buffer.write)
    assert "float32 (None, None, 5)" in buffer.getvalue()


def test_verify_reads_the_weights(tmp_path):
    path = tmp_path / "model.unrolled"
    causal_models.make("lstm").export(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    open_plan_file(path)
    with pytest.raises(unrolled.ModelFileError, match="checksum of its weights"):
        open_plan_file(path, verify=True)


def test_outputs_in_flattened_order_have_names():
    other = exported(causal_models.several_inputs_and_outputs())
    assert len(list(tree.leaves(other.input))) == 2
    assert [tensor.name for tensor in other.inputs] == ["a", "b"]
