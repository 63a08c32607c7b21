"""attention: which of torch's scaled-dot-product kernels may be used, first choice first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from archiver.config.model import ModelConfig
from runner.optimize.edge import Edge, Layer
from runner.optimize.step import Change, NotApplicable, Wish

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
#: Kernels by device type; a device that is not listed has the last one only.
_EXIST = {"cuda": ("flash", "efficient", "cudnn", "math"), "cpu": ("flash", "math")}


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """Backends that exist on the device, in the declared order, the always possible `math` last."""

    names: tuple[str, ...]


class AttentionStep:
    """The declared kernels, in order, around every call of the module."""

    name = "attention"
    needs_sample = False

    def declared(self, config: ModelConfig, device: torch.device) -> Wish[AttentionPlan] | None:
        if config.attention is None:
            return None
        names, notes = available(config.attention, device.type)
        return Wish(", ".join(config.attention), AttentionPlan(names), instead="torch's own choice", notes=notes)

    def change(self, edge: Edge, plan: AttentionPlan) -> Change:
        return _Attention(edge, plan.names)


def available(declared: tuple[str, ...], device_type: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names to use and what to say about it. Without `math` at the end an unusual shape would raise "No viable
    backend" in the middle of a request, so it is always the last resort."""
    exist = _EXIST.get(device_type, ("math",))
    names = tuple(name for name in declared if name in exist)
    missing = [name for name in declared if name not in exist]
    notes = [f"{', '.join(missing)}: no such kernel on {device_type}"] if missing else []
    if "math" not in names:
        names = (*names, "math")
        notes.append("math added as the last resort")
    return names, tuple(notes)


class _Attention(Change):
    def __init__(self, edge: Edge, names: tuple[str, ...]) -> None:
        self._edge = edge
        self._backends = [BACKENDS[name] for name in names]
        self._count = _Count()
        self._counting = True
        self._layer = Layer(context=self._context)
        self.text = " → ".join(names)

    def on(self) -> None:
        self._edge.layers.append(self._layer)

    def off(self) -> None:
        if self._layer in self._edge.layers:
            self._edge.layers.remove(self._layer)

    def proven(self) -> Mapping[str, Any]:
        self._counting = False
        if not self._count.calls:
            raise NotApplicable("the model does not call scaled_dot_product_attention")
        return {"attentionCalls": self._count.calls}

    def keep(self) -> None:
        self._counting = False

    def _context(self) -> AbstractContextManager[Any]:
        return self._counted() if self._counting else sdpa_kernel(self._backends, set_priority=True)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._count, sdpa_kernel(self._backends, set_priority=True):
            yield


class _Count(TorchFunctionMode):
    """Counts attention calls while the sample runs, to know that the choice had something to act on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.calls += func is torch.nn.functional.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))
