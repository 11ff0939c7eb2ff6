# SPDX-License-Identifier: MIT
"""The protocol over gRPC, in the event loop of the other protocols."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from unrolled.serving.codec import MOST_TENSORS, decode_shape, from_bytes, to_bytes
from unrolled.serving.messages import PACKAGE, message_classes
from unrolled.serving.options import Options
from unrolled.serving.protocol import (
    Arrays,
    InferRequest,
    InferResponse,
    ServingError,
    datatype_of,
    dtype_named,
    sequence_control,
)
from unrolled.serving.security import Gate
from unrolled.serving.service import Service

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_OPEN_CALLS = {"ServerLive", "ServerReady"}
# Which field of InferTensorContents holds the elements of a datatype.
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
MOST_CALLS_AT_ONCE = 4096


async def start_grpc(service: Service, gate: Gate, options: Options, port: int) -> Any:
    """A gRPC server, listening; its ``stop`` drains it."""
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", options.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", options.max_header_bytes),
            ("grpc.max_connection_idle_ms", int(options.idle_timeout * 1000)),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.max_concurrent_streams", 256),
        ],
        maximum_concurrent_rpcs=MOST_CALLS_AT_ONCE,
    )
    server.add_generic_rpc_handlers((Calls(service, gate).handler(),))
    host = f"[{options.host}]" if ":" in options.host else options.host
    if server.add_insecure_port(f"{host}:{port}") == 0:
        raise OSError(f"gRPC cannot listen on {host}:{port}")
    await server.start()
    return server


class Calls:
    """The procedures, one a method."""

    def __init__(self, service: Service, gate: Gate) -> None:
        self._service = service
        self._gate = gate
        self._messages = message_classes()

    def handler(self) -> Any:
        """All procedures, each behind the gate."""
        calls: dict[str, Callable[[Any], Awaitable[Any]]] = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.model_infer,
            "RepositoryIndex": self.repository_index,
        }
        found = {
            name: grpc.unary_unary_rpc_method_handler(
                self._guarded(name, call),
                request_deserializer=self._messages[f"{name}Request"].FromString,
                response_serializer=self._messages[f"{name}Response"].SerializeToString,
            )
            for name, call in calls.items()
        }
        found["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self.model_stream_infer,
            request_deserializer=self._messages["ModelInferRequest"].FromString,
            response_serializer=self._messages["ModelStreamInferResponse"].SerializeToString,
        )
        return grpc.method_handlers_generic_handler(f"{PACKAGE}.GRPCInferenceService", found)

    def _guarded(self, name: str, call: Callable[[Any], Awaitable[Any]]) -> Any:
        async def answer(request: Any, context: Any) -> Any:
            try:
                if name not in _OPEN_CALLS:
                    self._admit(context)
                return await call(request)
            except ServingError as error:
                await context.abort(_CODES.get(error.status, grpc.StatusCode.INTERNAL), error.message)

        return answer

    def _admit(self, context: Any) -> None:
        headers = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        # gRPC has no Host: what a browser could send for another site does not speak it.
        headers.pop("host", None)
        self._gate.admit(headers, context.peer().rpartition(":")[0])

    # ------------------------------------------------------- health and metadata

    async def server_live(self, request: Any) -> Any:
        return self._messages["ServerLiveResponse"](live=True)

    async def server_ready(self, request: Any) -> Any:
        return self._messages["ServerReadyResponse"](ready=not self._service.is_draining)

    async def model_ready(self, request: Any) -> Any:
        check_version(request.version)
        is_ready = request.name in self._service.models and not self._service.is_draining
        return self._messages["ModelReadyResponse"](ready=is_ready)

    async def server_metadata(self, request: Any) -> Any:
        return self._messages["ServerMetadataResponse"](**self._service.describe_server())

    async def model_metadata(self, request: Any) -> Any:
        check_version(request.version)
        described = self._service.model(request.name).metadata()
        del described["parameters"]
        return self._messages["ModelMetadataResponse"](**described)

    async def repository_index(self, request: Any) -> Any:
        state = "UNAVAILABLE" if self._service.is_draining else "READY"
        models = [{"name": name, "version": "1", "state": state} for name in self._service.models]
        return self._messages["RepositoryIndexResponse"](models=models)

    # ---------------------------------------------------------------- inference

    async def model_infer(self, request: Any) -> Any:
        """Run a model."""
        started = time.perf_counter()
        name, code = request.model_name, "500"
        try:
            check_version(request.model_version)
            response = encode_response(self._messages, await self._service.infer(decode_request(request)))
            code = "200"
            return response
        except ServingError as error:
            code = str(error.status)
            raise
        finally:
            known = name if name in self._service.models else ""
            self._service.metrics.request(known, "grpc", code, time.perf_counter() - started)

    async def model_stream_infer(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Answers in the order of the requests; an error is an answer, and the next request goes on."""
        make = self._messages["ModelStreamInferResponse"]
        try:
            self._admit(context)
        except ServingError as error:
            await context.abort(_CODES[error.status], error.message)
        async for request in requests:
            try:
                yield make(infer_response=await self.model_infer(request))
            except ServingError as error:
                yield make(
                    error_message=error.message,
                    infer_response=self._messages["ModelInferResponse"](id=request.id),
                )


