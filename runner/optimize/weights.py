"""Parameters and buffers of a module, exchanged in place and given back.

The tensors stay the same objects, so tied weights stay tied, a handler's references stay valid and TorchScript
modules work too; only their data is exchanged. Until `keep` both forms are in memory.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn

from runner.optimize.tensors import Convert


def floating(module: nn.Module, skip: Collection[nn.Module] = ()) -> list[torch.Tensor]:
    """The module's floating-point parameters and buffers, each once, without those of the modules in `skip`."""
    skipped = {id(tensor) for kept in skip for tensor in _all(kept)}
    found = {id(tensor): tensor for tensor in _all(module) if tensor.is_floating_point()}
    return [tensor for key, tensor in found.items() if key not in skipped]


def _all(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]


class Exchange:
    """`convert` applied to the data of these tensors, on and off."""

    def __init__(self, tensors: Collection[torch.Tensor], convert: Convert) -> None:
        self._tensors = list(tensors)
        self._convert = convert
        self._before = [tensor.data for tensor in self._tensors]
        self._after: list[torch.Tensor] = []

    def on(self) -> None:
        """The converted data is in place. Converting happens the first time."""
        if not self._after:
            self._after = [self._convert(data) for data in self._before]
        for tensor, data in zip(self._tensors, self._after, strict=True):
            tensor.data = data

    def off(self) -> None:
        """The data is what it was."""
        for tensor, data in zip(self._tensors, self._before, strict=True):
            tensor.data = data

    def keep(self) -> None:
        """Let go of both lists; the tensors hold what they hold now."""
        self._tensors, self._before, self._after = [], [], []
