# SPDX-License-Identifier: MIT
"""A vocabulary as a table: tokens to ids and back, and ids as vectors.

Source: keras 3.15 ``layers/preprocessing/index_lookup.py``. Ids count the mask token first (in output mode "int"),
then the indices for what is outside the vocabulary, then the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ConfigError
from unrolled.layers.text.hashing import farmhash64, siphash

MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")
MAX_VOCABULARY = 2**24
# Stands for the mask token where vectors are wanted: it counts for nothing.
DROPPED = -2


def mode_name(value: Any) -> Any:
    """An output mode in Keras 3's words."""
    return {"binary": "multi_hot", "tf-idf": "tf_idf"}.get(value, value) if isinstance(value, str) else value


class Table:
    """Tokens and their ids.

    Parameters
    ----------
    vocabulary : sequence
        Tokens (bytes or int), with or without the special ones before them.
    oov_count : int
        How many indices there are for what is outside.
    mask_token, oov_token : bytes or int, optional
        The special tokens.
    has_mask_id : bool
        Whether the mask token has an id: output mode "int".
    bucket : callable, optional
        Which of several indices a token outside gets.

    Raises
    ------
    ConfigError
        A token stands twice, or there is none.
    """

    def __init__(
        self,
        vocabulary: Sequence[Any],
        oov_count: int,
        mask_token: Any,
        oov_token: Any,
        *,
        has_mask_id: bool,
        bucket: Callable[[Any], int] | None = None,
    ) -> None:
        self.oov_start = int(mask_token is not None and has_mask_id)
        self.start = self.oov_start + oov_count
        special = [mask_token] * self.oov_start + [oov_token] * oov_count
        self.has_special = bool(special) and list(vocabulary[: self.start]) == special
        self.tokens = list(vocabulary[self.start :] if self.has_special else vocabulary)
        if not vocabulary:
            raise ConfigError("vocabulary", vocabulary, "expected at least one token")
        self._ids = {token: number for number, token in enumerate(self.tokens, self.start)}
        if len(self._ids) < len(self.tokens) or (mask_token is not None and mask_token in self._ids):
            raise ConfigError("vocabulary", "a token stands twice", "expected different tokens")
        self._oov_count = oov_count
        self._oov_token = oov_token
        self._mask_token = mask_token
        self._bucket = bucket
        if mask_token is not None:
            self._ids[mask_token] = 0 if has_mask_id else DROPPED

    @property
    def size(self) -> int:
        """How many ids there are."""
        return self.start + len(self.tokens)

    def find(self, tokens: Sequence[Any], layer: str) -> list[int]:
        """The ids of ``tokens``.

        Raises
        ------
        ValueError
            A token is outside the vocabulary, and no index is there for it.
        """
        ids = self._ids
        known = dict.fromkeys(tokens, 0)
        for token in known:
            number = ids.get(token)
            known[token] = self._outside(token, layer) if number is None else number
        return [known[token] for token in tokens]

    def _outside(self, token: Any, layer: str) -> int:
        if self._oov_count == 0:
            raise ValueError(
                f"layer {layer!r}: {token!r} is not in the vocabulary, and num_oov_indices is 0: there is no id "
                "for it"
            )
        if self._oov_count == 1 or self._bucket is None:
            return self.oov_start
        return self.oov_start + self._bucket(token)

    def token_of(self, number: int) -> Any:
        """The token of an id, the out-of-vocabulary token where there is none (``invert``)."""
        if number == 0 and self._mask_token is not None:
            return self._mask_token
        place = number - self.start
        return self.tokens[place] if 0 <= place < len(self.tokens) else self._oov_token


def bucket_function(count: int, method: str, salt: Sequence[int] | None) -> Callable[[Any], int]:
    """Which of ``count`` indices a token outside the vocabulary gets: by its remainder or its hash."""

    def bucket(token: Any) -> int:
        if isinstance(token, int):
            if method == "floormod":
                return token % count
            token = str(token).encode()
        return (farmhash64(token) if salt is None else siphash(token, salt)) % count

    return bucket


def padded_weights(key: str, weights: Any, table: Table, given: int, depth: int) -> NDArray[np.float32]:
    """The weight of each of ``depth`` ids for "tf_idf", where the config has those of ``given`` tokens.

    Special tokens without one get the mean, ids beyond the vocabulary 0.
    """
    try:
        array = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.zeros((0, 0))
    if array.ndim != 1 or not np.isfinite(array).all() or array.size < given:
        raise ConfigError(
            key, "something else", f"expected a list of {given} finite numbers, one for each token"
        )
    array = array[:given]
    front = 0 if table.has_special else table.start
    array = np.concatenate([np.full(front, array.mean() if front else 0.0), array])
    return np.pad(array, (0, max(0, depth - array.size)))[:depth].astype(np.float32)


def encode_rows(
    rows: Sequence[Sequence[int]], mode: str, depth: int, weights: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """A vector of ``depth`` for each row of ids: which occur, how often, or how often times their weights."""
    result = np.zeros((len(rows), depth), np.float32)
    lengths = [len(row) for row in rows]
    row_of = np.repeat(np.arange(len(rows)), lengths)
    ids = np.fromiter((number for row in rows for number in row), np.int64, sum(lengths))
    kept = (ids >= 0) & (ids < depth)
    if mode == "multi_hot":
        result[row_of[kept], ids[kept]] = 1
    else:
        np.add.at(result, (row_of[kept], ids[kept]), np.float32(1))
    return result if weights is None else result * weights


def one_hot(ids: NDArray[np.int64], depth: int) -> NDArray[np.float32]:
    """A vector of ``depth`` for each id; zeros for none."""
    result: NDArray[np.float32] = (ids[..., None] == np.arange(depth)).astype(np.float32)
    return result
