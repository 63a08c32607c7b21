"""Tensors as bytes: the Open Inference Protocol's extension "Binary Tensor Data". Pure.

A body is JSON followed by the bytes of those tensors that say `binary_data_size`, in their order; a header says how
long the JSON is. Elements are little-endian and row-major; each element of BYTES has its length before it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: Bytes of an element; those of BYTES vary.
WIDTHS = {
    **dict.fromkeys(("BOOL", "UINT8", "INT8"), 1),
    **dict.fromkeys(("UINT16", "INT16", "FP16", "BF16"), 2),
    **dict.fromkeys(("UINT32", "INT32", "FP32"), 4),
    **dict.fromkeys(("UINT64", "INT64", "FP64"), 8),
}
_CODES = {"BOOL": "?", "UINT8": "B", "INT8": "b", "UINT16": "H", "INT16": "h", "FP16": "e"} | {
    **{"UINT32": "I", "INT32": "i", "FP32": "f", "UINT64": "Q", "INT64": "q", "FP64": "d"}
}
_LENGTH = struct.Struct("<I")
#: No tensor has as many elements; a product beyond it is not carried on, however many sizes a client sends.
_TOO_MANY = 2**63
#: Characters of a shape in a message.
_SHOWN = 80


class TensorError(ValueError):
    """What was given is no tensor; the message names it."""


class NoSuchOutput(ValueError):
    """A request asks for an output that the handler's answer does not have."""


def elements_in(tensor: Mapping[str, Any]) -> int:
    """How many elements the tensor's shape holds, in time that is linear in its length. Raises TensorError."""
    if 0 in tensor["shape"]:
        return 0
    elements = 1
    for size in tensor["shape"]:
        elements *= size
        if elements >= _TOO_MANY:
            raise TensorError(f'input "{tensor["name"]}": shape {shown(tensor["shape"])} holds too many elements.')
    return elements


def shown(shape: Sequence[int]) -> str:
    """The shape as messages have it: shortened where it is long."""
    text = ", ".join(map(str, shape[:_SHOWN]))
    return f"[{text}]" if len(shape) <= _SHOWN and len(text) <= _SHOWN else f"[{text[:_SHOWN]}…]"


def size_of(tensor: Mapping[str, Any]) -> int | None:
    """How many bytes of a body are the tensor's; None when its data is JSON. Raises TensorError."""
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise TensorError(f'input "{tensor["name"]}": binary_data_size must be a whole number.')
    if "data" in tensor:
        raise TensorError(f'input "{tensor["name"]}" has both data and binary_data_size.')
    return size


def check_bytes(tensor: Mapping[str, Any], data: memoryview) -> None:
    """Raises TensorError unless the bytes fill the shape."""
    name, datatype, elements = tensor["name"], tensor["datatype"], elements_in(tensor)
    if datatype == "BYTES":
        found = sum(1 for _ in elements_of(name, data))
        if found != elements:
            raise TensorError(
                f'input "{name}": shape {shown(tensor["shape"])} does not hold the {found} elements of its data.'
            )
    elif len(data) != elements * WIDTHS[datatype]:
        raise TensorError(
            f'input "{name}": shape {shown(tensor["shape"])} of {datatype} takes '
            f"{elements * WIDTHS[datatype]} bytes, not {len(data)}."
        )


def elements_of(name: str, data: memoryview) -> Iterator[memoryview]:
    """The elements of BYTES. Raises TensorError when the lengths lead beyond the data."""
    place = 0
    while place < len(data):
        start = place + _LENGTH.size
        place = start + (_LENGTH.unpack_from(data, place)[0] if start <= len(data) else 0)
        if place > len(data):
            raise TensorError(f'input "{name}": an element of BYTES ends beyond its data.')
        yield data[start:place]


def packed(datatype: str, values: Sequence[Any]) -> bytes:
    """The values as bytes. Raises TensorError for values that are none of that type."""
    try:
        if datatype == "BYTES":
            return b"".join(_LENGTH.pack(len(each)) + each for each in map(as_bytes, values))
        if datatype == "BF16":
            # The upper half of an FP32, rounded to nearest even.
            words = struct.unpack(f"<{len(values)}I", struct.pack(f"<{len(values)}f", *values))
            return struct.pack(f"<{len(values)}H", *(_upper_half(word) for word in words))
        return struct.pack(f"<{len(values)}{_CODES[datatype]}", *values)
    except (struct.error, OverflowError, KeyError) as error:
        raise TensorError(f"a value is no {datatype}: {error}") from error


def _upper_half(word: int) -> int:
    if word & 0x7FFFFFFF > 0x7F800000:
        return word >> 16 | 0x40  # not a number stays so
    return (word + 0x7FFF + (word >> 16 & 1)) >> 16


def as_bytes(value: Any) -> bytes:
    """An element of BYTES."""
    return value if isinstance(value, bytes) else str(value).encode()
