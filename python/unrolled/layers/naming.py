# SPDX-License-Identifier: MIT
"""Keras's automatic names of layers."""

from __future__ import annotations

import re
from collections import Counter

from unrolled.engine.locks import ForkSafeLock


def snake_case(class_name: str) -> str:
    """Keras's automatic name of a class: ``SimpleRNN`` to ``simple_rnn`` (keras 3.15 utils/naming.py)."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


_names_given: Counter[str] = Counter()
_names_lock = ForkSafeLock()


def automatic_name(class_name: str) -> str:
    """The next free name of a class, as Keras counts: ``lstm``, ``lstm_1``, ..."""
    prefix = snake_case(class_name)
    with _names_lock:
        number = _names_given[prefix]
        _names_given[prefix] += 1
    return prefix if number == 0 else f"{prefix}_{number}"


def reset_names() -> None:
    """Start the automatic names again, as ``keras.backend.clear_session`` does."""
    with _names_lock:
        _names_given.clear()
