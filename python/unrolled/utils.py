# SPDX-License-Identifier: MIT
"""The seed of fresh weights, and starting names again: what of ``keras.utils`` a model needs."""

from __future__ import annotations

import numpy as np

_generator = np.random.default_rng()


def set_random_seed(seed: int) -> None:
    """Make the fresh weights of layers created from now on reproducible.

    The numbers are NumPy's, not those that Keras draws for the same seed.

    Parameters
    ----------
    seed : int
        Not negative.

    Raises
    ------
    ValueError
        ``seed`` is negative or not an integer.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers, utils
    >>> def fresh():
    ...     utils.set_random_seed(7)
    ...     layer = layers.Dense(2)
    ...     layer.build((None, 3))
    ...     return layer.kernel.numpy()
    >>> bool((fresh() == fresh()).all())
    True
    """
    global _generator
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"set_random_seed: expected a non-negative integer, got {seed!r}")
    _generator = np.random.default_rng(int(seed))


def draw_seed() -> int:
    """A seed for one initializer, from the stream that ``set_random_seed`` starts."""
    return int(_generator.integers(2**63))


def clear_session() -> None:
    """Start the automatic names of layers again: the next LSTM is "lstm"."""
    from unrolled.layers.naming import reset_names

    reset_names()
