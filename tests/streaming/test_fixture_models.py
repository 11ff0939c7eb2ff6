# SPDX-License-Identifier: MIT
"""Every causal model among the fixtures that Keras wrote streams to the bytes of predict."""

from __future__ import annotations

import pytest

from tests.fixtures import all_fixtures
from tests.streaming.schedules import check_streams
from tests.test_fixtures import load

CASES = all_fixtures()
# At least so many of them are causal: a layer that starts to be refused shows.
CAUSAL = 0.3


@pytest.mark.parametrize("seed", range(3))
def test_causal_fixtures_stream(seed):
    streamed = [str(fixture) for fixture in CASES if check_streams(load(fixture), seed)]
    assert len(streamed) > CAUSAL * len(CASES), streamed
