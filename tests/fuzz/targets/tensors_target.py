"""Requests of the Open Inference Protocol: refused, or tensors that the worker's decoder takes, too."""

from __future__ import annotations

from runner import wire
from runner.frontend.binary_tensors import NoSuchOutput, TensorError
from runner.frontend.inference_request import InferenceRequest
from runner.handlers.errors import BadRequest
from runner.worker.tensors import read_request

_MARK = b"\x00answer\x00"


def one(data: bytes) -> None:
    """Two bytes of JSON's length (zero for all of it), the request, and after a mark the handler's answer."""
    request, _, answered = data[2:].partition(_MARK)
    header = int.from_bytes(data[:2], "little") or None
    try:
        asked = InferenceRequest.read(request, header)
    except TensorError as error:
        assert str(error)
        return
    for _, kind, body in asked.params:
        if "header=" in kind:
            _read_by_worker(body, kind.partition("header=")[2])
    for kind in ("application/json", "text/plain"):
        _answer(asked, wire.Reply(200, "", kind, [], answered))


def _read_by_worker(body: bytes, header: str) -> None:
    try:
        found = read_request(body, header)
    except BadRequest as error:
        raise AssertionError("the front end let pass what a worker cannot read") from error
    assert all("data" in tensor for tensor in found["inputs"])


def _answer(asked: InferenceRequest, reply: wire.Reply) -> None:
    try:
        asked.reply(reply, "m", "1.0")
    except (NoSuchOutput, TensorError) as error:
        assert str(error)
