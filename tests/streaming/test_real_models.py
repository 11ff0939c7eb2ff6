# SPDX-License-Identifier: MIT
"""Every causal model among other people's files streams to the bytes of predict; DTLN's two stages are two.

The files are no part of the repository; see ``tests/test_shared_models.py``.
"""

from __future__ import annotations

import pytest

import unrolled
from tests.streaming.schedules import check_streams
from tests.test_shared_models import FILES, NEEDS_ISSUE_4, is_refused

NAMES = [name for name in FILES if not is_refused(name) and name not in NEEDS_ISSUE_4]
# Some that must stream, for the others may rightly be refused.
CAUSAL = {
    "tf22_dtln_stage1_DERIVED.h5",
    "tf22_dtln_stage2_DERIVED.h5",
    "tf22_saber_srnn.h5",
    "tf26_char_gru.h5",
    "k20_turbofan_binary.h5",
    "k21_traffic_gru.h5",
    "k22_dl4j_mask_zero_lstm.h5",
    "k1_dl4j_emb_lstm_th.h5",
    "k22_poem_srnn_unroll.h5",
    "k3_emoji_lstm.weights.h5",
    "tf215_ecg_td_conv_lstm.keras",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_causal_file_streams(name):
    path, weights, _ = FILES[name]
    model = unrolled.load_model(path, weights=weights) if weights else unrolled.load_model(path)
    assert check_streams(model, seed=len(name)) or name not in CAUSAL


def test_the_files_that_must_stream_are_there():
    assert set(FILES) >= CAUSAL
