"""memoryFormat: how 4-d weights and inputs lie in memory. channels_last is what convolution kernels prefer."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from archiver.config.model import ModelConfig
from runner.optimize.edge import Edge, Layer
from runner.optimize.step import AlreadySo, Change, NotApplicable, Wish
from runner.optimize.tensors import Convert
from runner.optimize.weights import Exchange

_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True, slots=True)
class FormatPlan:
    """`name`: channels_last or contiguous."""

    name: str


class MemoryFormatStep:
    """Weights once, inputs at the edge of every call."""

    name = "memoryFormat"
    needs_sample = False

    def declared(self, config: ModelConfig, device: torch.device) -> Wish[FormatPlan] | None:
        if config.memory_format is None:
            return None
        return Wish(config.memory_format, FormatPlan(config.memory_format), instead="as loaded")

    def change(self, edge: Edge, plan: FormatPlan) -> Change:
        weights = [tensor for tensor in edge.module.parameters() if tensor.dim() == 4]
        if not weights:
            raise NotApplicable("the model has no 4-d weights")
        wanted = _FORMATS[plan.name]
        if plan.name == "contiguous" and all(weight.is_contiguous(memory_format=wanted) for weight in weights):
            raise AlreadySo("contiguous", "as loaded")
        return _Format(edge, weights, plan.name)


class _Format(Change):
    def __init__(self, edge: Edge, weights: list[torch.nn.Parameter], name: str) -> None:
        convert = _to_format(_FORMATS[name])
        self._edge = edge
        self._weights = Exchange(weights, convert)
        self._layer = Layer(before=convert)
        self.text = f"{name} ({len(weights)} weight{'s' if len(weights) != 1 else ''})"

    def on(self) -> None:
        self._weights.on()
        self._edge.layers.append(self._layer)

    def off(self) -> None:
        self._weights.off()
        if self._layer in self._edge.layers:
            self._edge.layers.remove(self._layer)

    def keep(self) -> None:
        self._weights.keep()


def _to_format(memory_format: torch.memory_format) -> Convert:
    def convert(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.contiguous(memory_format=memory_format) if tensor.dim() == 4 else tensor

    return convert
