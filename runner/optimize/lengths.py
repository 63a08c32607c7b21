"""Sequences of other lengths than the sample's: compiled code against eager, before READY.

One sample shows one length. Its tensors are cut and doubled along the dimensions that are a length; what eager
itself refuses (a model has a longest sequence) is no test of the compiled code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from runner.optimize.batch import Rows
from runner.optimize.edge import Call, Forward
from runner.optimize.guarded import Unfit
from runner.optimize.step import StepFailed
from runner.optimize.tensors import mapped
from runner.optimize.verify import compare

#: Compiled and eager code of the same precision; far above rounding, far below a wrong mask.
_LEAST_COSINE = 0.99

Resize = Callable[[torch.Tensor, int], torch.Tensor]


def check_lengths(compiled: Forward, eager: Forward, sample: Call, rows: Rows | None) -> dict[str, Any]:
    """The lengths that were tried. Empty for a model without sequences. Raises StepFailed when one came out wrong."""
    if rows is None or not any(rows.lengths):
        return {}
    tried = {}
    for name, resize in (("half", _cut), ("double", _doubled)):
        tried[name] = _tried(compiled, eager, _resized(sample.inputs, rows, resize))
    return {"lengths": tried}


def _tried(compiled: Forward, eager: Forward, inputs: Any) -> str:
    args, kwargs = inputs
    with torch.no_grad():
        try:
            wanted = eager(*args, **kwargs)
        except (RuntimeError, IndexError) as error:
            return f"refused by the model: {error}"
        try:
            got = compiled(*args, **kwargs)
        except Unfit as unfit:
            return f"runs eager: {unfit}"
    verdict = compare([Call(inputs, wanted, 0.0)], [Call(inputs, got, 0.0)])
    if verdict.problem is not None or verdict.cosine < _LEAST_COSINE:
        raise StepFailed(f"wrong for sequences of another length: {verdict.problem or verdict.cosine}")
    return "runs compiled"


def _resized(inputs: Any, rows: Rows, resize: Resize) -> Any:
    lengths = iter(rows.lengths)

    def convert(tensor: torch.Tensor) -> torch.Tensor:
        for dim in next(lengths):
            tensor = resize(tensor, dim)
        return tensor.contiguous()

    return mapped(inputs, convert)


def _cut(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    return tensor.narrow(dim, 0, max(tensor.shape[dim] // 2, 1))


def _doubled(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    return torch.cat([tensor, tensor], dim)
