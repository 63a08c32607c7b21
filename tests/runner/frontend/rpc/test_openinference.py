"""The Open Inference Protocol over gRPC."""

from __future__ import annotations

import json
import struct
from typing import Any

import msgspec
import pytest

from runner import wire
from runner.frontend.rpc.messages import message
from runner.worker import rows
from tests.runner.frontend.rpc.calls import serving
from tests.runner.loops import in_loop

OIP = "inference.GRPCInferenceService"
Request = message("inference.ModelInferRequest")


def mirror(row: wire.Row) -> wire.Reply:
    """The inputs as they are seen by a handler, as outputs."""
    seen = rows.decode(row)["body"]
    outputs = [{key: tensor[key] for key in ("name", "shape", "datatype", "data")} for tensor in seen["inputs"]]
    return wire.Reply(200, "", "application/json", [], msgspec.json.encode({"outputs": outputs}))


def request_of(datatype: str, shape: list[int], raw: bytes | None = None, **contents: Any) -> Any:
    request = Request(model_name="m", id="7")
    tensor = request.inputs.add(name="x", datatype=datatype, shape=shape)
    if raw is None:
        for name, values in contents.items():
            getattr(tensor.contents, name).extend(values)
    else:
        request.raw_input_contents.append(raw)
    return request


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("INT8", "int_contents", [-1, 2]),
        ("UINT16", "uint_contents", [1, 65535]),
        ("INT64", "int64_contents", [-(2**63), 2**63 - 1]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1]),
        ("FP32", "fp32_contents", [1.5, -2.0]),
        ("FP64", "fp64_contents", [0.1, 1e300]),
        ("BYTES", "bytes_contents", ["ä".encode(), b""]),
    ],
)
def test_typed_contents_come_back_typed(datatype: str, field: str, values: list[Any]) -> None:
    @in_loop
    async def check() -> None:
        async with serving(mirror) as client:
            answer = await client.call(f"{OIP}/ModelInfer", request_of(datatype, [2], **{field: values}))
        (output,) = answer.outputs
        assert (output.datatype, list(output.shape), list(getattr(output.contents, field))) == (datatype, [2], values)

    check()


@pytest.mark.parametrize("service", [OIP, "org.pytorch.serve.grpc.openinference.GRPCInferenceService"])
def test_raw_contents_come_back_raw_under_both_names_of_the_service(service: str) -> None:
    raw = struct.pack("<4f", 1, 2, 3, 4)

    @in_loop
    async def check() -> None:
        async with serving(mirror) as client:
            answer = await client.call(f"{service}/ModelInfer", request_of("FP32", [2, 2], raw))
        assert list(answer.raw_output_contents) == [raw]
        assert list(answer.outputs[0].shape) == [2, 2]

    check()


@in_loop
async def test_half_floats_come_raw_and_only_raw() -> None:
    async with serving(mirror) as client:
        answer = await client.call(f"{OIP}/ModelInfer", request_of("FP16", [2], b"\x00\x3e\x00\xc0"))
        code, words = await client.refused(f"{OIP}/ModelInfer", request_of("FP16", [2], fp32_contents=[1, 2]))
    assert list(answer.raw_output_contents) == [b"\x00\x3e\x00\xc0"]
    assert (code, words) == ("INVALID_ARGUMENT", 'input "x": FP16 has no typed contents; send it raw.')


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (request_of("FP32", [3], fp32_contents=[1, 2]), "shape [3] does not hold the 2 values"),
        (request_of("FP32", [3], b"\x00" * 8), "takes 12 bytes, not 8"),
        (request_of("INT8", [1], int_contents=[300]), "300 is no INT8"),
        (request_of("FP99", [1], fp32_contents=[1]), "FP99 has no typed contents"),
        (Request(model_name="m"), "inputs must be a list of at least one tensor"),
    ],
)
def test_a_tensor_that_does_not_agree_with_itself_is_refused_and_named(request_: Any, said: str) -> None:
    @in_loop
    async def check() -> None:
        async with serving(mirror) as client:
            code, words = await client.refused(f"{OIP}/ModelInfer", request_)
        assert (code, said in words) == ("INVALID_ARGUMENT", True), words

    check()


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ([{"name": "y"}], "an output lacks name, datatype, shape or data"),
        ([{"name": "y", "datatype": "FP32", "shape": [3], "data": [1]}], "shape [3] does not hold its 1 values"),
        ([{"name": "y", "datatype": "INT8", "shape": [1], "data": [1000]}], "a value is no INT8"),
    ],
)
def test_a_handlers_answer_that_is_no_tensor_is_told(outputs: list[Any], said: str) -> None:
    def wrong(_: wire.Row) -> wire.Reply:
        return wire.Reply(200, "", "application/json", [], json.dumps({"outputs": outputs}).encode())

    @in_loop
    async def check() -> None:
        async with serving(wrong) as client:
            code, words = await client.refused(f"{OIP}/ModelInfer", request_of("FP32", [1], fp32_contents=[1]))
        assert (code, said in words) == ("INTERNAL", True), words

    check()


@in_loop
async def test_server_and_model_describe_themselves() -> None:
    async with serving() as client:
        live = await client.call(f"{OIP}/ServerLive", message("inference.ServerLiveRequest")())
        ready = await client.call(f"{OIP}/ServerReady", message("inference.ServerReadyRequest")())
        server = await client.call(f"{OIP}/ServerMetadata", message("inference.ServerMetadataRequest")())
        named = message("inference.ModelMetadataRequest")(name="m")
        model = await client.call(f"{OIP}/ModelMetadata", named)
        model_ready = await client.call(f"{OIP}/ModelReady", message("inference.ModelReadyRequest")(name="m"))
    assert (live.live, ready.ready, model_ready.ready) == (True, True, True)
    assert (server.name, list(server.extensions)) == ("torch-archive", ["binary_tensor_data"])
    assert (model.name, list(model.versions), model.platform) == ("m", ["1.0"], "pytorch")
