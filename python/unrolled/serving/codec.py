# SPDX-License-Identifier: MIT
"""Requests and answers as JSON, and as JSON with the tensors' bytes behind it (the binary extension)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from unrolled.serving.protocol import (
    Arrays,
    InferRequest,
    InferResponse,
    ServingError,
    datatype_of,
    dtype_named,
    sequence_control,
)

# Elements that an answer in JSON may hold: writing them takes the time of all other clients.
MOST_JSON_ELEMENTS = 200_000
MOST_TENSORS = 256
MOST_DIMENSIONS = 8


@dataclass(slots=True)
class Encoding:
    """How a client wants the outputs: which of them as bytes behind the JSON."""

    default: bool = False
    by_name: dict[str, bool] = field(default_factory=dict)

    def is_binary(self, name: str) -> bool:
        return self.by_name.get(name, self.default)


def parse_json(document: bytes | str) -> dict[str, Any]:
    """A JSON object from a stranger.

    Raises
    ------
    ServingError
        It is not valid JSON, or no object. ``NaN`` and ``Infinity`` are not JSON.
    """
    try:
        value = json.loads(document, parse_constant=_refuse_constant)
    except RecursionError:
        raise ServingError(400, "JSON: nested too deeply") from None
    except ValueError as error:  # UnicodeDecodeError and integers of too many digits are among them
        raise ServingError(400, f"JSON: {error}") from None
    if not isinstance(value, dict):
        raise ServingError(400, f"JSON: expected an object, got {type(value).__name__}")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ServingError(400, f"JSON: {text} is no JSON number; send the tensor as binary data")


# -------------------------------------------------------------------- tensors


def decode_tensors(described: object, blob: memoryview, what: str) -> Arrays:
    """The arrays of a list of tensors, ``blob`` holding the bytes of those that have none in JSON."""
    if not isinstance(described, list) or len(described) > MOST_TENSORS:
        raise ServingError(400, f"{what}: expected a list of at most {MOST_TENSORS} tensors")
    arrays: Arrays = {}
    used = 0
    for tensor in described:
        if not isinstance(tensor, dict) or not isinstance(name := tensor.get("name"), str):
            raise ServingError(400, f"{what}: expected objects with name, shape and datatype")
        if name in arrays:
            raise ServingError(400, f"{what}: tensor {name!r:.60} is there twice")
        shape = decode_shape(tensor.get("shape"), name)
        size = parameters_of(tensor).get("binary_data_size")
        if size is None:
            arrays[name] = from_values(tensor.get("data"), tensor.get("datatype"), shape, name)
            continue
        if "data" in tensor:
            raise ServingError(400, f"tensor {name!r:.60}: has both data and binary_data_size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(blob) - used:
            raise ServingError(
                400,
                f"tensor {name!r:.60}: binary_data_size {size!r:.40}, but {len(blob) - used} bytes are left",
            )
        arrays[name] = from_bytes(blob[used : used + size], tensor.get("datatype"), shape, name)
        used += size
    if used != len(blob):
        raise ServingError(400, f"{what}: {len(blob) - used} bytes are left behind the last tensor")
    return arrays


def decode_shape(shape: object, name: str) -> tuple[int, ...]:
    """A shape, its sizes checked."""
    if not isinstance(shape, list) or not 1 <= len(shape) <= MOST_DIMENSIONS:
        raise ServingError(400, f"tensor {name!r:.60}: expected a shape of 1 to {MOST_DIMENSIONS} sizes")
    for size in shape:
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 40:
            raise ServingError(400, f"tensor {name!r:.60}: shape: {size!r:.40} is no size")
    return tuple(shape)


def parameters_of(holder: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a request or tensor."""
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        raise ServingError(400, "parameters: expected an object")
    return parameters


