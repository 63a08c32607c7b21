"""Tensors that came as bytes, as handlers see all tensors of the Open Inference Protocol: lists under `data`."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np

from runner.handlers.errors import BadRequest

_DTYPES = {
    **{"BOOL": "?", "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8"},
    **{"INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8"},
    **{"FP16": "<f2", "BF16": "<u2", "FP32": "<f4", "FP64": "<f8"},
}
_LENGTH = struct.Struct("<I")


def read_request(body: bytes, header: str) -> Any:
    """The request whose JSON is the first `header` bytes; what follows becomes `data` of its tensors.

    Raises BadRequest. The protocol's own route has checked everything before; a row of this content type may have
    come by another one.
    """
    try:
        request = msgspec.json.decode(body[: int(header)])
        rest = memoryview(body)[int(header) :]
        for tensor in request["inputs"]:
            size = (tensor.get("parameters") or {}).pop("binary_data_size", None)
            if size is not None:
                tensor["data"] = _values(tensor["datatype"], rest[:size])
                rest = rest[size:]
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise BadRequest(f"the tensors cannot be read: {type(error).__name__}: {error}") from error
    return request


def _values(datatype: str, data: memoryview) -> list[Any]:
    if datatype == "BYTES":
        return _elements(data)
    array = np.frombuffer(data, _DTYPES[datatype])
    if datatype == "BF16":  # the upper half of an FP32
        array = (array.astype("<u4") << 16).view("<f4")
    values: list[Any] = array.tolist()
    return values


def _elements(data: memoryview) -> list[Any]:
    """Text as str, as in JSON; what is none as bytes."""
    values: list[Any] = []
    while data:
        end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
        element = bytes(data[_LENGTH.size : end])
        try:
            values.append(element.decode())
        except UnicodeDecodeError:
            values.append(element)
        data = data[end:]
    return values
