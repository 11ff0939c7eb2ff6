# SPDX-License-Identifier: MIT
"""A fixed few hundred random graphs, compared with live Keras 3 and tf_keras where they are installed.

``python -m tests.oracle.graphs --count 2000`` runs more, with other seeds.
"""

from __future__ import annotations

import importlib.util
import os

import pytest

for module in ("tensorflow", "keras", "tf_keras"):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed (extra: oracle)", allow_module_level=True)

from tests.oracle.graphs.differential import run_many  # noqa: E402

# The graphs are shared out over workers in parts; each part is the same graphs every time.
PARTS = 8
GRAPHS = int(os.environ.get("UNROLLED_ORACLE_GRAPHS", "320"))
# Refusals say so and give no numbers, but a test that only meets refusals tests nothing.
MOST_REFUSED = 0.1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_random_graphs_give_what_live_keras_gives(name, part):
    count = -(-GRAPHS // (2 * PARTS))
    reports = []
    tally = run_many([name], count, seed=900 + part, report=reports.append, progress=0, stop_after=1)
    assert not tally.failures, "\n".join(reports)
    assert tally.count == count
    assert tally.statuses["refused"] <= max(2, MOST_REFUSED * count), tally.refusals
