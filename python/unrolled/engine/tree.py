# SPDX-License-Identifier: MIT
"""Nested lists, tuples and dicts: mapped and flattened in Keras's order (dict keys sorted)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """Apply ``function`` to every leaf, keeping the structure."""
    if isinstance(tree, list | tuple):
        return type(tree)([map_leaves(function, item) for item in tree])
    if isinstance(tree, dict):
        return {key: map_leaves(function, tree[key]) for key in tree}
    return function(tree)


def leaves(tree: Any) -> Iterator[Any]:
    """The leaves in flattened order; ``None`` is a leaf."""
    if isinstance(tree, list | tuple):
        for item in tree:
            yield from leaves(item)
    elif isinstance(tree, dict):
        for key in sorted(tree):
            yield from leaves(tree[key])
    else:
        yield tree


def unflatten(like: Any, flat: Iterator[Any]) -> Any:
    """Put the values of ``flat`` (in ``leaves`` order) into the structure of ``like``."""
    if isinstance(like, list | tuple):
        return type(like)([unflatten(item, flat) for item in like])
    if isinstance(like, dict):
        values = {key: unflatten(like[key], flat) for key in sorted(like)}
        return {key: values[key] for key in like}
    return next(flat)
