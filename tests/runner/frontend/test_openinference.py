"""The Open Inference Protocol over REST, with JSON tensors."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import wire
from runner.frontend.tensors import TensorError, check_inputs, outputs_of
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
