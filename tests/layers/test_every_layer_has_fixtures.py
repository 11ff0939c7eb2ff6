# SPDX-License-Identifier: MIT
"""Every registered layer is in a file or a case whose numbers Keras 3, and tf_keras where it has the layer, wrote."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import fixtures
from unrolled.layers.registry import layer_classes

sys.path.insert(0, str(Path(__file__).parent))
from cases import CASES

# The layers that a line of Keras does not have, as they say themselves.
NOT_IN = {
    archive: {name for name, cls in layer_classes().items() if line not in cls.keras_versions}
    for archive, line in (("keras3", "3"), ("tf_keras", "2"))
}
EXPECTED = {"keras3": "expected.npz", "tf_keras": "expected_tf_keras.npz"}


def classes_in(value: Any) -> Iterator[str]:
    """The classes of layers in a recipe or case, those inside of others too."""
    if isinstance(value, dict):
        yield from (value[key] for key in ("class", "class_name") if isinstance(value.get(key), str))
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from classes_in(item)


@pytest.mark.parametrize("archive", ["keras3", "tf_keras"])
def test_every_layer_has_numbers_of_keras(archive: str) -> None:
    with np.load(Path(__file__).parent / EXPECTED[archive]) as expected:
        written = [case for number, case in enumerate(CASES) if f"{number}/0" in expected.files]
    recipes = [fixture.recipe for fixture in fixtures.all_fixtures() if fixture.archive == archive]
    # Every functional file has an InputLayer.
    # Layers that read text: tests/text.
    found = {"InputLayer", "StringLookup", "TextVectorization", *classes_in(written), *classes_in(recipes)}
    assert set(layer_classes()) - NOT_IN[archive] <= found
    assert not NOT_IN[archive] & found
