# SPDX-License-Identifier: MIT
"""``docs/layers.md`` is what its script writes, and what it says of masks is so."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.layers.registry import layer_classes

DOCS = Path(__file__).resolve().parents[1] / "docs"
SCRIPT: dict[str, Any] = runpy.run_path(str(DOCS / "make_layers_table.py"))

# Arguments of layers that need some.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "Activation": {"activation": "tanh"},
    "Dense": {"units": 2},
    "RepeatVector": {"n": 2},
    "Reshape": {"target_shape": [-1]},
    "Permute": {"dims": [2, 1]},
    "GroupNormalization": {"groups": 1},
    "GaussianNoise": {"stddev": 0.1},
    **{name: {"filters": 2, "kernel_size": 2} for name in ("Conv1D", "Conv1DTranspose", "SeparableConv1D")},
    "DepthwiseConv1D": {"kernel_size": 2},
    **{name: {"rate": 0.1} for name in ("Dropout", "SpatialDropout1D", "GaussianDropout", "AlphaDropout")},
    "EinsumDense": {"equation": "abc,cd->abd", "output_shape": [None, 2]},
}
X = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
MASK = np.array([[True, True, False, False]] * 3)


def test_the_table_is_up_to_date() -> None:
    text = (DOCS / "layers.md").read_text(encoding="utf-8")
    assert text == SCRIPT["table"](), "run python docs/make_layers_table.py"


def passing_or_ending() -> list[tuple[str, str]]:
    rules = [(name, cls.mask_rule) for name, cls in layer_classes().items()]
    return [(name, rule) for name, rule in rules if rule in ("passes", "ends")]


@pytest.mark.parametrize(("name", "rule"), passing_or_ending())
def test_masks_pass_or_end_as_the_table_says(name: str, rule: str) -> None:
    cls = layer_classes()[name]
    is_spatial = getattr(cls, "spatial_rank", 1) > 1 or name.endswith(("2D", "3D"))
    if (
        name in ("Dot", "IntegerLookup", "CategoryEncoding", "StringLookup", "TextVectorization")
        or is_spatial
    ):
        pytest.skip("takes no sequence")
    x: Any = X
    mask: Any = MASK
    if name == "RepeatVector":
        pytest.skip("takes no timesteps")
    layer = cls(**ARGUMENTS.get(name, {}))
    got = layer.compute_mask(x, mask)
    assert (got is not None) == (rule == "passes")
