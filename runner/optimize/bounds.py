"""How far the indices of a call may go.

Eager refuses an index beyond a table with an exception; compiled code for CPUs checks it inside a parallel region,
where an exception ends the process. So calls that go too far are left to eager.

What is known is known from the sample's call: which tables look up an input itself (tokens), and which look up
positions, whose highest index grows with the length. One number for all places is no position. Tables that are no
`nn.Embedding` are not seen; a row that ends workers there is given up as every row that does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from runner.optimize.batch import Rows
from runner.optimize.edge import Call, Forward
from runner.optimize.guarded import Unfit
from runner.optimize.tensors import tensors_in


@dataclass(frozen=True, slots=True)
class Bounds:
    """`below`: place of an input tensor → its numbers are lower than this. `longest`: (place, dimension) → the
    largest size that the tables of positions have room for."""

    below: Mapping[int, int] = field(default_factory=dict)
    longest: Mapping[tuple[int, int], int] = field(default_factory=dict)

    def check(self, tensors: Sequence[torch.Tensor]) -> None:
        """Raises Unfit for an input with an index or a length that one of the tables does not have."""
        for (place, dim), most in self.longest.items():
            if tensors[place].shape[dim] > most:
                raise Unfit(f"input {place} is {tensors[place].shape[dim]} long, there are {most} positions")
        for place, limit in self.below.items():
            tensor = tensors[place]
            if tensor.numel() == 0 or tensor.device.type != "cpu":
                continue  # a GPU would have to be waited for, and fails there as eager does
            lowest, highest = (int(each) for each in torch.aminmax(tensor))
            if lowest < 0 or highest >= limit:
                raise Unfit(f"input {place} goes from {lowest} to {highest}, its table from 0 to {limit - 1}")


@dataclass
class _Lookups:
    """What the tables were asked for."""

    inputs: Sequence[torch.Tensor]
    below: dict[int, int] = field(default_factory=dict)
    room: list[int] = field(default_factory=list)

    def __call__(self, table: nn.Module, arguments: tuple[Any, ...], _: Any) -> None:
        assert isinstance(table, nn.Embedding), "this is a bug: hooked something else"
        indices = arguments[0] if arguments else None
        if not isinstance(indices, torch.Tensor) or not indices.numel():
            return
        place = next((place for place, tensor in enumerate(self.inputs) if _is_part_of(indices, tensor)), None)
        if place is not None:
            self.below[place] = min(self.below.get(place, table.num_embeddings), table.num_embeddings)
        elif not _is_constant(indices):
            self.room.append(table.num_embeddings - 1 - int(indices.max()))


def _is_constant(indices: torch.Tensor) -> bool:
    """Whether each place of a row asks for the same: a kind of token that the model fills in, no position."""
    lowest, highest = torch.aminmax(indices)
    return indices.shape[-1:] > (1,) and bool(lowest == highest)


def _is_part_of(indices: torch.Tensor, tensor: torch.Tensor) -> bool:
    return indices.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()


def bounds_of(module: nn.Module, own: Forward, sample: Call, rows: Rows | None) -> Bounds:
    """From one eager call of the module's own forward. Raises what the module raises."""
    args, kwargs = sample.inputs
    tensors = tensors_in((args, kwargs))
    lookups = _Lookups(tensors)
    with torch.no_grad(), _hooked(module, lookups):
        own(*args, **kwargs)
    if rows is None or not lookups.room:
        return Bounds(lookups.below)
    room = min(lookups.room)
    lengths = ((place, dim) for place, dims in enumerate(rows.lengths) for dim in dims)
    return Bounds(lookups.below, {(place, dim): tensors[place].shape[dim] + room for place, dim in lengths})


@contextmanager
def _hooked(module: nn.Module, lookups: _Lookups) -> Iterator[None]:
    with ExitStack() as stack:
        for part in module.modules():
            if isinstance(part, nn.Embedding):
                stack.callback(part.register_forward_hook(lookups).remove)
        yield
