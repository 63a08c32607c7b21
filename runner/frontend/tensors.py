"""Typed tensors of the Open Inference Protocol v2 in JSON: checked on the way in, inferred on the way out. Pure.

Source of the rules: the protocol's REST specification, "Tensor Data" and "Tensor Data Types".
"""

from __future__ import annotations

import json
import math
from typing import Any

from runner.frontend.binary_tensors import TensorError, check_bytes, elements_in, shown, size_of

_FLOATS = ("FP16", "FP32", "FP64", "BF16")
_RANGES = {f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)} | {
    f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)
}
DATATYPES = ("BOOL", *_RANGES, *_FLOATS, "BYTES")
_NOTHING = memoryview(b"")


def check_inputs(inputs: Any, binary: memoryview = _NOTHING) -> None:
    """Raises TensorError unless these are tensors whose shape, datatype and data agree, and whose bytes, for those
    that are not JSON, are all of `binary`."""
    if not isinstance(inputs, list) or not inputs:
        raise TensorError("inputs must be a list of at least one tensor.")
    for number, tensor in enumerate(inputs):
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise TensorError(f"input {number} must be an object with a name.")
        _check_kind(tensor)
        size = size_of(tensor)
        if size is None:
            _check_data(tensor)
            continue
        if size > len(binary):
            raise TensorError(f'input "{tensor["name"]}": the body ends before its {size} bytes of binary data.')
        check_bytes(tensor, binary[:size])
        binary = binary[size:]
    if binary:
        raise TensorError(f"{len(binary)} bytes after the JSON belong to no input.")


def _check_kind(tensor: dict[str, Any]) -> None:
    name, shape, datatype = tensor["name"], tensor.get("shape"), tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise TensorError(f'input "{name}": datatype must be one of {", ".join(DATATYPES)}.')
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise TensorError(f'input "{name}": shape must be a list of whole numbers from 0 on.')


def _check_data(tensor: dict[str, Any]) -> None:
    name, shape, datatype = tensor["name"], tensor["shape"], tensor["datatype"]
    if not isinstance(tensor.get("data"), list):
        raise TensorError(f'input "{name}": data must be a list, or binary_data_size among its parameters.')
    values = flat(tensor["data"])
    if len(values) != elements_in(tensor):
        raise TensorError(f'input "{name}": shape {shown(shape)} does not hold the {len(values)} values of data.')
    wrong = next((value for value in values if not _fits(value, datatype)), None)
    if wrong is not None or None in values:
        raise TensorError(f'input "{name}": {json.dumps(wrong)[:40]} is no {datatype}.')


def _fits(value: Any, datatype: str) -> bool:
    if datatype == "BOOL":
        return type(value) is bool
    if datatype == "BYTES":
        return isinstance(value, str)
    if datatype in _FLOATS:
        return type(value) in (int, float)
    lowest, highest = _RANGES[datatype]
    return type(value) is int and lowest <= value <= highest


def flat(data: Any) -> list[Any]:
    """The leaves of nested lists, in row-major order."""
    leaves, stack = [], [data]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(reversed(item))
        else:
            leaves.append(item)
    return leaves


def outputs_of(answer: Any) -> list[dict[str, Any]]:
    """A handler's answer as tensors: a mapping gives one per key, anything else is the one tensor "output"."""
    if isinstance(answer, dict) and answer:
        tensors = [_tensor(name, value) for name, value in answer.items()]
        if all(tensor is not None for tensor in tensors):
            return [tensor for tensor in tensors if tensor is not None]
    return [_tensor("output", answer) or _described("output", [1], "BYTES", [json.dumps(answer)])]


def _tensor(name: str, value: Any) -> dict[str, Any] | None:
    """The value as a tensor; None when it is ragged or holds values of several kinds."""
    items = value if isinstance(value, list) else [value]
    shape, values = _shape(items), flat(items)
    datatype = _datatype(values)
    if datatype is None or math.prod(shape) != len(values) or not _regular(items, shape):
        return None
    return _described(name, shape, datatype, values)


def _described(name: str, shape: list[int], datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def _shape(items: Any) -> list[int]:
    shape = []
    while isinstance(items, list):
        shape.append(len(items))
        items = items[0] if items else None
    return shape


def _regular(items: Any, shape: list[int]) -> bool:
    level = [items]
    for size in shape:
        if not all(isinstance(item, list) and len(item) == size for item in level):
            return False
        level = [inner for item in level for inner in item]
    return not any(isinstance(item, list) for item in level)


def _datatype(values: list[Any]) -> str | None:
    kinds = {type(value) for value in values}
    if kinds == {int}:
        return "INT64" if all(_fits(value, "INT64") for value in values) else None
    if kinds <= {int, float}:
        return "FP32"
    return {bool: "BOOL", str: "BYTES"}.get(kinds.pop()) if len(kinds) == 1 else None
