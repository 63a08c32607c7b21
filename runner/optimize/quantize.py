"""quantization: linear layers in integers or 8-bit floats, by torchao.

Rules of the room
1. Only what the device computes counts as possible; anything else is refused with the reason before torchao is
   asked, and so is a missing torchao.
2. Weights are exchanged layer by layer: the layer stays the object that the handler made, and until `keep` the
   loaded weight is at hand.
3. A quantised layer is fast only once it is compiled (with freezing, on a CPU): eager pays for every conversion.
   It may still be wanted for its size, so it stays however slow it is; the report has the figures.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from archiver.config.model import ModelConfig
from archiver.errors import EXTRAS
from runner.optimize.edge import Edge
from runner.optimize.step import Change, NotApplicable, StepFailed, Wish

#: Scheme → torchao's class for it (0.18) and the CUDA capability that computes it; `cpu`: a CPU does as well.
_CONFIGS = {
    "int8-dynamic": "Int8DynamicActivationInt8WeightConfig",
    "int8-weight-only": "Int8WeightOnlyConfig",
    "int4-weight-only": "Int4WeightOnlyConfig",
    "fp8-dynamic": "Float8DynamicActivationFloat8WeightConfig",
    "fp8-weight-only": "Float8WeightOnlyConfig",
}
_CAPABILITY = {"int8": (8, 0), "int4": (8, 0), "fp8": (8, 9)}
_ON_CPU = ("int8",)
#: Schemes of that kind have no gradients (torchao 0.18).
_ROUNDS_INPUTS = "-dynamic"


@dataclass(frozen=True, slots=True)
class QuantizePlan:
    """`include`, `exclude`: globs on dotted module names; no `include` means every linear layer."""

    scheme: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    device: torch.device


class QuantizeStep:
    """The linear layers' weights, and where the scheme says so their inputs, in fewer bits."""

    name = "quantization"
    needs_sample = False

    def declared(self, config: ModelConfig, device: torch.device) -> Wish[QuantizePlan] | None:
        declared = config.quantization
        if declared is None:
            return None
        compiles = config.pt2.compile is not None and config.pt2.compile.enable
        return Wish(
            declared=declared.scheme,
            plan=QuantizePlan(declared.scheme, declared.include, declared.exclude, device),
            instead="unquantised",
            notes=() if compiles else ("not compiled: quantised layers are fast only under pt2.compile",),
            required="quantization.fallback: fail" if declared.fallback == "fail" else None,
        )

    def change(self, edge: Edge, plan: QuantizePlan) -> Change:
        capability = torch.cuda.get_device_capability(plan.device) if plan.device.type == "cuda" else None
        problem = impossible(plan.scheme, plan.device.type, capability)
        if problem is not None:
            raise StepFailed(problem)
        if isinstance(edge.module, torch.jit.ScriptModule):
            raise NotApplicable("the layers of a TorchScript model cannot be exchanged")
        layers = chosen(edge.module, plan.include, plan.exclude)
        return _Quantized(edge, layers, plan.scheme, _torchao_config(plan.scheme))


def impossible(scheme: str, device_type: str, capability: tuple[int, int] | None) -> str | None:
    """Why this device does not compute the scheme; None when it does. `capability`: of a CUDA device."""
    kind = scheme.partition("-")[0]
    if device_type == "cpu":
        return None if kind in _ON_CPU else f"a cpu has no {kind} arithmetic"
    if device_type != "cuda" or capability is None:
        return f"no {kind} arithmetic on {device_type}"
    least = _CAPABILITY[kind]
    if capability < least:
        needed, found = (".".join(map(str, pair)) for pair in (least, capability))
        return f"{scheme} needs compute capability {needed}, this GPU has {found}"
    return None


