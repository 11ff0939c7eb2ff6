# SPDX-License-Identifier: MIT
"""Which masks attention heeds and leaves, in files of every version of Keras 3 (``make_mask_fixtures``)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import unrolled
from tests import fixtures
from tests.data.make_mask_fixtures import CASES, VERSIONS
from tests.tolerances import assert_close

FILES = sorted(fixtures.unpacked("attention_masks").glob("*.keras"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_attention_over_masked_tensors_gives_what_the_version_that_wrote_the_file_gives(file: Path) -> None:
    with np.load(file.with_suffix(".npz")) as arrays:
        x = [arrays[f"x{i}"] for i in range(sum(name.startswith("x") for name in arrays))]
        expected = [arrays[f"y{i}"] for i in range(sum(name.startswith("y") for name in arrays))]
    got = unrolled.load_model(file).predict(x if len(x) > 1 else x[0], verbose=0)
    got = got if isinstance(got, list) else [got]
    assert len(got) == len(expected)
    for i, (array, want) in enumerate(zip(got, expected, strict=True)):
        assert_close(array, want, "shared_models", f"output {i}")


def test_the_fixtures_have_every_version_and_every_case() -> None:
    found = defaultdict(set)
    for file in FILES:
        version, case = file.stem.split("-")
        found[version].add(case)
    assert set(found) == set(VERSIONS)
    multi_head = {name for name in CASES if "Attention_" not in name}
    assert len(multi_head) == 14
    for version, cases in found.items():
        assert cases >= multi_head, version
    assert set.union(*found.values()) == set(CASES)
