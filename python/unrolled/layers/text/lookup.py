# SPDX-License-Identifier: MIT
"""StringLookup, and what it shares with IntegerLookup and TextVectorization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unrolled.engine.lowering import Flow, Lowering
from unrolled.errors import ConfigError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import choice, flag, positive_int
from unrolled.layers.registry import register
from unrolled.layers.text.table import (
    MAX_VOCABULARY,
    MODES,
    Table,
    bucket_function,
    encode_rows,
    mode_name,
    one_hot,
    padded_weights,
)
from unrolled.layers.text.words import as_text

# What can be done about a layer of text that cannot run.
FEED_IDS = "or save the model without this layer, and feed it ids"


class Lookup(Layer):
    """Tokens to their ids, computed in Python between plans; see the classes that derive from it."""

    ignored_config: ClassVar = {
        "vocabulary_dtype": "the class says it",
        "vocabulary_size": "follows from the vocabulary",
        "has_input_vocabulary": "tf.keras: follows from the vocabulary",
    }
    mask_rule: ClassVar[str] = "ends"
    keras_versions: ClassVar[str] = "2, 3"
    min_rank: ClassVar = 1
    needs_timesteps: ClassVar = True
    stream_obstacle: ClassVar = (
        "looks words up in Python, which streams cannot: stream ids, from a model without it"
    )

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: Any = None,
        oov_token: Any = None,
        vocabulary: Any = None,
        idf_weights: Any = None,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        invert: bool = False,
        sparse: bool = False,
        oov_method: str = "floormod",
        salt: Any = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("dtype") in ("string", "int64", "int32"):  # what tf.keras writes, of the tokens
            del kwargs["dtype"]
        super().__init__(**kwargs)
        self.max_tokens = (
            None if max_tokens is None else positive_int("max_tokens", max_tokens, maximum=MAX_VOCABULARY)
        )
        self.num_oov_indices = positive_int(
            "num_oov_indices", num_oov_indices, minimum=0, maximum=MAX_VOCABULARY
        )
        self.mask_token = None if mask_token is None else self.checked_token("mask_token", mask_token)
        self.oov_token = None if oov_token is None else self.checked_token("oov_token", oov_token)
        self.output_mode = choice("output_mode", mode_name(output_mode), MODES)
        self.pad_to_max_tokens = flag("pad_to_max_tokens", pad_to_max_tokens)
        if self.pad_to_max_tokens and self.max_tokens is None:
            raise ConfigError("max_tokens", max_tokens, "expected a size, which pad_to_max_tokens needs")
        self.invert = flag("invert", invert)
        if self.invert and self.output_mode != "int":
            raise ConfigError("invert", invert, "expected false with an output_mode other than 'int'")
        if flag("sparse", sparse):
            raise ConfigError(
                "sparse", sparse, f"sparse tensors are not supported: save with sparse=False, {FEED_IDS}"
            )
        self.oov_method = choice("oov_method", oov_method, ("floormod", "farmhash"))
        self.salt = None if salt is None else _checked_salt(salt)
        self.vocabulary = self._checked_vocabulary(vocabulary)
        key = _key
        self._table = Table(
            [key(token) for token in self.vocabulary],
            self.num_oov_indices,
            key(self.mask_token),
            key(self.oov_token),
            has_mask_id=self.output_mode == "int",
            bucket=bucket_function(self.num_oov_indices, self.oov_method, self.salt)
            if self.num_oov_indices > 1
            else None,
        )
        if self.max_tokens is not None and self._table.size > self.max_tokens:
            raise ConfigError("max_tokens", max_tokens, f"the vocabulary has {self._table.size} tokens")
        self.idf_weights: list[float] | None = None
        self._weights: NDArray[np.float32] | None = None
        if self.output_mode == "tf_idf":
            if idf_weights is None:
                raise ConfigError(
                    "idf_weights", None, f"'tf_idf' needs them: save the adapted model as .keras, {FEED_IDS}"
                )
            self._weights = padded_weights(
                "idf_weights", idf_weights, self._table, len(self.vocabulary), self.depth
            )
            self.idf_weights = np.asarray(idf_weights, np.float64)[: len(self.vocabulary)].tolist()
        elif idf_weights is not None:
            raise ConfigError("idf_weights", "weights", "expected none but with output_mode 'tf_idf'")

    def checked_token(self, key: str, token: Any) -> Any:
        """``token`` as the config has it, or a ``ConfigError``."""
        raise NotImplementedError

    def _checked_vocabulary(self, vocabulary: Any) -> list[Any]:
        if isinstance(vocabulary, str):
            raise ConfigError(
                "vocabulary",
                vocabulary,
                f"a file that a model names is never read: save with the tokens themselves, {FEED_IDS}",
            )
        if isinstance(vocabulary, np.ndarray):
            vocabulary = vocabulary.tolist()
        if vocabulary is None:
            raise ConfigError(
                "vocabulary",
                None,
                f"the file does not hold it: save the model as .keras, which keeps what adapt() found, {FEED_IDS}",
            )
        if not isinstance(vocabulary, list | tuple) or not 0 < len(vocabulary) <= MAX_VOCABULARY:
            raise ConfigError("vocabulary", vocabulary, f"expected a list of 1 to {MAX_VOCABULARY} tokens")
        return [self.checked_token("vocabulary", token) for token in vocabulary]

    # ------------------------------------------------------------------ shapes

    @property
    def depth(self) -> int:
        """Elements of an encoded vector."""
        if self.pad_to_max_tokens and self.max_tokens is not None:
            return self.max_tokens
        return self._table.size

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The tokens in the order of their ids, as Keras gives them.

        Parameters
        ----------
        include_special_tokens : bool
            Whether those for masks and for what is outside come first.
        """
        table = self._table
        tokens = [key.decode("utf-8") if isinstance(key, bytes) else key for key in table.tokens]
        special = [self.mask_token] * table.oov_start + [self.oov_token] * self.num_oov_indices
        return special + tokens if include_special_tokens else tokens

    def vocabulary_size(self) -> int:
        """How many tokens there are, special ones counted."""
        return self._table.size

    def check_input_shape(self, input_shape: Any) -> None:
        super().check_input_shape(input_shape)
        if self.output_mode == "one_hot" and len(input_shape) > 1 and input_shape[-1] is None:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): the size of the last axis must be known for one_hot, "
                f"got shape {tuple(input_shape)}"
            )
        if self.output_mode in ("multi_hot", "count", "tf_idf") and len(input_shape) != 2:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): output_mode {self.output_mode!r} expects an input of "
                f"rank 2 (batch axis counted), got shape {tuple(input_shape)}"
            )

    def output_dtype(self, input_dtype: str) -> str:
        return "int32" if self.output_mode == "int" else "float32"

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = tuple(input_shape)
        if self.output_mode == "int":
            return shape
        if self.output_mode == "one_hot":
            return (*(shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape), self.depth)
        return (*shape[:-1], self.depth)

    # ----------------------------------------------------------------- numbers

    def compute(self, tokens: NDArray[Any]) -> list[NDArray[Any]]:
        """What ``tokens`` give: ids or vectors; tokens for ids where ``invert`` is true."""
        flat = tokens.reshape(-1).tolist()
        if self.invert:
            text = [self._table.token_of(number) for number in flat]
            if self.output_dtype("") == "string":
                result = np.empty(len(text), object)
                result[:] = text
                return [result.reshape(tokens.shape)]
            return [np.asarray(text, np.int32).reshape(tokens.shape)]
        ids = np.asarray(self._table.find(flat, self.name), np.int64).reshape(tokens.shape)
        return [self.encode(ids)]

    def encode(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """Ids in the output mode."""
        if self.output_mode == "int":
            return ids.astype(np.int32)
        if self.output_mode == "one_hot":
            if ids.ndim > 1 and ids.shape[-1] == 1:
                ids = ids[..., 0]
            return one_hot(ids, self.depth)
        return self.encode_rows(ids.tolist())

    def encode_rows(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """A vector for each row of ids."""
        return encode_rows(rows, self.output_mode, self.depth, self._weights)

    def find_ids(self, tokens: Sequence[bytes]) -> list[int]:
        """The ids of ``tokens``; negative ones count for nothing."""
        return self._table.find(tokens, self.name)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        shape = self.compute_output_shape(x.shape)
        dtype = self.output_dtype(x.dtype)
        (value,) = plan.call_python(self.name, self.compute, [x.value], [(dtype, len(shape))])
        return Flow(value, shape, dtype)

    def get_config(self) -> dict[str, Any]:
        config = {
            "max_tokens": self.max_tokens,
            "num_oov_indices": self.num_oov_indices,
            "mask_token": self.mask_token,
            "oov_token": self.oov_token,
            "vocabulary": self.vocabulary,
            "output_mode": self.output_mode,
            "pad_to_max_tokens": self.pad_to_max_tokens,
            "idf_weights": self.idf_weights,
            "invert": self.invert,
        }
        if self.num_oov_indices > 1 and (self.oov_method != "floormod" or self.salt is not None):
            config |= {"oov_method": self.oov_method, "salt": self.salt}
        return super().get_config() | config


class TextReader(Layer):
    """A layer whose input is text."""

    def call_on_text(self, args: tuple[Any, ...]) -> NDArray[Any]:
        """The strings that a call got, checked."""
        try:
            array = as_text(args[0])
        except ValueError as error:
            raise ValueError(f"layer {self.name!r} ({self.class_name}): {error}") from None
        self.ensure_built(array.shape)
        return array


@register
class StringLookup(Lookup, TextReader):
    """Strings to their ids in a vocabulary, or ids to strings.

    Source: keras 3.15 ``layers/preprocessing/string_lookup.py`` and ``index_lookup.py``. Runs in Python, on strings
    of ``Input(..., dtype="string")``. Strings are compared byte by byte. Several indices for what is outside are
    chosen by FarmHash64, with ``salt`` by SipHash, as TensorFlow does. There is no mask.

    Parameters
    ----------
    max_tokens : int, optional
        Largest size of the vocabulary; used with ``pad_to_max_tokens``.
    num_oov_indices : int
        Indices for strings outside the vocabulary; with none such a string raises ``ValueError``.
    mask_token : str, optional
        Stands for nothing: id 0, or no part of a vector.
    oov_token : str
        What ``invert`` gives for ids outside.
    vocabulary : list of str
        The tokens, with or without special ones before them.
    idf_weights : list of float, optional
        A weight for each token, with ``output_mode="tf_idf"``.
    output_mode : {"int", "one_hot", "multi_hot", "count", "tf_idf"}
        Ids, or vectors of them.
    pad_to_max_tokens : bool
        Whether vectors have ``max_tokens`` elements.
    invert : bool
        Ids in, strings out.
    sparse : bool
        Must be false.
    oov_method, salt
        Which of several indices a string gets: ``salt``, two integers, is the key of SipHash.
    encoding : str
        UTF-8.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> from unrolled import layers
    >>> layers.StringLookup(vocabulary=["good", "bad"])([["bad", "so-so"]]).tolist()
    [[2, 0]]
    """

    def __init__(self, *, oov_token: Any = "[UNK]", encoding: str | None = "utf-8", **kwargs: Any) -> None:
        super().__init__(oov_token=oov_token, **kwargs)
        self.encoding = checked_encoding(encoding)

    @property
    def reads_text(self) -> bool:
        return not self.invert

    def checked_token(self, key: str, token: Any) -> str:
        """See ``Lookup.checked_token``."""
        return checked_string(key, token)

    def output_dtype(self, input_dtype: str) -> str:
        return "string" if self.invert else super().output_dtype(input_dtype)

    def _call_on_arrays(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.compute(self.call_on_text(args) if self.reads_text else np.asarray(args[0]))[0]

    def compute(self, tokens: NDArray[Any]) -> list[NDArray[Any]]:
        """See ``Lookup.compute``; strings come out as ``str``."""
        (result,) = super().compute(tokens)
        if self.invert:
            flat = result.reshape(-1)
            flat[:] = [key.decode("utf-8") if isinstance(key, bytes) else key for key in flat.tolist()]
        return [result]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"encoding": self.encoding}


def checked_string(key: str, token: Any) -> str:
    """A token of text, or a ``ConfigError``."""
    try:
        if isinstance(token, bytes):
            return token.decode("utf-8")
        if isinstance(token, str):
            token.encode("utf-8")
            return str(token)
    except UnicodeError:
        raise ConfigError(key, token, "expected a string of valid UTF-8") from None
    raise ConfigError(key, token, "expected a string")


def checked_encoding(value: Any) -> str:
    """The encoding of a layer, which is UTF-8, or a ``ConfigError``."""
    if value is None or (isinstance(value, str) and value.lower().replace("_", "-") in ("utf-8", "utf8")):
        return "utf-8"
    raise ConfigError("encoding", value, "expected 'utf-8'")


def _checked_salt(salt: Any) -> list[int]:
    parts = salt if isinstance(salt, list | tuple) else [salt, salt]
    if len(parts) != 2 or any(
        isinstance(part, bool) or not isinstance(part, int) or not 0 <= part < 2**64 for part in parts
    ):
        raise ConfigError("salt", salt, "expected two integers from 0 to 2**64 - 1, or one")
    return list(parts)


def _key(token: Any) -> Any:
    """A token as the table has it: text in bytes."""
    return token.encode("utf-8") if isinstance(token, str) else token
