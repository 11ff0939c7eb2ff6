# SPDX-License-Identifier: MIT
"""The seed of fresh weights, starting names again, padding: what of ``keras.utils`` a model needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def pad_sequences(
    sequences: Sequence[Sequence[Any]],
    maxlen: int | None = None,
    dtype: str = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> NDArray[Any]:
    """Sequences of different lengths as one array, padded and cut as ``keras.utils.pad_sequences`` does.

    ``Model.predict_sequences`` needs no padding: each sequence is predicted as if it were alone.

    Parameters
    ----------
    sequences : list of sequences
        Each ``(timesteps, ...)``.
    maxlen : int, optional
        How many timesteps all get; those of the longest where absent.
    dtype : str
        Of the result.
    padding, truncating : {"pre", "post"}
        Whether values are added, or cut off, before or after the sequence.
    value : number
        What is added.

    Returns
    -------
    ndarray
        ``(sequences, maxlen, ...)``.

    Raises
    ------
    ValueError
        A sequence has another shape than those before it, or an argument is out of range.

    Examples
    --------
    >>> from unrolled import utils
    >>> utils.pad_sequences([[1], [2, 3], [4, 5, 6]], maxlen=2).tolist()
    [[0, 1], [2, 3], [5, 6]]
    """
    for name, side in (("padding", padding), ("truncating", truncating)):
        if side not in ("pre", "post"):
            raise ValueError(f"pad_sequences: {name}: expected 'pre' or 'post', got {side!r}")
    try:
        rows = [np.asarray(sequence) for sequence in sequences]
    except (TypeError, ValueError):
        raise ValueError("pad_sequences: expected a list of sequences of numbers") from None
    if any(row.ndim < 1 for row in rows):
        raise ValueError("pad_sequences: expected a list of sequences, got single numbers in it")
    length = max((len(row) for row in rows), default=0) if maxlen is None else maxlen
    if isinstance(length, bool) or not isinstance(length, int | np.integer) or length < 0:
        raise ValueError(f"pad_sequences: maxlen: expected an integer from 0 on, got {maxlen!r}")
    inner = next((row.shape[1:] for row in rows if len(row)), ())
    padded = np.full((len(rows), length, *inner), value, dtype=dtype)
    for number, row in enumerate(rows):
        if not len(row):
            continue
        if row.shape[1:] != inner:
            raise ValueError(
                f"pad_sequences: sequence {number} has timesteps of shape {row.shape[1:]}, others of {inner}"
            )
        kept = row[max(0, len(row) - length) :] if truncating == "pre" else row[:length]
        if padding == "post":
            padded[number, : len(kept)] = kept
        else:
            padded[number, length - len(kept) :] = kept
    return padded
