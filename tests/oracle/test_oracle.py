# SPDX-License-Identifier: MIT
"""Random models, compared with live Keras 3 and tf_keras; skipped where TensorFlow is not installed.

``UNROLLED_ORACLE_CASES`` sets the number of cases for each of the two (260), ``UNROLLED_ORACLE_SEED`` a
seed other than the fixed one. A failure prints a script that reproduces it.
"""

from __future__ import annotations

import importlib.util
import logging
import os

import pytest

hypothesis = pytest.importorskip("hypothesis")
for module in ("tensorflow", "keras", "tf_keras"):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed (extra: oracle)", allow_module_level=True)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ["KERAS_BACKEND"] = "tensorflow"

from hypothesis import HealthCheck, Phase, assume, given, seed, settings  # noqa: E402

from tests.oracle import oracle, strategies  # noqa: E402

SEED = os.environ.get("UNROLLED_ORACLE_SEED")
PROFILE = settings(
    max_examples=oracle.cases_per_keras(),
    derandomize=SEED is None,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


def seeded(test):
    return test if SEED is None else seed(int(SEED))(test)


def live(name):
    """A live Keras."""
    for logger in ("absl", "tensorflow"):  # each file in a legacy format is warned of
        logging.getLogger(logger).setLevel("ERROR")
    return importlib.import_module(name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_random_models_give_what_live_keras_gives(name):
    keras = live(name)
    seen = set()
    failed = False

    @seeded
    @PROFILE
    @given(case=strategies.models(name))
    def differential(case):
        nonlocal failed
        # Hypothesis repeats itself: only a search for the smallest failure may.
        assume(failed or repr(case) not in seen)
        seen.add(repr(case))
        try:
            oracle.check(name, keras, case)
        except Exception:
            failed = True
            raise

    differential()
    assert len(seen) >= oracle.cases_per_keras()
