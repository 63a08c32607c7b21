"""ts.torch_handler.request_envelope.kservev2: the Open Inference Protocol's tensors as nested lists."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any
from uuid import uuid4

from ts.torch_handler.request_envelope.base import (  # type: ignore[import-not-found,unused-ignore]  # by the hook
    BaseEnvelope,
    mapping_of,
)

from runner.handlers.errors import BadRequest


class KServev2Envelope(BaseEnvelope):  # type: ignore[misc,unused-ignore]  # the hook's modules are Any to mypy
    """One input per tensor of each request, in its shape; one output per answer, in the shape it has, named after
    its input. An input of datatype BYTES with one element is that element."""

    def inputs_of(self, request: Any) -> list[Any]:
        inputs = mapping_of(request).get("inputs")
        if not isinstance(inputs, list) or not all(isinstance(one, dict) and "data" in one for one in inputs):
            raise BadRequest('the body must be {"inputs": [{"name", "shape", "datatype", "data"}, ...]}')
        return [_value(one) for one in inputs]

    def wrapped(self, number: int, answers: Sequence[Any]) -> Any:
        request = mapping_of(self._requests[number])
        model = self.context.manifest.get("model", {})
        named = zip(request["inputs"], answers, strict=True)
        return {
            "id": request.get("id") or str(uuid4()),
            "model_name": self.context.model_name,
            "model_version": model.get("modelVersion"),
            "outputs": [_output(str(one.get("name", "output")), answer) for one, answer in named],
        }


def _value(tensor: dict[str, Any]) -> Any:
    data = _flat(tensor["data"])
    if tensor.get("datatype") == "BYTES" and len(data) == 1:
        return data[0]
    shape = tensor.get("shape", [len(data)])
    if prod(shape) != len(data):
        raise BadRequest(f"input {tensor.get('name')}: {len(data)} elements do not fill the shape {shape}")
    return _shaped(data, shape)


def _shaped(data: list[Any], shape: Sequence[int]) -> Any:
    if len(shape) < 2:
        return data
    size = prod(shape[1:])
    return [_shaped(data[start * size : (start + 1) * size], shape[1:]) for start in range(shape[0])]


def _flat(value: Any) -> list[Any]:
    return [one for part in value for one in _flat(part)] if isinstance(value, list) else [value]


def _output(name: str, answer: Any) -> dict[str, Any]:
    data = _flat(answer)
    return {"name": name, "shape": _shape(answer), "datatype": _datatype(data), "data": data}


def _shape(value: Any) -> list[int]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape or [1]


def _datatype(data: list[Any]) -> str:
    kinds = {type(one) for one in data}
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return "INT64"
    return "FP64" if kinds and kinds <= {int, float} else "BYTES"