def check_version(version: str) -> None:
    """Raise ``ServingError`` for a version that is not served."""
    if version not in ("", "1"):
        raise ServingError(404, f"version {version!r:.60}: every model has version '1' alone")


def decode_request(message: Any) -> InferRequest:
    """A request of gRPC.

    Raises
    ------
    ServingError
        Anything in it is not as the protocol says.
    """
    if len(message.inputs) > MOST_TENSORS or len(message.outputs) > MOST_TENSORS:
        raise ServingError(400, f"expected at most {MOST_TENSORS} tensors")
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise ServingError(400, f"raw_input_contents: expected {len(message.inputs)}, got {len(raw)}")
    inputs: Arrays = {}
    for index, tensor in enumerate(message.inputs):
        if tensor.name in inputs:
            raise ServingError(400, f"inputs: tensor {tensor.name!r:.60} is there twice")
        shape = decode_shape(list(tensor.shape), tensor.name)
        if raw:
            inputs[tensor.name] = from_bytes(raw[index], tensor.datatype, shape, tensor.name)
        else:
            inputs[tensor.name] = _from_contents(tensor, shape)
    parameters = {key: _value(parameter) for key, parameter in message.parameters.items()}
    outputs = [output.name for output in message.outputs] or None
    return InferRequest(message.model_name, inputs, message.id, outputs, sequence_control(parameters))


def _value(parameter: Any) -> Any:
    choice = parameter.WhichOneof("parameter_choice")
    return None if choice is None else getattr(parameter, choice)


def _from_contents(tensor: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    dtype = dtype_named(tensor.datatype, tensor.name)
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise ServingError(
            400, f"tensor {tensor.name!r:.60}: {tensor.datatype} travels in raw_input_contents"
        )
    values = np.array(getattr(tensor.contents, field))
    count = 1
    for size in shape:
        count *= size
    if len(values) != count:
        raise ServingError(
            400, f"tensor {tensor.name!r:.60}: expected {count} elements in {field}, got {len(values)}"
        )
    converted = values.astype(dtype.newbyteorder("="))
    if dtype.kind in "iu" and not np.array_equal(converted, values):
        raise ServingError(400, f"tensor {tensor.name!r:.60}: an element does not fit {tensor.datatype}")
    return converted.reshape(shape)


def encode_response(messages: dict[str, Any], response: InferResponse) -> Any:
    """An answer of gRPC."""
    message = messages["ModelInferResponse"](
        model_name=response.model,
        model_version="1",
        id=response.id,
        outputs=[
            {"name": name, "datatype": datatype_of(array.dtype), "shape": array.shape}
            for name, array in response.outputs.items()
        ],
        raw_output_contents=[to_bytes(array) for array in response.outputs.values()],
    )
    for key, value in response.parameters.items():
        if isinstance(value, str):
            message.parameters[key].string_param = value
        elif value < 1 << 63:
            message.parameters[key].int64_param = value
        else:
            message.parameters[key].uint64_param = value
    return message
