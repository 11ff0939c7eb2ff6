# SPDX-License-Identifier: MIT
"""``summary()`` prints what Keras 3 prints: texts of Keras in ``tests/data/summaries_keras3.txt``."""

from __future__ import annotations

import pytest

import unrolled
from tests.data import summaries
from tests.fixtures import DATA

TEXTS = summaries.read(DATA)


@pytest.mark.parametrize(("name", "columns", "line_length"), TEXTS)
def test_summary_is_the_text_of_keras(name, columns, line_length):
    model = summaries.MODELS[name](unrolled)
    assert summaries.text_of(model, columns, line_length) == TEXTS[name, columns, line_length]


def test_the_tutorial_model_has_42_parameters(capsys):
    model = unrolled.Sequential()
    model.add(unrolled.layers.SimpleRNN(3, input_shape=(2, 10)))
    model.summary()
    printed = capsys.readouterr().out
    assert "Total params: 42 (168.00 B)" in printed
    assert model.count_params() == 42


def test_an_unbuilt_model_says_so(capsys):
    unrolled.Sequential([unrolled.layers.LSTM(4)]).summary()
    assert "0 (unbuilt)" in capsys.readouterr().out


def test_a_line_length_without_room_for_the_columns_is_an_error():
    model = unrolled.Sequential([unrolled.Input((2, 3)), unrolled.layers.LSTM(4)])
    with pytest.raises(ValueError, match="line_length"):
        model.summary(line_length=3)