def chosen(module: nn.Module, include: tuple[str, ...], exclude: tuple[str, ...]) -> dict[str, nn.Linear]:
    """The linear layers that the globs choose, by dotted name ("" for the module itself). A glob that names a
    module means everything in it.

    Raises StepFailed when a glob matches no module (a typo must not pass for done), NotApplicable when nothing
    is chosen.
    """
    names = [name for name, _ in module.named_modules() if name]
    for glob in (*include, *exclude):
        _check_matches(glob, names)
    linear = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    found = {
        name: layer
        for name, layer in linear.items()
        if (not include or _under(name, include)) and not _under(name, exclude)
    }
    if not found:
        raise NotApplicable("the model has no linear layers" if not linear else "the globs leave no linear layer")
    return found


def _under(name: str, globs: tuple[str, ...]) -> bool:
    parts = name.split(".")
    heads = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return any(fnmatchcase(head, glob) for glob in globs for head in heads)


def _check_matches(glob: str, names: list[str]) -> None:
    if not any(fnmatchcase(name, glob) for name in names):
        near = difflib.get_close_matches(glob, names, n=1)
        hint = f", did you mean `{near[0]}`?" if near else ""
        raise StepFailed(f"no module is called `{glob}`{hint}")


def _torchao_config(scheme: str) -> Any:
    if importlib.util.find_spec("torchao") is None:
        raise StepFailed(f"torchao is not installed: pip install 'torch-archive[{EXTRAS['torchao']}]'")
    from torchao import quantization

    return getattr(quantization, _CONFIGS[scheme])()


class _Quantized(Change):
    def __init__(self, edge: Edge, layers: Mapping[str, nn.Linear], scheme: str, config: Any) -> None:
        self._edge = edge
        self._scheme = scheme
        self._layers = dict(layers)
        self._config = config
        self._before = {name: _Weight.of(layer) for name, layer in layers.items()}
        self._after: dict[str, _Weight] = {}
        self.text = f"{scheme} ({len(layers)} linear layer{'s' if len(layers) != 1 else ''})"

    def on(self) -> None:
        if not self._after:
            self._quantize()
        for name, layer in self._layers.items():
            self._after[name].put(layer)

    def off(self) -> None:
        for name, layer in self._layers.items():
            self._before[name].put(layer)

    def proven(self) -> Mapping[str, Any]:
        before, after = (sum(weight.size for weight in side.values()) for side in (self._before, self._after))
        return {"linearWeightBytes": {"before": before, "after": after}}

    def keep(self) -> None:
        self._before, self._after = {}, {}
        if self._scheme.endswith(_ROUNDS_INPUTS):
            self._edge.without_gradients = f"quantization {self._scheme} rounds what goes into its layers"

    def _quantize(self) -> None:
        from torchao.quantization import quantize_

        wanted = {id(layer) for layer in self._layers.values()}
        with torch.no_grad():
            quantize_(self._edge.module, self._config, filter_fn=_is_one_of(wanted))
        self._after = {name: _Weight.of(layer) for name, layer in self._layers.items()}


def _is_one_of(wanted: set[int]) -> Callable[[nn.Module, str], bool]:
    return lambda layer, name: id(layer) in wanted


@dataclass(frozen=True, slots=True)
class _Weight:
    """A layer's weight, and the text that torchao hangs on the layer for its repr."""

    weight: nn.Parameter
    own_repr: Any

    @classmethod
    def of(cls, layer: nn.Linear) -> _Weight:
        return cls(layer.get_parameter("weight"), layer.__dict__.get("extra_repr"))

    def put(self, layer: nn.Linear) -> None:
        layer.weight = self.weight
        if self.own_repr is not None:
            layer.extra_repr = self.own_repr  # type: ignore[method-assign]  # what torchao does
        else:
            layer.__dict__.pop("extra_repr", None)

    @property
    def size(self) -> int:
        """Bytes in memory; a quantised weight is made of several tensors."""
        flatten = getattr(self.weight, "__tensor_flatten__", None)
        if flatten is None:
            return self.weight.nbytes
        return sum(getattr(self.weight, name).nbytes for name in flatten()[0])
