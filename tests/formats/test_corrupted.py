# SPDX-License-Identifier: MIT
"""Broken files, hundreds of ways: only the two errors of loading, bounded in time and memory."""

from __future__ import annotations

import json
import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unrolled.errors import ModelFileError, UnsupportedModelError
from unrolled.formats import read_model, read_weights

from . import fake

MUTATIONS = 300


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def replace_fields(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 2, 5])):
        position = rng.randrange(len(data) // 8) * 8
        values = (2**64 - 1, 0, 2**31, rng.randrange(len(data)), rng.randrange(len(data) // 8) * 8)
        data[position : position + 8] = rng.choice(values).to_bytes(8, "little")


def swap_fields(data: bytearray, rng: random.Random) -> None:
    size = rng.choice([size for size in (1, 2, 4, 8, 32, 512) if size < len(data)])
    first, second = (rng.randrange(len(data) - size) for _ in range(2))
    kept = data[first : first + size]
    data[first : first + size] = data[second : second + size]
    data[second : second + size] = kept


def try_all(path: Path) -> None:
    """Read the file in every way it can be read; nothing but the two errors may come out."""
    readers: list[Callable[[], Any]] = [lambda: read_model(path).weights, lambda: read_weights(path)]
    for reader in readers:
        model = fake.small_model()
        message = ""
        try:
            source = reader()
            if source is not None:
                source.load_into(model)
        except (ModelFileError, UnsupportedModelError) as error:
            message = str(error)
        assert message.replace("\n", "").isprintable()
        assert not message or all(value is None for value in model.values())


@pytest.mark.parametrize("mutate", [truncate, flip_bits, replace_fields, swap_fields])
@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_mutated_files_are_read_or_refused(
    tmp_path: Path, kind: str, mutate: Callable[[bytearray, random.Random], None]
) -> None:
    path = tmp_path / f"m.{kind}"
    original = (fake.write_keras if kind == "keras" else fake.write_h5)(path).read_bytes()
    rng = random.Random(f"{kind} {mutate.__name__}")
    tracemalloc.start()
    slowest = 0.0
    for _ in range(MUTATIONS):
        data = bytearray(original)
        mutate(data, rng)
        path.write_bytes(data)
        start = time.perf_counter()
        try_all(path)
        slowest = max(slowest, time.perf_counter() - start)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert slowest < 1.0
    assert peak < 32 << 20


def paths_into(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [here] if here else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, element in items:
        found += paths_into(element, (*here, key))
    return found


def graph_config() -> dict[str, Any]:
    tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 0]}}
    layers = [
        fake.keras_3_layer("InputLayer", name="x", batch_shape=[None, 5, 4])
        | {"name": "x", "inbound_nodes": []},
        fake.keras_3_layer("LSTM", **fake.LSTM_CONFIG)
        | {"name": "lstm", "inbound_nodes": [{"args": [tensor], "kwargs": {"mask": None}}]},
    ]
    config = {
        "name": "m",
        "layers": layers,
        "input_layers": ["x", 0, 0],
        "output_layers": {"a": ["lstm", 0, 0]},
    }
    return {"module": "keras", "class_name": "Functional", "config": config, "registered_name": None}


def old_graph_config() -> dict[str, Any]:
    layers = [
        {"class_name": "InputLayer", "name": "x", "config": {"name": "x", "batch_input_shape": [None, 4]}, "inbound_nodes": []},
        {"class_name": "TFOpLambda", "name": "t", "config": {"name": "t", "function": "math.multiply"},
         "inbound_nodes": [["x", 0, 0, {"y": 2.0, "name": None}]]},
        {"class_name": "SlicingOpLambda", "name": "s", "config": {"name": "s", "function": "__operators__.getitem"},
         "inbound_nodes": [["t", 0, 0, {"slice_spec": [{"start": None, "stop": -1, "step": None}]}]]},
        {"class_name": "Add", "name": "a", "config": {"name": "a"}, "inbound_nodes": [[["s", 0, 0, {}], ["t", 0, 0, {}]]]},
    ]  # fmt: skip
    config = {"name": "m", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [["a", 0, 0]]}
    return {"class_name": "Model", "config": config, "keras_version": "2.6.0"}


@pytest.mark.parametrize("make", [fake.small_config, graph_config, old_graph_config])
def test_configs_with_any_value_replaced_are_read_or_refused(
    tmp_path: Path, make: Callable[[], dict[str, Any]]
) -> None:
    path = tmp_path / "m.json"
    strange: list[Any] = [
        None, True, -1, 2**70, 1.5, "", "x", [], {}, [[]], ["x", 0, 0], ["x", 0, -1], {"class_name": "LSTM"},
        {"class_name": "__tuple__", "items": 3}, {"class_name": "__numpy__", "config": {"value": [[1], 2], "dtype": "float32"}},
        {"class_name": "__slice__", "config": None}, {"class_name": [1], "config": []},
    ]  # fmt: skip
    for place in paths_into(make()):
        for value in strange:
            config = make()
            target: Any = config
            for key in place[:-1]:
                target = target[key]
            target[place[-1]] = value
            path.write_text(json.dumps(config))
            try_all(path)


@pytest.mark.parametrize("make", [fake.small_config, graph_config, old_graph_config])
def test_configs_with_any_value_missing_are_read_or_refused(
    tmp_path: Path, make: Callable[[], dict[str, Any]]
) -> None:
    path = tmp_path / "m.json"
    for place in paths_into(make()):
        config = make()
        target: Any = config
        for key in place[:-1]:
            target = target[key]
        del target[place[-1]]
        path.write_text(json.dumps(config))
        try_all(path)
