"""The Open Inference Protocol over REST, with JSON tensors."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runner import wire
from runner.content_types import BINARY_TENSORS
from runner.frontend.binary_tensors import NoSuchOutput, TensorError, packed
from runner.frontend.inference_request import InferenceRequest
from runner.frontend.tensors import check_inputs, outputs_of
from runner.handlers.errors import BadRequest
from runner.worker import rows
from tests.runner.frontend.apps import running_app
from tests.runner.loops import in_loop

TENSOR = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4.5]]}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["name", "shape", "datatype", "data"]), inner),
)


def answering(value: Any) -> Any:
    return lambda row: wire.Reply(200, "", "application/json", [], msgspec.json.encode(value))


@in_loop
async def test_the_answer_is_wrapped_into_typed_outputs_and_the_id_comes_back() -> None:
    async with running_app(answering({"a": [[1.5, 2]], "b": "cat"})) as (client, _):
        for path in ("/v2/models/m/infer", "/v2/models/m/versions/1.0/infer"):
            answer = (await client.post(path, json={"id": "7", "inputs": [TENSOR]})).json()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "m", "1.0")
    assert answer["outputs"] == [
        {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1.5, 2]},
        {"name": "b", "shape": [1], "datatype": "BYTES", "data": ["cat"]},
    ]


@in_loop
async def test_an_answer_in_the_protocol_goes_out_as_it_is() -> None:
    own = {"outputs": [], "model_name": "own"}
    async with running_app(answering(own)) as (client, _):
        assert (await client.post("/v2/models/m/infer", json={"inputs": [TENSOR]})).json() == own


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": [3]}, "does not hold the 4 values"),
        ({"datatype": "FP99"}, "datatype must be one of"),
        ({"datatype": "INT8"}, "4.5 is no INT8"),
        ({"datatype": "BOOL"}, "1 is no BOOL"),
        ({"data": None}, "data must be a list"),
        ({"data": [1, 2, 3, None]}, "null is no FP32"),
        ({"shape": [-1]}, "shape must be"),
    ],
)
def test_a_tensor_that_does_not_agree_with_itself_is_400_and_named(change: dict[str, Any], said: str) -> None:
    @in_loop
    async def check() -> None:
        async with running_app() as (client, _):
            response = await client.post("/v2/models/m/infer", json={"inputs": [{**TENSOR, **change}]})
        assert response.status_code == 400
        assert said in response.json()["message"]
        assert 'input "x"' in response.json()["message"]

    check()


@in_loop
async def test_server_and_models_say_whether_they_are_ready() -> None:
    async with running_app() as (client, _):
        assert (await client.get("/v2")).json()["name"] == "torch-archive"
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        assert (await client.get("/v2/health/ready")).status_code == 200
        assert (await client.get("/v2/models/m/ready")).json() == {"name": "m", "ready": True}
        assert (await client.get("/v2/models/x/ready")).status_code == 404
    async with running_app(None) as (client, _):
        assert (await client.get("/v2/models/m/ready")).status_code == 503


@given(ANYTHING)
def test_garbage_raises_nothing_but_a_tensor_error(garbage: Any) -> None:
    try:
        check_inputs([garbage])
    except TensorError as error:
        assert str(error)


@given(ANYTHING)
def test_outputs_are_always_tensors_that_pass_the_check(answer: Any) -> None:
    outputs = outputs_of(answer)
    check_inputs(outputs)
    assert outputs


SPEC = [
    ("BOOL", [True, False], b"\x01\x00"),
    ("UINT8", [0, 255], b"\x00\xff"),
    ("INT8", [-128, 127], b"\x80\x7f"),
    ("UINT16", [1, 65535], b"\x01\x00\xff\xff"),
    ("INT16", [-1, 2], b"\xff\xff\x02\x00"),
    ("FP16", [1.5, -2.0], b"\x00\x3e\x00\xc0"),
    ("BF16", [1.5, -2.0], b"\xc0\x3f\x00\xc0"),
    ("UINT32", [1, 2**32 - 1], b"\x01\x00\x00\x00\xff\xff\xff\xff"),
    ("INT32", [-1, 1], b"\xff\xff\xff\xff\x01\x00\x00\x00"),
    ("FP32", [1.5, -2.0], b"\x00\x00\xc0\x3f\x00\x00\x00\xc0"),
    ("UINT64", [1, 2**64 - 1], b"\x01" + b"\x00" * 7 + b"\xff" * 8),
    ("INT64", [-1, 1], b"\xff" * 8 + b"\x01" + b"\x00" * 7),
    ("FP64", [1.5, -2.0], b"\x00" * 6 + b"\xf8\x3f" + b"\x00" * 7 + b"\xc0"),
    ("BYTES", ["ä", ""], b"\x02\x00\x00\x00\xc3\xa4\x00\x00\x00\x00"),
]


def binary_request(data: bytes, /, **tensor: Any) -> tuple[bytes, int]:
    """A body with one tensor as bytes, and the length of its JSON."""
    whole = {"name": "x", "parameters": {"binary_data_size": len(data)}, **tensor}
    head = msgspec.json.encode({"inputs": [whole], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]})
    return head + data, len(head)


@pytest.mark.parametrize(("datatype", "values", "data"), SPEC)
def test_bytes_of_every_datatype_reach_handlers_as_json_would_and_answers_go_out_as_bytes(
    datatype: str, values: list[Any], data: bytes
) -> None:
    body, length = binary_request(data, datatype=datatype, shape=[2])
    request = InferenceRequest.read(body, length)
    seen = rows.decode(wire.Row("1", request.params, b""))["body"]
    assert (seen["inputs"][0]["data"], seen["inputs"][0]["parameters"]) == (values, {})
    own = {"outputs": [{"name": "y", "shape": [2], "datatype": datatype, "data": values}]}
    reply = request.reply(wire.Reply(200, "", "application/json", [], msgspec.json.encode(own)), "m", "1.0")
    size = int(dict(reply.headers)["Inference-Header-Content-Length"])
    (output,) = msgspec.json.decode(reply.body[:size])["outputs"]
    assert (output["parameters"], reply.body[size:]) == ({"binary_data_size": len(data)}, data)
    assert "data" not in output


@given(st.lists(st.floats(width=32, allow_nan=False)))
def test_bf16_is_the_nearest_that_there_is(values: list[float]) -> None:
    nearest = torch.tensor(values, dtype=torch.float32).to(torch.bfloat16).view(torch.int16).numpy().tobytes()
    assert packed("BF16", values) == nearest


@pytest.mark.parametrize(
    ("data", "change", "said"),
    [
        (b"\x00" * 7, {}, 'input "x": shape [2] of FP32 takes 8 bytes, not 7.'),
        (b"\x00" * 8, {"parameters": {"binary_data_size": 9}}, "the body ends before its 9 bytes"),
        (b"\x00" * 9, {"parameters": {"binary_data_size": 8}}, "1 bytes after the JSON belong to no input"),
        (b"\x00" * 8, {"parameters": {"binary_data_size": -1}}, "binary_data_size must be a whole number"),
        (b"\x00" * 8, {"data": []}, "has both data and binary_data_size"),
        (b"\x09\x00\x00\x00a", {"datatype": "BYTES"}, "an element of BYTES ends beyond its data"),
        (b"\x01\x00\x00\x00a", {"datatype": "BYTES"}, "shape [2] does not hold the 1 elements"),
        (b"\x01", {"datatype": "BYTES"}, "an element of BYTES ends beyond its data"),
        (b"", {"shape": [2**62] * 4}, "holds too many elements"),
    ],
)
def test_bytes_that_do_not_fit_are_400_and_say_so(data: bytes, change: dict[str, Any], said: str) -> None:
    body, length = binary_request(data, **{"datatype": "FP32", "shape": [2], **change})

    @in_loop
    async def check() -> None:
        async with running_app() as (client, _):
            headers = {"Inference-Header-Content-Length": str(length)}
            response = await client.post("/v2/models/m/infer", content=body, headers=headers)
        assert response.status_code == 400
        assert said in response.json()["message"]

    check()


@pytest.mark.parametrize("length", ["-1", "1000000", "x"])
def test_a_header_length_that_cannot_be_is_400(length: str) -> None:
    @in_loop
    async def check() -> None:
        async with running_app() as (client, _):
            headers = {"Inference-Header-Content-Length": length}
            response = await client.post("/v2/models/m/infer", json={"inputs": [TENSOR]}, headers=headers)
        assert response.status_code == 400
        assert "Inference-Header-Content-Length" in response.json()["message"]

    check()


@given(st.binary(), st.integers(-5, 60))
def test_no_body_does_more_than_be_refused(body: bytes, length: int) -> None:
    with suppress(TensorError):
        InferenceRequest.read(body, length)
    with suppress(BadRequest):
        rows.decode(wire.Row("1", [("body", f"{BINARY_TENSORS}; header={length}", body)], b""))


@in_loop
async def test_only_the_outputs_that_are_asked_for_go_out_in_their_order() -> None:
    async with running_app(answering({"a": [1], "b": [2], "c": [3]})) as (client, _):
        asked = {"inputs": [TENSOR], "outputs": [{"name": "c"}, {"name": "a"}]}
        answer = (await client.post("/v2/models/m/infer", json=asked)).json()
        unknown = await client.post("/v2/models/m/infer", json={**asked, "outputs": [{"name": "d"}]})
        ranked = {"name": "a", "parameters": {"classification": 3}}
        ranking = await client.post("/v2/models/m/infer", json={**asked, "outputs": [ranked]})
    assert [output["name"] for output in answer["outputs"]] == ["c", "a"]
    assert (unknown.status_code, ranking.status_code) == (400, 400)
    assert unknown.json()["message"] == 'output "d": there is no such output; there are: a, b, c.'


@in_loop
async def test_a_model_names_its_versions_and_platform() -> None:
    async with running_app() as (client, _):
        model = (await client.get("/v2/models/m")).json()
        assert (await client.get("/v2/models/m/versions/1.0")).json() == model
        assert (await client.get("/v2/models/x")).status_code == 404
    assert model == {"name": "m", "versions": ["1.0"], "platform": "pytorch", "inputs": [], "outputs": []}


@in_loop
async def test_explanations_have_a_route_of_their_own() -> None:
    seen: list[wire.Row] = []

    def explaining(row: wire.Row) -> wire.Reply:
        seen.append(row)
        return wire.Reply(200, "", "application/json", [], b"[1]")

    async with running_app(explaining) as (client, _):
        assert (await client.post("/v2/models/m/explain", json={"inputs": [TENSOR]})).status_code == 200
    assert wire.unpack_headers(seen[0].headers)["explain"] == "True"


@in_loop
async def test_an_answer_that_is_not_the_tensor_it_says_it_is_is_the_servers_fault() -> None:
    own = {"outputs": [{"name": "y", "shape": [1], "datatype": "INT8", "data": [1000]}]}
    asked = {"inputs": [TENSOR], "parameters": {"binary_data_output": True}}
    async with running_app(answering(own)) as (client, _):
        answer = await client.post("/v2/models/m/infer", json=asked)
    assert answer.status_code == 500
    assert "a value is no INT8" in answer.json()["message"]


HUGE = "shape [4611686018427387905, 4611686018427387905, 4611686018427387905, 46116860184273879…] holds too many"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": [{**TENSOR, "shape": [2**62 + 1] * 500_000}]}, HUGE),
        ({"inputs": [{**TENSOR, "shape": [1] * 500_000 + [0]}]}, "does not hold"),
        ({"inputs": [TENSOR], "parameters": [1]}, "parameters must be an object."),
    ],
)
def test_what_a_client_makes_too_large_or_misshapes_is_refused_in_short(change: dict[str, Any], said: str) -> None:
    with pytest.raises(TensorError) as refused:
        InferenceRequest.read(msgspec.json.encode(change))
    assert said in str(refused.value)
    assert len(str(refused.value)) < 250


def test_a_tensor_of_no_elements_may_be_bytes_and_reaches_handlers_as_an_empty_list() -> None:
    body, length = binary_request(b"", datatype="FP32", shape=[0])
    request = InferenceRequest.read(body, length)
    assert rows.decode(wire.Row("1", request.params, b""))["body"]["inputs"][0]["data"] == []


@pytest.mark.parametrize(
    "output",
    [
        {"data": [1]},
        {"name": "y", "datatype": ["a"], "data": [1]},
        {"datatype": "INT8", "parameters": 1, "data": [1]},
    ],
)
def test_an_output_that_says_too_little_to_be_bytes_is_the_handlers_fault(output: dict[str, Any]) -> None:
    asked = {"inputs": [TENSOR], "parameters": {"binary_data_output": True}}
    request = InferenceRequest.read(msgspec.json.encode(asked))
    with pytest.raises(TensorError, match="an output needs a datatype"):
        request.reply(
            wire.Reply(200, "", "application/json", [], msgspec.json.encode({"outputs": [output]})), "m", "1"
        )


def test_an_output_without_a_proper_name_is_not_found_by_one() -> None:
    request = InferenceRequest.read(msgspec.json.encode({"inputs": [TENSOR], "outputs": [{"name": "y"}]}))
    own = msgspec.json.encode({"outputs": [{"name": ["y"], "data": [1]}]})
    with pytest.raises(NoSuchOutput):
        request.reply(wire.Reply(200, "", "application/json", [], own), "m", "1")
