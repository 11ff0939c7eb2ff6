# SPDX-License-Identifier: MIT
"""Parsing of JSON documents with bounds on size, nesting and number of values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from unrolled.errors import ModelFileError
from unrolled.formats.checks import JSON_BYTES, JSON_DEPTH, JSON_VALUES, converted, describe

_CHUNK = 1 << 20


def parse_json(document: bytes | str, part: str) -> Any:
    """Decode a JSON document of a model file.

    Parameters
    ----------
    document : bytes or str
        UTF-8 text.
    part : str
        Its name for error messages.

    Returns
    -------
    object
        Numbers out of a double's range and ``NaN`` come as non-finite floats: the decoder of configs turns
        them into ``UnsupportedValue``.

    Raises
    ------
    ModelFileError
        No JSON, too large, too deeply nested or with too many values.
    """
    with converted(f"{part}: not valid JSON"):
        data = document.encode("utf-8") if isinstance(document, str) else document
        if len(data) > JSON_BYTES:
            raise ModelFileError(f"{part}: {len(data)} bytes of JSON (at most {JSON_BYTES})")
        _check_extent(data, part)
        return json.loads(data, parse_int=_parse_int)


def parse_object(document: bytes | str, part: str) -> dict[str, Any]:
    """``parse_json`` of a document that must be an object."""
    value = parse_json(document, part)
    if not isinstance(value, dict):
        raise ModelFileError(f"{part}: expected a JSON object, got {describe(value)}")
    return value


def _parse_int(digits: str) -> int | float:
    # int() of very long digits takes quadratic time in Python 3.10; no config needs more than 64 bits.
    return int(digits) if len(digits) <= 20 else float("inf")


def _check_extent(data: bytes, part: str) -> None:
    """Bound nesting and number of values before decoding.

    The C decoder recurses: with a raised recursion limit a deep document could overflow the C stack.
    """
    # Without escape pairs every remaining quote opens or closes a string.
    plain = np.frombuffer(data.replace(b"\\\\", b"").replace(b'\\"', b""), dtype=np.uint8)
    in_string = False
    depth = deepest = values = 0
    for start in range(0, len(plain), _CHUNK):
        chunk = plain[start : start + _CHUNK]
        quotes = np.logical_xor.accumulate(chunk == ord('"'))
        outside = ~(quotes ^ in_string)
        in_string = bool(quotes[-1] ^ in_string)
        opening = ((chunk == ord("[")) | (chunk == ord("{"))) & outside
        closing = ((chunk == ord("]")) | (chunk == ord("}"))) & outside
        steps = np.cumsum(opening.astype(np.int32) - closing.astype(np.int32))
        deepest = max(deepest, depth + int(steps.max()))
        depth += int(steps[-1])
        values += int(opening.sum()) + int(((chunk == ord(",")) & outside).sum())
    if deepest > JSON_DEPTH:
        raise ModelFileError(f"{part}: nested {deepest} levels deep (at most {JSON_DEPTH})")
    if values > JSON_VALUES:
        raise ModelFileError(f"{part}: {values} values (at most {JSON_VALUES})")
