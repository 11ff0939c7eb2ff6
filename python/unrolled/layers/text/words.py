# SPDX-License-Identifier: MIT
"""From strings to words as TensorFlow does it: on bytes of UTF-8, of which it knows letters of ASCII alone."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What Keras's regular expression lists: the punctuation of ASCII. That of other scripts stays.
_PUNCTUATION = string.punctuation.encode()

STANDARDIZE = ("lower_and_strip_punctuation", "lower", "strip_punctuation")
SPLIT = ("whitespace", "character")


def as_text(value: Any) -> NDArray[Any]:
    """Lists or arrays of str or bytes as an array of bytes objects (UTF-8).

    Raises
    ------
    ValueError
        Something in it is no string.
    """
    array = value if isinstance(value, np.ndarray) else np.asarray(_nested(value), dtype=object)
    if array.dtype.kind == "T":
        array = array.astype(object)
    if array.dtype.kind not in "OUS":
        raise ValueError(f"expected strings (str or bytes), got {array.dtype}")
    result = np.empty(array.shape, object)
    flat = result.reshape(-1)
    for position, item in enumerate(array.reshape(-1).tolist()):
        if isinstance(item, bytes):
            flat[position] = bytes(item)
        elif isinstance(item, str):
            try:
                flat[position] = item.encode("utf-8")
            except UnicodeEncodeError:
                raise ValueError(f"the string at {position} is no valid Unicode (a lone surrogate)") from None
        else:
            what = "a list of lists of different lengths" if isinstance(item, list) else type(item).__name__
            raise ValueError(f"expected strings (str or bytes), got {what}")
    return result


def _nested(value: Any) -> Any:
    """Columns of tables and scalars of NumPy as what ``numpy.asarray`` takes apart."""
    return value.to_numpy() if hasattr(value, "to_numpy") else value


def standardized(text: bytes, how: str | None) -> bytes:
    """``text`` in lower case and without punctuation, as ``how`` says; bytes outside ASCII stay."""
    if how in ("lower", "lower_and_strip_punctuation"):
        text = text.lower()
    if how in ("strip_punctuation", "lower_and_strip_punctuation"):
        text = text.translate(None, _PUNCTUATION)
    return text


def split_words(text: bytes, how: str) -> list[bytes]:
    """The words between ASCII's white space, or the code points."""
    if how == "whitespace":
        return text.split()
    # What is no UTF-8 becomes U+FFFD.
    return [character.encode("utf-8") for character in text.decode("utf-8", "replace")]


def ngrams_of(words: Sequence[bytes], widths: Sequence[int]) -> list[bytes]:
    """All runs of so many words, joined by blanks: width after width."""
    return [
        b" ".join(words[start : start + width]) for width in widths for start in range(len(words) - width + 1)
    ]


def text_input(value: Any, tensor: Any, model: str) -> NDArray[Any]:
    """An input of text, ``(batch, ...)`` of bytes objects; an axis of size 1 at the end may be left out, or be more.

    Raises
    ------
    ValueError
        Something else than strings, or another shape.
    """
    where = f"model {model!r}, input {tensor.name!r}"
    try:
        array = as_text(value)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if array.ndim == tensor.ndim - 1 and array.ndim and tensor.shape[-1] in (1, None):
        array = array[..., None]
    elif array.ndim == tensor.ndim + 1 and array.shape[-1] == 1:
        array = array[..., 0]
    fits = array.ndim == tensor.ndim and all(
        want is None or want == got for want, got in zip(tensor.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(f"{where}: expected strings of shape {tensor.shape}, got {array.shape}")
    return array