def from_bytes(data: Any, datatype: object, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """A tensor from its bytes in little-endian order."""
    dtype = dtype_named(datatype, name)
    if len(data) != _count(shape) * dtype.itemsize:
        raise ServingError(
            400,
            f"tensor {name!r:.60}: {datatype} {list(shape)} takes {_count(shape) * dtype.itemsize} bytes, "
            f"got {len(data)}",
        )
    array = np.frombuffer(data, dtype).reshape(shape)
    if dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
        raise ServingError(400, f"tensor {name!r:.60}: BOOL takes bytes of 0 and 1")
    if not array.flags.aligned:  # it begins wherever the JSON before it ended
        array = array.copy()
    return array.astype(dtype.newbyteorder("="), copy=False)


def from_values(data: object, datatype: object, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """A tensor from the numbers of a JSON list, flat or nested, checked to fit the datatype."""
    dtype = dtype_named(datatype, name)
    if not isinstance(data, list):
        raise ServingError(400, f"tensor {name!r:.60}: expected data, a list of numbers")
    try:
        array = np.array(data) if data else np.zeros(0, dtype)
    except (ValueError, OverflowError, RecursionError):
        raise ServingError(
            400, f"tensor {name!r:.60}: data: expected numbers in rows of equal length"
        ) from None
    # Of nothing but empty lists NumPy makes floats.
    if array.dtype.kind not in ("b" if dtype.kind == "b" else "iuf") and array.size:
        raise ServingError(400, f"tensor {name!r:.60}: data: expected numbers for {datatype}")
    if array.size != _count(shape) or (array.ndim > 1 and array.shape != shape):
        raise ServingError(
            400, f"tensor {name!r:.60}: data of shape {list(array.shape)} do not fit shape {list(shape)}"
        )
    with np.errstate(all="ignore"):
        converted = array.astype(dtype.newbyteorder("="))
    fits = np.isfinite(converted).all() if dtype.kind == "f" else np.array_equal(converted, array)
    if not fits:
        raise ServingError(400, f"tensor {name!r:.60}: data: a number does not fit {datatype}")
    return converted.reshape(shape)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def encode_tensors(arrays: Mapping[str, NDArray[Any]], encoding: Encoding) -> tuple[list[Any], list[bytes]]:
    """The tensors for JSON, and the bytes that go behind it."""
    described, blobs = [], []
    for name, array in arrays.items():
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": datatype_of(array.dtype),
            "shape": list(array.shape),
        }
        if encoding.is_binary(name):
            data = to_bytes(array)
            tensor["parameters"] = {"binary_data_size": len(data)}
            blobs.append(data)
        else:
            tensor["data"] = to_values(name, array)
        described.append(tensor)
    return described, blobs


def to_bytes(array: NDArray[Any]) -> bytes:
    """The bytes of an array in little-endian order."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def to_values(name: str, array: NDArray[Any]) -> list[Any]:
    """The elements of an array; Python writes each so that the same float32 comes back."""
    if array.size > MOST_JSON_ELEMENTS:
        raise ServingError(
            413, f"output {name!r} has {array.size} elements, too many for JSON: ask for binary_data"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ServingError(
            422, f"output {name!r} holds NaN or infinity, which JSON cannot carry: ask for binary_data"
        )
    values: list[Any] = array.ravel().tolist()
    return values


# ------------------------------------------------------- whole bodies of REST


def split_body(body: bytes, header_length: str | None, limit: int) -> tuple[dict[str, Any], memoryview]:
    """The JSON of a request and the bytes behind it; ``header_length`` says where the JSON ends."""
    size = len(body)
    if header_length is not None:
        if not header_length.isascii() or not header_length.isdigit() or int(header_length[:20]) > len(body):
            raise ServingError(
                400, f"Inference-Header-Content-Length: {header_length!r:.40} is no length here"
            )
        size = int(header_length)
    if size > limit:
        raise ServingError(413, f"{size} bytes of JSON, at most {limit}: send tensors as binary data")
    view = memoryview(body)
    return parse_json(body if size == len(body) else bytes(view[:size])), view[size:]


def decode_request(
    model: str, body: bytes, header_length: str | None, json_limit: int
) -> tuple[InferRequest, Encoding]:
    """A request of REST, and how the client wants its answer.

    Raises
    ------
    ServingError
        Anything in it is not as the protocol says.
    """
    message, blob = split_body(body, header_length, json_limit)
    parameters = parameters_of(message)
    identity = message.get("id", "")
    if not isinstance(identity, str):
        raise ServingError(400, f"id: expected a string, got {identity!r:.60}")
    encoding = Encoding(default=parameters.get("binary_data_output") is True)
    wanted = decode_outputs(message.get("outputs"), encoding)
    request = InferRequest(
        model=model,
        inputs=decode_tensors(message.get("inputs"), blob, "inputs"),
        id=identity,
        outputs=wanted,
        sequence=sequence_control(parameters),
    )
    return request, encoding


def decode_outputs(described: object, encoding: Encoding) -> list[str] | None:
    """The names of the outputs that are wanted; ``encoding`` learns which of them as bytes."""
    if described is None:
        return None
    if not isinstance(described, list) or len(described) > MOST_TENSORS:
        raise ServingError(400, f"outputs: expected a list of at most {MOST_TENSORS} tensors")
    names = []
    for tensor in described:
        if not isinstance(tensor, dict) or not isinstance(name := tensor.get("name"), str):
            raise ServingError(400, "outputs: expected objects with a name")
        parameters = parameters_of(tensor)
        if parameters.get("classification"):
            raise ServingError(400, f"output {name!r:.60}: the classification extension is not supported")
        if "binary_data" in parameters:
            encoding.by_name[name] = parameters["binary_data"] is True
        names.append(name)
    return names or None


def encode_response(response: InferResponse, encoding: Encoding) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where tensors follow it."""
    tensors, blobs = encode_tensors(response.outputs, encoding)
    message: dict[str, Any] = {"model_name": response.model, "model_version": "1", "outputs": tensors}
    if response.id:
        message["id"] = response.id
    if response.parameters:
        message["parameters"] = response.parameters
    text = json.dumps(message, separators=(",", ":")).encode()
    return (b"".join([text, *blobs]), len(text)) if blobs else (text, None)
