# SPDX-License-Identifier: MIT
"""Plan files from strangers: thousands of damaged ones open or are refused; old versions stay readable.

``UNROLLED_MUTATIONS`` sets how many times each kind of damage is done to each file (60).
"""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

import unrolled
from tests.data import make_plan_files
from tests.formats.test_corrupted import flip_bits, replace_fields, swap_fields, truncate
from tests.streaming import causal_models
from unrolled import _core
from unrolled.engine import tree
from unrolled.models.exported import ExportedModel
from unrolled.models.exporting import plan_file

MUTATIONS = int(os.environ.get("UNROLLED_MUTATIONS", "60"))
HEADER = 64
NAMES = (
    "lstm",
    "embedding",
    "branches",
    "conv_lstm",
    "causal_convolutions",
    "nested",
    "masked_global_average",
)
# A damaged size may ask for more than a test should compute.
MOST_ELEMENTS = 100_000


def with_right_checksums(data):
    """The file with sizes and checksums of its header made right, so that what is behind them is tried."""
    if len(data) < HEADER:
        return bytes(data)
    data = bytearray(data)
    tables, weights = struct.unpack_from("<QQ", data, 24)
    weights = min(weights, len(data))
    struct.pack_into("<Q", data, 16, len(data))
    struct.pack_into("<Q", data, 40, len(data) - weights)
    struct.pack_into("<I", data, 48, zlib.crc32(data[HEADER : HEADER + tables]))
    struct.pack_into("<I", data, 52, zlib.crc32(data[weights:]))
    struct.pack_into("<I", data, 60, zlib.crc32(data[:60]))
    return bytes(data)


def open_and_run(data):
    """Whether it opens; nothing but the right errors may come out."""
    try:
        model = ExportedModel(_core.PlanFile.from_bytes(data, verify=True))
    except ValueError as error:
        refusal = error
    else:
        refusal = None
    if refusal is not None:
        assert isinstance(refusal, unrolled.ModelFileError) or str(refusal).startswith("plan file: ")
        return False
    shapes = [[2 if size is None else size for size in tensor.shape] for tensor in model.inputs]
    sizes = [
        size
        for shape in [*shapes, *tree.leaves([model.output_shape])]
        for size in np.atleast_1d(shape)
        if size
    ]
    if max(sizes, default=1) > MOST_ELEMENTS or any(
        np.prod(shape, dtype=float) > MOST_ELEMENTS for shape in shapes
    ):
        return True
    x = [np.zeros(shape, tensor.dtype) for shape, tensor in zip(shapes, model.inputs, strict=True)]
    try:
        model.predict(tree.unflatten(model.input, iter(x)), verbose=0)
        model.stream(2)
    except (ValueError, MemoryError):
        pass
    return True


@pytest.mark.parametrize(
    "damage", [truncate, flip_bits, replace_fields, swap_fields], ids=lambda each: each.__name__
)
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_opens_or_is_refused(name, damage):
    original = plan_file(causal_models.make(name))
    rng = random.Random(f"{name} {damage.__name__}")
    opened = 0
    tracemalloc.start()
    for number in range(MUTATIONS):
        data = bytearray(original)
        if number % 2:  # the tables alone: most of a file is weights
            tables = int.from_bytes(data[24:32], "little")
            part = data[HEADER : HEADER + tables]
            damage(part, rng)
            data[HEADER : HEADER + tables] = part.ljust(tables, b"\0")
        else:
            damage(data, rng)
        opened += open_and_run(with_right_checksums(data))
    tracemalloc.stop()
    assert opened < MUTATIONS or damage is flip_bits


def test_any_damage_is_seen_by_the_checksums():
    original = plan_file(causal_models.make("lstm"))
    rng = random.Random(7)
    for position in rng.sample(range(len(original)), 300):
        data = bytearray(original)
        data[position] ^= 1 << rng.randrange(8)
        end_of_tables = HEADER + int.from_bytes(original[24:32], "little")
        start_of_weights = int.from_bytes(original[32:40], "little")
        if end_of_tables <= position < start_of_weights:
            continue  # padding
        with pytest.raises(ValueError, match="plan file"):
            _core.PlanFile.from_bytes(bytes(data), verify=True)


def test_every_length_of_a_file_but_its_own_is_refused():
    data = plan_file(causal_models.make("gru"))
    for size in [*range(200), *range(200, len(data), 97), len(data) - 1]:
        with pytest.raises(ValueError, match="plan file"):
            _core.PlanFile.from_bytes(data[:size], verify=False)
        if size > len(data) - 64:
            continue  # perhaps only the padding at the end is missing
        with pytest.raises(ValueError, match="plan file"):
            _core.PlanFile.from_bytes(with_right_checksums(data[:size]), verify=False)
    with pytest.raises(ValueError, match="plan file"):
        _core.PlanFile.from_bytes(data + b"\0", verify=False)


def test_a_later_version_is_refused_with_advice(tmp_path):
    data = bytearray(plan_file(causal_models.make("gru")))
    data[12] = 2
    path = tmp_path / "later.unrolled"
    path.write_bytes(with_right_checksums(data))
    with pytest.raises(
        unrolled.ModelFileError, match=r"later\.unrolled: plan file: version 2.*install a later"
    ):
        unrolled.load_model(path)


def test_a_file_whose_operations_use_its_weights_too_often_is_refused():
    layer = unrolled.layers.Dense(64)
    x = y = unrolled.Input((None, 64))
    for _ in range(80):
        y = layer(y)
    with pytest.raises(ValueError, match="too often"):
        _core.PlanFile.from_bytes(plan_file(unrolled.Model(x, y)), verify=True)


@pytest.mark.parametrize("path", make_plan_files.stored(), ids=lambda path: path.name)
def test_files_of_every_version_give_the_numbers_that_they_gave(path):
    model = unrolled.load_model(path)
    with np.load(Path(path).with_suffix(".npz")) as arrays:
        np.testing.assert_array_max_ulp(model.predict(arrays["x"], verbose=0), arrays["y"], maxulp=4)
        if "y_stream" in arrays.files:
            np.testing.assert_array_max_ulp(
                model.stream(len(arrays["x"])).run(arrays["x"]), arrays["y_stream"], maxulp=4
            )


def test_there_are_files_of_this_version():
    versions = {path.read_bytes()[12] for path in make_plan_files.stored()}
    assert versions == {1}
