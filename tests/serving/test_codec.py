# SPDX-License-Identifier: MIT
"""Bodies of requests and answers: what is read is what was meant, and everything else is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from unrolled.serving.codec import (
    Encoding,
    decode_request,
    decode_tensors,
    encode_response,
    encode_tensors,
    parse_json,
)
from unrolled.serving.protocol import DATATYPES, InferResponse, ServingError

LIMIT = 1 << 20


def decode(message, blob=b"", header_length=None):
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    if blob and header_length is None:
        header_length = str(len(text))
    return decode_request("m", text + blob, header_length, LIMIT)


def one(**changes):
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]} | changes]}


@given(
    arrays=st.lists(
        st.sampled_from(sorted(DATATYPES)).flatmap(
            lambda name: hypothesis_numpy.arrays(
                DATATYPES[name], hypothesis_numpy.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
            )
        ),
        max_size=4,
    )
)
def test_tensors_come_back_from_bytes_bit_for_bit(arrays):
    named = {f"t{index}": array for index, array in enumerate(arrays)}
    described, blobs = encode_tensors(named, Encoding(default=True))
    back = decode_tensors(json.loads(json.dumps(described)), memoryview(b"".join(blobs)), "inputs")
    assert list(back) == list(named)
    for name, array in named.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()


@given(
    hypothesis_numpy.arrays(
        np.float32, 5, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    )
)
def test_float32_comes_back_from_json_bit_for_bit(array):
    body, length = encode_response(InferResponse("m", {"y": array}), Encoding())
    assert length is None
    described = json.loads(body)["outputs"]
    assert decode_tensors(described, memoryview(b""), "outputs")["y"].tobytes() == array.tobytes()


@pytest.mark.parametrize("offset", range(9))
def test_tensors_are_aligned_wherever_their_bytes_begin(offset):
    array = np.arange(4.0)
    message = {
        "inputs": [{"name": "x", "datatype": "FP64", "shape": [4], "parameters": {"binary_data_size": 32}}]
    }
    request, _ = decode(json.dumps(message).encode() + b" " * offset, array.tobytes())
    assert request.inputs["x"].flags.aligned
    np.testing.assert_array_equal(request.inputs["x"], array)


def test_nested_and_flat_data_are_the_same():
    nested, _ = decode(one(data=[[1.0, 2.0]]))
    flat, _ = decode(one())
    np.testing.assert_array_equal(nested.inputs["x"], flat.inputs["x"])


def test_some_tensors_in_json_and_others_behind_it():
    message = one()
    message["inputs"].append(
        {"name": "b", "datatype": "INT32", "shape": [2], "parameters": {"binary_data_size": 8}}
    )
    request, _ = decode(message, np.array([3, 4], np.int32).tobytes())
    assert request.inputs["b"].tolist() == [3, 4]
    assert request.inputs["x"].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    "changes",
    [
        {"data": [1.0]},
        {"data": [1.0, 2.0, 3.0]},
        {"data": [[1.0], [2.0]]},
        {"data": [1.0, None]},
        {"data": [1.0, "2"]},
        {"data": ["1.0", "2.0"]},
        {"data": [1.0, [2.0]]},
        {"data": [True, False]},
        {"data": [1e39, 0.0]},
        {"data": [10**400, 0]},
        {"data": [{}, {}]},
        {"data": {}},
        {"data": None},
        {"datatype": "FP31"},
        {"datatype": "BYTES"},
        {"datatype": None},
        {"datatype": ["FP32"]},
        {"datatype": "INT32", "data": [1.5, 2.0]},
        {"datatype": "UINT8", "data": [256, 0]},
        {"datatype": "UINT8", "data": [-1, 0]},
        {"datatype": "INT64", "data": [2**64, 0]},
        {"datatype": "BOOL", "data": [0, 1]},
        {"shape": []},
        {"shape": [-1, 2]},
        {"shape": [1.0, 2]},
        {"shape": [True, 2]},
        {"shape": [2**50, 2]},
        {"shape": [1] * 20},
        {"shape": "12"},
        {"shape": None},
        {"name": 5},
        {"name": None},
        {"parameters": []},
        {"parameters": {"binary_data_size": 8}},
        {"data": [], "parameters": {"binary_data_size": -1}},
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(changes):
    with pytest.raises(ServingError) as caught:
        decode(one(**changes))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"nonsense",
        b"\xff\xfe\x00",
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [NaN]}]}',
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1e999]}]}',
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [' + b"1" * 5000 + b"]}]}",
        b'{"inputs": ' + b"[" * 100_000 + b"}",
        b'{"inputs": ' + b'{"a":' * 100_000 + b"}",
        b'{"inputs": 3}',
        b'{"inputs": [3]}',
        b"{}",
        b'{"inputs": [], "parameters": 3}',
        b'{"inputs": [], "id": 3}',
        b'{"inputs": [], "outputs": 3}',
        b'{"inputs": [], "outputs": [{"name": 3}]}',
        b'{"inputs": [], "outputs": [{"name": "y", "parameters": {"classification": 2}}]}',
    ],
)
def test_a_body_that_is_no_request_is_refused(body):
    with pytest.raises(ServingError) as caught:
        decode(body)
    assert caught.value.status == 400


def test_data_nested_deeply_is_refused():
    with pytest.raises(ServingError):
        decode(
            b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": '
            + b"[" * 200
            + b"]" * 200
            + b"}]}"
        )


@pytest.mark.parametrize(
    ("size", "blob"),
    [(7, bytes(8)), (9, bytes(8)), (8, bytes(7)), (8, bytes(9)), (8.0, bytes(8)), (True, b"\0")],
)
def test_bytes_that_do_not_fill_the_tensor_are_refused(size, blob):
    message = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": size}}]
    }
    with pytest.raises(ServingError):
        decode(message, blob)


@pytest.mark.parametrize("header_length", ["", "-1", "1e3", "99999", "9" * 5000, "²", " 3"])
def test_a_header_length_that_is_none_is_refused(header_length):
    with pytest.raises(ServingError):
        decode(one(), header_length=header_length)


def test_a_boolean_byte_other_than_0_and_1_is_refused():
    message = {
        "inputs": [{"name": "x", "datatype": "BOOL", "shape": [1], "parameters": {"binary_data_size": 1}}]
    }
    with pytest.raises(ServingError, match="BOOL"):
        decode(message, b"\2")


def test_two_inputs_of_one_name_are_refused():
    message = one()
    with pytest.raises(ServingError, match="twice"):
        decode({"inputs": message["inputs"] * 2})


def test_more_json_than_allowed_is_refused():
    with pytest.raises(ServingError) as caught:
        decode_request("m", b" " * (LIMIT + 1), None, LIMIT)
    assert caught.value.status == 413


@pytest.mark.parametrize("id", [-1, 2**64, 1.5, float("inf"), True, None, [], "x" * 129, "a\nb", "\0"])
def test_an_id_that_names_no_sequence_is_refused(id):
    with pytest.raises(ServingError):
        decode(json.dumps(one() | {"parameters": {"sequence_id": id}}).encode())


@pytest.mark.parametrize("id", [1, 2**64 - 1, "7", "a client, Ä"])
def test_an_id_is_an_integer_or_a_text(id):
    request, _ = decode(one() | {"parameters": {"sequence_id": id, "sequence_start": True}})
    assert request.sequence.id == str(id)
    assert request.sequence.start
    assert not request.sequence.end


def test_flags_of_a_sequence_without_an_id_are_refused():
    with pytest.raises(ServingError, match="sequence_id"):
        decode(one() | {"parameters": {"sequence_id": 0, "sequence_start": True}})


@pytest.mark.parametrize("flag", ["yes", 1, None])
def test_flags_of_a_sequence_are_booleans(flag):
    with pytest.raises(ServingError, match="sequence_end"):
        decode(one() | {"parameters": {"sequence_id": 3, "sequence_end": flag}})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output_that_json_cannot_carry_is_an_error_and_travels_as_bytes(value):
    response = InferResponse("m", {"y": np.array([1.0, value], np.float32)})
    with pytest.raises(ServingError, match="binary"):
        encode_response(response, Encoding())
    body, length = encode_response(response, Encoding(by_name={"y": True}))
    assert np.array_equal(np.frombuffer(body[length:], np.float32), [1.0, value], equal_nan=True)


def test_an_output_too_large_for_json_is_an_error():
    with pytest.raises(ServingError) as caught:
        encode_response(InferResponse("m", {"y": np.zeros(300_000, np.float32)}), Encoding())
    assert caught.value.status == 413


@given(st.binary(max_size=60))
def test_garbage_is_refused_or_an_object(data):
    statuses = []
    try:
        value = parse_json(data)
    except ServingError as error:
        statuses.append(error.status)
        value = {}
    assert isinstance(value, dict)
    assert statuses in ([], [400])
