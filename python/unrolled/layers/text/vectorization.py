# SPDX-License-Identifier: MIT
"""TextVectorization: strings to words, words to ids."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unrolled.engine.lowering import Flow, Lowering
from unrolled.errors import ConfigError
from unrolled.layers.config_values import flag, positive_int
from unrolled.layers.registry import register
from unrolled.layers.text.lookup import FEED_IDS, StringLookup, TextReader, checked_encoding
from unrolled.layers.text.words import SPLIT, STANDARDIZE, ngrams_of, split_words, standardized

_OWN_CODE = (
    "or no standardize and split at all; code in a file is never run: prepare the strings before the model, "
)


@register
class TextVectorization(TextReader):
    """Strings to ids of their words, or to vectors of them.

    Source: keras 3.15 ``layers/preprocessing/text_vectorization.py``. Runs in Python, on strings of
    ``Input((1,), dtype="string")``. As in TensorFlow, lower case and punctuation are those of ASCII, whatever the
    script, words end at ASCII's white space, and characters are code points: combining marks stand alone. Without
    ``output_sequence_length`` all rows of a call are padded to the longest of them. There is no mask.

    Parameters
    ----------
    max_tokens : int, optional
        Largest size of the vocabulary; used with ``pad_to_max_tokens``.
    standardize : {"lower_and_strip_punctuation", "lower", "strip_punctuation"} or None
        What is done to a string first.
    split : {"whitespace", "character"} or None
        How it becomes words; None where each string is one, ``(batch, words)``.
    ngrams : int or list of int, optional
        Runs of up to so many words, or of these numbers of words, stand in place of words.
    output_mode : {"int", "multi_hot", "count", "tf_idf", "one_hot"}
        Ids (0 for padding, 1 for words outside the vocabulary), or one vector for a row. "one_hot" goes with
        ``split=None`` alone.
    output_sequence_length : int, optional
        Ids of a row, cut or padded.
    pad_to_max_tokens : bool
        Whether vectors have ``max_tokens`` elements.
    vocabulary : list of str
        The words, with or without "" and "[UNK]" before them.
    idf_weights : list of float, optional
        A weight for each word, with ``output_mode="tf_idf"``.
    sparse, ragged : bool
        Must be false.
    encoding : str
        UTF-8.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> from unrolled import layers
    >>> layers.TextVectorization(vocabulary=["good", "film"])(["A good film!", "Good."]).tolist()
    [[1, 2, 3], [2, 0, 0]]
    """

    needs_timesteps: ClassVar = True
    mask_rule: ClassVar = "ends"
    keras_versions: ClassVar = "2, 3"
    input_ranks: ClassVar = (1, 2)
    stream_obstacle: ClassVar = StringLookup.stream_obstacle
    ignored_config: ClassVar = {
        "vocabulary_size": "follows from the vocabulary",
        "has_input_vocabulary": "tf.keras: follows from the vocabulary",
    }

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: str | None = "lower_and_strip_punctuation",
        split: str | None = "whitespace",
        ngrams: Any = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str | None = "utf-8",
        **kwargs: Any,
    ) -> None:
        if kwargs.get("dtype") == "string":  # what tf.keras writes
            del kwargs["dtype"]
        super().__init__(**kwargs)
        for key, value, known in (("standardize", standardize, STANDARDIZE), ("split", split, SPLIT)):
            if value is not None and value not in known:
                raise ConfigError(key, value, f"expected one of {', '.join(known)}, {_OWN_CODE}{FEED_IDS}")
        self.standardize = standardize
        self.split = split
        self.ngrams = _checked_ngrams(ngrams)
        self.output_sequence_length = (
            None
            if output_sequence_length is None
            else positive_int("output_sequence_length", output_sequence_length)
        )
        if flag("ragged", ragged):
            raise ConfigError(
                "ragged", ragged, f"ragged tensors are not supported: save with ragged=False, {FEED_IDS}"
            )
        self.encoding = checked_encoding(encoding)
        self._lookup = StringLookup(
            max_tokens=max_tokens,
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            pad_to_max_tokens=pad_to_max_tokens,
            mask_token="",
            output_mode=output_mode,
            sparse=sparse,
            name=self.name,
        )
        self.output_mode = self._lookup.output_mode
        if self.output_mode != "int" and self.output_sequence_length is not None:
            raise ConfigError(
                "output_sequence_length", output_sequence_length, "expected none but with 'int'"
            )
        if self.output_mode == "one_hot" and self.split is not None:
            raise ConfigError(
                "output_mode",
                output_mode,
                f"gives ragged tensors where strings are split: use another, {FEED_IDS}",
            )

    # ------------------------------------------------------------------ shapes

    @property
    def reads_text(self) -> bool:
        return True

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The words in the order of their ids; see ``StringLookup.get_vocabulary``."""
        return self._lookup.get_vocabulary(include_special_tokens)

    def vocabulary_size(self) -> int:
        """How many words there are, special ones counted."""
        return self._lookup.vocabulary_size()

    def check_input_shape(self, input_shape: Any) -> None:
        super().check_input_shape(input_shape)
        shape = tuple(input_shape)
        if self.split is not None and len(shape) == 2 and shape[1] not in (1, None):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected one string a row where strings are split, "
                f"(batch,) or (batch, 1), got shape {shape}"
            )
        if self.split is None and len(shape) < 2:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected words, (batch, words), where strings are not "
                f"split, got shape {shape}"
            )

    def output_dtype(self, input_dtype: str) -> str:
        return self._lookup.output_dtype(input_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        words = self._word_count(input_shape)
        if self.output_mode == "int":
            return (
                input_shape[0],
                words if self.output_sequence_length is None else self.output_sequence_length,
            )
        return self._lookup.compute_output_shape((input_shape[0], words))

    def _word_count(self, input_shape: Any) -> int | None:
        """How many words every row has; None where they differ."""
        if self.split is not None or input_shape[1] is None:
            return None
        words = int(input_shape[1])
        if self.ngrams is None:
            return words
        return sum(max(0, words - width + 1) for width in _widths(self.ngrams))

    # ----------------------------------------------------------------- numbers

    def compute(self, strings: NDArray[Any]) -> list[NDArray[Any]]:
        """What an array of bytes gives: ids or vectors."""
        rows = [self._words(row) for row in strings.tolist()]
        flat = self._lookup.find_ids([word for row in rows for word in row])
        ids: list[list[int]] = []
        start = 0
        for row in rows:
            ids.append(flat[start : start + len(row)])
            start += len(row)
        if self.output_mode in ("multi_hot", "count", "tf_idf"):
            return [self._lookup.encode_rows(ids)]
        length = self.output_sequence_length
        if length is None:
            words = self._word_count(strings.shape)
            length = max(map(len, ids), default=0) if words is None else words
        result = np.zeros((len(ids), length), np.int64)
        for number, found in enumerate(ids):
            result[number, : len(found)] = found[:length]
        return [self._lookup.encode(result)]

    def _words(self, row: Any) -> list[bytes]:
        strings = row if isinstance(row, list) else [row]
        words = [standardized(text, self.standardize) for text in strings]
        if self.split is not None:
            words = split_words(words[0], self.split)
        return words if self.ngrams is None else ngrams_of(words, _widths(self.ngrams))

    def _call_on_arrays(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.compute(self.call_on_text(args))[0]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None: there is no mask."""
        return None

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        shape = self.compute_output_shape(x.shape)
        dtype = self.output_dtype(x.dtype)
        (value,) = plan.call_python(self.name, self.compute, [x.value], [(dtype, len(shape))])
        return Flow(value, shape, dtype)

    def get_config(self) -> dict[str, Any]:
        lookup = self._lookup
        return super().get_config() | {
            "max_tokens": lookup.max_tokens,
            "standardize": self.standardize,
            "split": self.split,
            "ngrams": self.ngrams,
            "output_mode": self.output_mode,
            "output_sequence_length": self.output_sequence_length,
            "pad_to_max_tokens": lookup.pad_to_max_tokens,
            "vocabulary": lookup.vocabulary,
            "idf_weights": lookup.idf_weights,
            "encoding": self.encoding,
        }


def _checked_ngrams(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, list | tuple):
        if not 0 < len(value) <= 64:
            raise ConfigError("ngrams", value, "expected 1 to 64 numbers of words")
        return [positive_int("ngrams", width, maximum=2**16) for width in value]
    return positive_int("ngrams", value, maximum=64)


def _widths(ngrams: Any) -> list[int]:
    return list(range(1, ngrams + 1)) if isinstance(ngrams, int) else list(ngrams)
