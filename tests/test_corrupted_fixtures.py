# SPDX-License-Identifier: MIT
"""Every fixture that Keras wrote, damaged: it loads, or one of the two errors says why not.

``UNROLLED_MUTATIONS`` sets how many times each kind of damage is done to each file (1).
"""

from __future__ import annotations

import math
import os
import random
import shutil
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

import unrolled
from tests import fixtures
from tests.formats.test_corrupted import flip_bits, replace_fields, swap_fields, truncate
from unrolled.engine import tree

MUTATIONS = int(os.environ.get("UNROLLED_MUTATIONS", "1"))
DAMAGES = (truncate, flip_bits, replace_fields, swap_fields)
# Of loading one damaged file. Fixtures are below 100 KB, but a config alone may name thousands of values.
PROCESSOR_SECONDS = 1.0
PEAK_BYTES = 64 << 20
# A damaged size may ask for more than a test should compute.
MOST_OUTPUTS = 100_000


def damaged_member(path, damage, rng):
    """The zip archive with one member damaged and its checksum right, so that readers get to see it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    chosen = rng.choice([name for name in members if len(members[name]) > 600 or name == "config.json"])
    damage(members[chosen], rng)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, bytes(data))


def load_and_run(path, weights):
    try:
        model = unrolled.load_model(path, weights=weights)
    except (unrolled.ModelFileError, unrolled.UnsupportedModelError) as error:
        message = str(error)
    else:
        message = run(model)
    assert message.replace("\n", "").isprintable()


def run(model):
    """Predict something small; the error's message where the file left shapes open that do not fit."""
    shapes = [[3 if size is None else size for size in tensor.shape] for tensor in model.inputs]
    outputs = [shape for shape in tree.leaves([model.output_shape]) if isinstance(shape, int)]
    if max(map(math.prod, [*shapes, outputs])) > MOST_OUTPUTS:
        return ""
    try:
        model.predict([np.ones(shape, np.float32) for shape in shapes], verbose=0)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("archive", ["keras3", "tf_keras"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_fixture_loads_or_is_refused(archive, damage, tmp_path):
    chosen = [fixture for fixture in fixtures.all_fixtures() if fixture.archive == archive]
    assert len(chosen) > 100
    paths = [(fixture.path, fixture.weights_path) for fixture in chosen]  # unpacked here, not while measuring
    rng = random.Random(f"{archive} {damage.__name__}")
    slowest = 0.0
    tracemalloc.start()
    for original, weights in paths:
        for _ in range(MUTATIONS):
            path = tmp_path / original.name
            shutil.copy(original, path)
            if path.suffix == ".keras" and rng.random() < 0.5:
                damaged_member(path, damage, rng)
            else:
                data = bytearray(path.read_bytes())
                damage(data, rng)
                path.write_bytes(data)
            started = time.process_time()
            load_and_run(path, weights)
            slowest = max(slowest, time.process_time() - started)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert slowest < PROCESSOR_SECONDS
    assert peak < PEAK_BYTES
