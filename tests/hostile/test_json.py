"""JSON that is small to send and large to read, through each of the three places that read it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from runner import wire
from runner.frontend.binary_tensors import TensorError
from runner.frontend.inference_request import InferenceRequest
from runner.handlers.errors import BadRequest
from runner.worker.rows import decode
from tests.runner.frontend.apps import running_app
from tests.runner.loops import in_loop

_TENSOR = b'{"name":"a","shape":[%s],"datatype":"INT8","data":[%s]}'
_DIGITS = b"9" * 5000

BOMBS = {
    "lists in lists": b"[" * 100_000,
    "mappings in mappings": b'{"a":' * 100_000,
    "a long number": b'{"inputs":[' + _TENSOR % (b"1", _DIGITS) + b"]}",
    "a long number among parameters": b'{"a":' + _DIGITS + b"}",
}


def _by_worker(body: bytes) -> Any:
    return decode(wire.Row("id", [("body", "application/json", body)], b""))["body"]


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize(("read", "refusal"), [(_by_worker, BadRequest), (InferenceRequest.read, TensorError)])
def test_a_bomb_is_the_clients_mistake(bomb: bytes, read: Callable[[bytes], Any], refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        read(bomb)


@in_loop
async def test_a_bomb_among_the_parameters_of_a_registration_is_400() -> None:
    async with running_app() as (client, _):
        for bomb in BOMBS.values():
            answer = await client.post("/models", content=bomb[:65_000], headers={"content-type": "application/json"})
            assert answer.status_code == 400


@in_loop
async def test_numbers_of_any_length_are_400_where_a_number_is_asked_for() -> None:
    async with running_app() as (client, _):
        infer = {"content": b"{}", "headers": {"inference-header-content-length": _DIGITS.decode()}}
        for method, path, options in (
            ("POST", "/v2/models/m/infer", infer),
            ("PUT", "/models/m", {"params": {"min_worker": _DIGITS.decode()}}),
            ("GET", "/models", {"params": {"limit": _DIGITS.decode()}}),
            ("GET", "/models", {"params": {"next_page_token": "-1"}}),
        ):
            assert (await client.request(method, path, **options)).status_code == 400, path


@pytest.mark.parametrize("size", [b"4611686018427387904,4", b"18446744073709551615", b"99999999999,99999999999"])
def test_a_shape_that_holds_more_than_there_is_is_refused(size: bytes) -> None:
    with pytest.raises(TensorError):
        InferenceRequest.read(b'{"inputs":[' + _TENSOR % (size, b"1") + b"]}")


def test_of_a_key_that_is_there_twice_the_last_counts_for_every_reader() -> None:
    """Or the front end would check one tensor, and the handler be given another."""
    good, bad = _TENSOR % (b"1", b"1"), _TENSOR % (b"1", b'"x"')
    body = b'{"inputs":[%b],"inputs":[%b]}' % (bad, good)
    assert InferenceRequest.read(body).asked == _by_worker(body) == json.loads(body)
    with pytest.raises(TensorError):
        InferenceRequest.read(b'{"inputs":[%b],"inputs":[%b]}' % (good, bad))
