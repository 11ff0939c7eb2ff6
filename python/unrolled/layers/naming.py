# SPDX-License-Identifier: MIT
"""Keras's automatic names of layers."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict


def snake_case(class_name: str) -> str:
    """Keras's automatic name of a class: ``SimpleRNN`` to ``simple_rnn`` (keras 3.15 utils/naming.py)."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


_name_counters: defaultdict[str, itertools.count[int]] = defaultdict(itertools.count)


def automatic_name(class_name: str) -> str:
    """The next free name of a class, as Keras counts: ``lstm``, ``lstm_1``, ..."""
    prefix = snake_case(class_name)
    number = next(_name_counters[prefix])
    return prefix if number == 0 else f"{prefix}_{number}"


def reset_names() -> None:
    """Start the automatic names again, as ``keras.backend.clear_session`` does."""
    _name_counters.clear()
