# SPDX-License-Identifier: MIT
"""The words of the Open Inference Protocol, version 2: requests, answers, datatypes, errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

# The protocol's datatypes that a model's arrays can have. Tensors travel in little-endian order.
DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
LONGEST_SEQUENCE_ID = 128
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class ServingError(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    status : int
        The HTTP status that says it.
    message : str
        What the client is told.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(slots=True)
class SequenceControl:
    """Which sequence a request belongs to, and whether it begins or ends it."""

    id: str
    start: bool = False
    end: bool = False


@dataclass(slots=True)
class InferRequest:
    """A request to run a model.

    Parameters
    ----------
    model : str
        Its name.
    inputs : dict of str to ndarray
        By name.
    id : str
        The client's own name for the request; comes back with the answer.
    outputs : list of str, optional
        Those wanted; all where absent.
    sequence : SequenceControl, optional
        Present where the request continues a sequence.
    """

    model: str
    inputs: Arrays
    id: str = ""
    outputs: list[str] | None = None
    sequence: SequenceControl | None = None


@dataclass(slots=True)
class InferResponse:
    """The outputs of a model, by name, in order."""

    model: str
    outputs: Arrays
    id: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TensorMetadata:
    """Name, datatype and shape of an input or output; -1 where any size goes."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def described(self) -> dict[str, Any]:
        """As the protocol writes it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The protocol's name of a dtype."""
    return _NAMES[dtype.newbyteorder("<") if dtype.itemsize > 1 else dtype]


def dtype_named(datatype: object, tensor: str) -> np.dtype[Any]:
    """The dtype that the protocol calls ``datatype``."""
    dtype = DATATYPES.get(datatype) if isinstance(datatype, str) else None
    if dtype is None:
        raise ServingError(
            400,
            f"tensor {tensor!r}: expected one of the datatypes {', '.join(DATATYPES)}, got {datatype!r:.60}",
        )
    return dtype


def check_model_name(name: str) -> str:
    """A name that fits URLs and metrics.

    Raises
    ------
    ValueError
        It does not.
    """
    if not _MODEL_NAME.fullmatch(name):
        raise ValueError(
            f"model name {name!r:.80}: expected letters, digits, '.', '_' and '-', at most 100 of them; "
            "NAME=FILE gives a file another name"
        )
    return name


def sequence_id(value: object) -> str | None:
    """A sequence's id as text; None where the request belongs to no sequence (0 or "").

    Raises
    ------
    ServingError
        It is neither an unsigned integer nor a short printable text.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64:
        return str(value) if value else None
    if isinstance(value, str) and len(value) <= LONGEST_SEQUENCE_ID and value.isprintable():
        return value or None
    raise ServingError(
        400,
        "sequence_id: expected an integer from 0 to 2^64 - 1 or a text of at most "
        f"{LONGEST_SEQUENCE_ID} printable characters, got {value!r:.60}",
    )


def sequence_control(parameters: Mapping[str, Any]) -> SequenceControl | None:
    """What the parameters of a request say of its sequence."""
    given = sequence_id(parameters.get("sequence_id", 0))
    flags = [parameters.get(name, False) for name in ("sequence_start", "sequence_end")]
    for name, flag in zip(("sequence_start", "sequence_end"), flags, strict=True):
        if not isinstance(flag, bool):
            raise ServingError(400, f"{name}: expected true or false, got {flag!r:.60}")
    if given is None:
        if any(flags):
            raise ServingError(400, "sequence_start and sequence_end need a sequence_id other than 0 and ''")
        return None
    return SequenceControl(given, *flags)
