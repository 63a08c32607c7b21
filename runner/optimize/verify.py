"""verify: the optimised model against the model as loaded, on the same sample inputs.

Compared is what the handler gets. Cosine is the worst of any row of any output, error the largest of any
element; both over what is finite in the reference (masked scores may be -inf, and must stay so).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from archiver.config.model import Verify
from runner.optimize.edge import Call
from runner.optimize.tensors import tensors_in


@dataclass(frozen=True, slots=True)
class Verdict:
    """`cosine`: lowest. `max_abs_error`: largest. `max_rel_error`: the largest error over the largest value of the
    same output. `top1`: share of rows of 2-d outputs (and of integers) that
    agree, None where nothing can be counted. `problem`: why there is nothing to compare, None if there is."""

    cosine: float = 1.0
    max_abs_error: float = 0.0
    max_rel_error: float = 0.0
    top1: float | None = None
    problem: str | None = None

    def measured(self) -> dict[str, Any]:
        """Plain, finite values for the report; nothing where there was nothing to compare."""
        if self.problem is not None:
            return {}
        figures = {
            "cosine": round(self.cosine, 7),
            "maxAbsError": self.max_abs_error,
            "maxRelError": round(self.max_rel_error, 7),
        }
        return figures if self.top1 is None else figures | {"top1": round(self.top1, 4)}

    def beyond(self, limits: Verify) -> str | None:
        """Which limit is broken and by how much; None when the outputs are close enough."""
        if self.problem is not None:
            return self.problem
        if self.cosine < limits.min_cosine:
            return f"cosine {self.cosine:.5f} to the model as loaded is below verify.minCosine {limits.min_cosine}"
        if limits.max_abs_error is not None and self.max_abs_error > limits.max_abs_error:
            return f"error {self.max_abs_error:.4g} is above verify.maxAbsError {limits.max_abs_error}"
        return None


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict for several batch sizes."""
    shares = [verdict.top1 for verdict in verdicts if verdict.top1 is not None]
    return Verdict(
        cosine=min(verdict.cosine for verdict in verdicts),
        max_abs_error=max(verdict.max_abs_error for verdict in verdicts),
        max_rel_error=max(verdict.max_rel_error for verdict in verdicts),
        top1=min(shares, default=None),
        problem=next((verdict.problem for verdict in verdicts if verdict.problem is not None), None),
    )


def compare(reference: Sequence[Call], got: Sequence[Call]) -> Verdict:
    """The calls of one run against those of the reference run.

    A generating model feeds its own outputs back: from the first call whose inputs differ the two have parted,
    and only what came before can be compared.
    """
    verdicts: list[Verdict] = []
    for before, after in zip(reference, got, strict=False):
        if not _same(before.inputs, after.inputs):
            break
        verdicts.append(_outputs(tensors_in(before.output), tensors_in(after.output)))
    if not verdicts:
        return Verdict(problem="the model was called with other inputs than as loaded: nothing can be compared")
    return worst(verdicts)


def _same(before: Any, after: Any) -> bool:
    left, right = tensors_in(before), tensors_in(after)
    return len(left) == len(right) and all(map(_equal, left, right))


def _equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.shape == right.shape and left.dtype == right.dtype and torch.equal(left, right)


def _outputs(before: list[torch.Tensor], after: list[torch.Tensor]) -> Verdict:
    if not before:
        return Verdict(problem="the model returns no tensors: nothing can be compared")
    if [tensor.shape for tensor in before] != [tensor.shape for tensor in after]:
        return Verdict(problem="the outputs have other shapes than as loaded")
    return worst([_tensor(*pair) for pair in zip(before, after, strict=True)])


def _tensor(before: torch.Tensor, after: torch.Tensor) -> Verdict:
    if before.numel() == 0:
        return Verdict()
    if not before.is_floating_point():
        return Verdict(top1=(before == after).double().mean().item())
    known = before.isfinite()
    if not torch.equal(known, after.isfinite()):
        return Verdict(cosine=0.0, max_abs_error=float("inf"), problem="the outputs are not finite")
    left, right = (tensor.double().masked_fill(~known, 0.0) for tensor in (before, after))
    error, largest = (left - right).abs().max().item(), left.abs().max().item()
    relative = error / largest if largest else error
    return Verdict(_cosine(left, right), error, relative, _agreement(left, right))


def _cosine(left: torch.Tensor, right: torch.Tensor) -> float:
    rows = left.shape[0] if left.dim() > 1 else 1
    left, right = left.reshape(rows, -1), right.reshape(rows, -1)
    lengths = left.norm(dim=1) * right.norm(dim=1)
    cosines = (left * right).sum(dim=1) / lengths.clamp_min(torch.finfo(torch.float64).tiny)
    both_zero = (left == 0).all(dim=1) & (right == 0).all(dim=1)
    return float(cosines.masked_fill(both_zero, 1.0).clamp(-1.0, 1.0).min())


def _agreement(left: torch.Tensor, right: torch.Tensor) -> float | None:
    if left.dim() != 2 or left.shape[1] < 2:
        return None
    return (left.argmax(dim=1) == right.argmax(dim=1)).double().mean().item()
