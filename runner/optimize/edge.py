"""The module's edge: the one place between a handler's call and the module's own forward.

Rules of the room
1. The module stays the object that the handler made: same class, same attributes, same identity. Only its
   `forward` is replaced, so `model(x)`, `model.forward(x)`, `model.generate(…)` and a pipeline that holds the
   module all come through here, and taking the edge away leaves no trace.
2. Steps never wrap each other: they add a `Layer` or replace `inner`, and can take it back.
3. A call that needs gradients (an explanation) takes the module's own forward: `inner` may be compiled code.
4. The edge can watch. What is measured and verified is what the handler saw: its inputs before any
   conversion, its outputs after, the time in between.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from runner.handlers import gradients
from runner.optimize.tensors import Convert, mapped

if TYPE_CHECKING:
    from runner.optimize.batch import Rows

Forward = Callable[..., Any]
Context = Callable[[], AbstractContextManager[Any]]


def unchanged(tensor: torch.Tensor) -> torch.Tensor:
    """The conversion that converts nothing."""
    return tensor


@dataclass(frozen=True, eq=False)
class Layer:
    """What a step does around one call: inputs converted, a context entered, outputs converted."""

    before: Convert = unchanged
    context: Context = nullcontext
    after: Convert = unchanged


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the module, as the handler saw it. `inputs` and `output` are copies; None when only timed."""

    inputs: Any
    output: Any
    seconds: float


@dataclass
class Watch:
    """What the edge saw while it was watched. `copies`: keep inputs and outputs, not only times."""

    device: torch.device
    copies: bool
    calls: list[Call] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def observe(self, run: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inputs = mapped((args, kwargs), _copy) if self.copies else None
        start = self._now()
        try:
            output = run(args, kwargs)
        except Exception as error:
            self.errors.append(error)
            raise
        seconds = self._now() - start
        self.calls.append(Call(inputs, mapped(output, _copy) if self.copies else None, seconds))
        return output

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class Edge:
    """The edge of one module. Made off; `attach` puts it in place, `detach` takes it away."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.own: Forward = module.forward
        self.inner: Forward = self.own
        self.layers: list[Layer] = []
        self.watch: Watch | None = None
        self.rows: Rows | None = None  # which tensors have the batch in front; None while it is not known
        self.without_gradients: str | None = None  # why the module has none, where a step took them
        self.samples: tuple[Call, ...] = ()  # the smallest and the largest batch, when each is one call
        self._had_own_attribute = "forward" in module.__dict__

    @staticmethod
    def of(module: nn.Module) -> Edge | None:
        """The edge that stands around `module`, if one does."""
        edge = getattr(module.forward, "edge", None)
        return edge if isinstance(edge, Edge) else None

    def attach(self) -> None:
        """From now on every call comes through the edge. The signature stays the module's own."""

        @functools.wraps(self.own)
        def forward(*args: Any, **kwargs: Any) -> Any:
            return self(*args, **kwargs)

        forward.edge = self  # type: ignore[attr-defined]  # how `of` finds it
        self.module.forward = forward

    def detach(self) -> None:
        """The module is as it was before `attach`."""
        if "forward" in self.module.__dict__ and not self._had_own_attribute:
            del self.module.forward
        else:
            self.module.forward = self.own

    def inner_call(self, call: Call) -> Call:
        """A watched call as `inner` got it. Its inputs are plain copies: the handler's may be inference tensors."""
        with torch.inference_mode(False):
            args, kwargs = mapped(call.inputs, torch.Tensor.clone)
            for layer in self.layers:
                args, kwargs = mapped(args, layer.before), mapped(kwargs, layer.before)
        return Call((args, kwargs), call.output, 0.0)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.watch is not None:
            return self.watch.observe(self._run, args, kwargs)
        return self._run(args, kwargs)

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inner = self._for_gradients() if gradients.are_needed() else self.inner
        if not self.layers:
            return inner(*args, **kwargs)
        with ExitStack() as stack:
            for layer in self.layers:
                args, kwargs = mapped(args, layer.before), mapped(kwargs, layer.before)
                stack.enter_context(layer.context())
            output = inner(*args, **kwargs)
        for layer in reversed(self.layers):
            output = mapped(output, layer.after)
        return output

    def _for_gradients(self) -> Forward:
        if self.without_gradients is not None:
            raise gradients.NoGradients(self.without_gradients)
        return self.own


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone()
