"""Which tensors of a call have one row per request, and batches padded to a size that is compiled.

What is a batch dimension is not guessed from one call: the sample runs at batch 1 and at batchSize, and the
tensors whose first dimension went from the one to the other are the ones with rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from runner.optimize.edge import Call, Forward
from runner.optimize.tensors import mapped, tensors_in


@dataclass(frozen=True, slots=True)
class Rows:
    """Per tensor of a call, in the order of `tensors_in`: whether its dimension 0 is the batch.

    `lengths`: per input, the dimensions that are the length of a sequence, different from batch to batch.
    """

    inputs: tuple[bool, ...]
    outputs: tuple[bool, ...]
    lengths: tuple[tuple[int, ...], ...] = ()

    def in_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor] | None:
        """The inputs that have rows; None when the call has other tensors than the sample's."""
        tensors = tensors_in((args, kwargs))
        if len(tensors) != len(self.inputs):
            return None
        return [tensor for tensor, has_rows in zip(tensors, self.inputs, strict=True) if has_rows]


def rows_of(one: Sequence[Call], many: Sequence[Call], size: int) -> Rows | None:
    """From the calls of a batch of 1 and of a batch of `size`; None when it cannot be told.

    A handler that calls the model several times per batch is understood only while all calls are alike.
    """
    if size < 2 or not one or len(one) != len(many):
        return None
    found = {(_flags(a.inputs, b.inputs, size), _flags(a.output, b.output, size)) for a, b in zip(one, many)}  # noqa: B905 - equal lengths, checked above
    inputs, outputs = found.pop()
    if found or inputs is None or outputs is None or not any(inputs):
        return None
    return Rows(inputs, outputs, lengths_in(tensors_in(many[0].inputs)))


def lengths_in(tensors: Sequence[torch.Tensor]) -> tuple[tuple[int, ...], ...]:
    """Per tensor: the dimensions that are a sequence's length. One sample cannot show that they change.

    A matrix of integers is taken for sequences of tokens; what else is as long as they are goes with them.
    """
    tokens = {tensor.shape[1] for tensor in tensors if tensor.dim() == 2 and _counts(tensor)} - {1}
    return tuple(tuple(dim for dim in range(1, tensor.dim()) if tensor.shape[dim] in tokens) for tensor in tensors)


def _counts(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype != torch.bool


def _flags(one: Any, many: Any, size: int) -> tuple[bool, ...] | None:
    left, right = tensors_in(one), tensors_in(many)
    if len(left) != len(right):
        return None
    flags = [_has_rows(*pair, size) for pair in zip(left, right, strict=True)]
    return None if None in flags else tuple(flag is True for flag in flags)


def _has_rows(one: torch.Tensor, many: torch.Tensor, size: int) -> bool | None:
    if one.shape == many.shape:
        return False
    grew = one.dim() == many.dim() > 0 and (one.shape[0], many.shape[0]) == (1, size)
    return True if grew and one.shape[1:] == many.shape[1:] else None


class Padded:
    """`compiled` behind a few batch sizes: every batch is padded up to the next bucket and its outputs are cut.

    Rows are padded by repeating the last one: zeros would be masks that mask everything, and those make NaN.
    What fits no bucket goes to `eager`.
    """

    def __init__(self, compiled: Forward, eager: Forward, buckets: Sequence[int], rows: Rows) -> None:
        self._compiled = compiled
        self._eager = eager
        self._buckets = sorted(buckets)
        self._rows = rows

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        sizes = {len(tensor) for tensor in self._rows.in_inputs(args, kwargs) or ()}
        size = sizes.pop() if len(sizes) == 1 else 0
        bucket = next((bucket for bucket in self._buckets if bucket >= size > 0), None)
        if bucket is None:
            return self._eager(*args, **kwargs)
        if bucket == size:
            return self._compiled(*args, **kwargs)
        return self._through(bucket, size, args, kwargs)

    def _through(self, bucket: int, size: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        flags = iter(self._rows.inputs)
        args, kwargs = mapped((args, kwargs), lambda tensor: _grown(tensor, bucket) if next(flags) else tensor)
        output = self._compiled(*args, **kwargs)
        return mapped(output, _cutter(iter(self._rows.outputs), bucket, size))


def _grown(tensor: torch.Tensor, bucket: int) -> torch.Tensor:
    # The padded tensor is as ordinary as the one that came in: compiled code tells inference tensors apart.
    with torch.inference_mode(tensor.is_inference()):
        last = tensor[-1:].expand(bucket - len(tensor), *tensor.shape[1:])
        return torch.cat([tensor, last])


def _cutter(flags: Iterator[bool], bucket: int, size: int) -> Any:
    def cut(tensor: torch.Tensor) -> torch.Tensor:
        has_rows = next(flags, False) and tensor.dim() > 0 and len(tensor) == bucket
        return tensor[:size] if has_rows else tensor

    return cut


def powers_of_two(largest: int) -> tuple[int, ...]:
    """1, 2, 4, … and `largest` itself."""
    return tuple(sorted({1 << power for power in range(largest.bit_length())} | {largest}))
