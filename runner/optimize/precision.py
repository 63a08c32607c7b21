"""precision: which numbers the model computes with.

Rules of the room
1. A precision counts as supported only where the device computes it natively; emulation is slower than fp32 and
   less exact, so it is replaced by fp32 and said so.
2. `cast` converts weights once and inputs at the module's edge; outputs come back as fp32, so handlers need no
   change. `autocast` leaves the weights alone and lets torch choose per operator.
3. Modules that `keep` names have a type of their own, with conversions at their own edge.
4. Only one family of torch's TF32 switches is touched (`set_float32_matmul_precision` and cudnn's
   `fp32_precision`): after a mix of old and new ones torch refuses to read either.
"""

from __future__ import annotations

import difflib
import functools
import platform
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from archiver.config.model import ModelConfig, Precision
from runner.optimize.edge import Context, Edge, Layer
from runner.optimize.step import AlreadySo, Change, StepFailed, Wish
from runner.optimize.tensors import Convert, mapped
from runner.optimize.weights import Exchange, floating

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
_AMPERE = (8, 0)


@dataclass(frozen=True, slots=True)
class Native:
    """What a device computes without emulation."""

    bf16: bool
    fp16: bool
    tf32: bool


@dataclass(frozen=True, slots=True)
class PrecisionPlan:
    """`name`: fp32, tf32, fp16 or bf16. `mode`: cast or autocast. `keep`: module glob → name."""

    name: str
    mode: str
    keep: Mapping[str, str]
    device: torch.device


def native(device: torch.device) -> Native:
    """Ask the device. torch's own CUDA answer for bf16 includes emulation, hence the compute capability."""
    if device.type == "cuda":
        capable = torch.cuda.get_device_capability(device) >= _AMPERE
        return Native(bf16=capable, fp16=True, tf32=capable)
    if device.type == "mps":
        return Native(bf16=torch.backends.mps.is_macos_or_newer(14, 0), fp16=True, tf32=False)
    return _native_cpu(torch.cpu.get_capabilities(), platform.machine())


def _native_cpu(found: Mapping[str, Any], machine: str) -> Native:
    if machine in ("x86_64", "AMD64"):
        bf16 = bool(found.get("avx512_bf16") or found.get("amx_bf16"))
        return Native(bf16, bool(found.get("avx512_fp16") or found.get("amx_fp16")), tf32=False)
    onednn = torch.ops.mkldnn
    return Native(onednn._is_mkldnn_bf16_supported(), onednn._is_mkldnn_fp16_supported(), tf32=False)


def choose(declared: str, native: Native, device_type: str) -> tuple[str, str | None]:
    """The precision to use and, if it is not the declared one, why."""
    if declared == "auto":
        return _automatic(native, device_type)
    if declared == "fp32" or getattr(native, declared):
        return declared, None
    reasons = {
        "bf16": f"this {device_type} computes bf16 only by emulation",
        "fp16": f"this {device_type} computes fp16 only by emulation",
        "tf32": "TF32 is a mode of NVIDIA GPUs from compute capability 8.0 on",
    }
    return "fp32", reasons[declared]


def _automatic(native: Native, device_type: str) -> tuple[str, str | None]:
    if native.bf16:
        return "bf16", None
    if native.fp16 and device_type != "cpu":
        return "fp16", None
    return "fp32", f"auto takes fp32: this {device_type} computes nothing shorter natively"


class PrecisionStep:
    """Weights and arithmetic in the declared precision."""

    name = "precision"
    needs_sample = False

    def declared(self, config: ModelConfig, device: torch.device) -> Wish[PrecisionPlan] | None:
        """None when the YAML says nothing: the model then runs in the precision it was saved in."""
        precision = config.precision
        if precision.dtype is None:
            return None
        name, reason = choose(precision.dtype, native(device), device.type)
        return Wish(
            declared=_told(precision),
            plan=PrecisionPlan(name, precision.mode, precision.keep, device),
            instead="as loaded",
            notes=() if reason is None else (reason,),
            replaced=precision.dtype not in (name, "auto"),
        )

    def change(self, edge: Edge, plan: PrecisionPlan) -> Change:
        if plan.name in ("fp32", "tf32"):
            return _SinglePrecision(edge, plan)
        if plan.mode == "autocast":
            return _Autocast(edge, plan)
        return _Cast(edge, plan)


def _told(precision: Precision) -> str:
    return f"{precision.dtype} (autocast)" if precision.mode == "autocast" else str(precision.dtype)


class _Cast(Change):
    """Weights in the short type, inputs converted at the edge, outputs back to fp32."""

    def __init__(self, edge: Edge, plan: PrecisionPlan) -> None:
        dtype = DTYPES[plan.name]
        kept = kept_modules(edge.module, plan.keep)
        rest = floating(edge.module, skip=[module for module, _ in kept])
        self._edge = edge
        self._weights = [Exchange(rest, to_dtype(dtype))]
        self._weights += [Exchange(floating(module), to_dtype(own)) for module, own in kept]
        self._layer = Layer(before=to_dtype(dtype), after=back_to_fp32)
        held = [_Held(module, own, leave=to_dtype(dtype)) for module, own in kept]
        self._parts: list[Exchange | _Held] = [*self._weights, *held]
        self.text = f"{plan.name} (cast{_and_kept(kept)})"

    def on(self) -> None:
        self._edge.layers.append(self._layer)
        for part in self._parts:
            part.on()

    def off(self) -> None:
        _take_away(self._edge, self._layer)
        for part in self._parts:
            part.off()

    def keep(self) -> None:
        for weights in self._weights:
            weights.keep()


class _Autocast(Change):
    """Weights as loaded; torch chooses the type of every operator."""

    def __init__(self, edge: Edge, plan: PrecisionPlan) -> None:
        kept = kept_modules(edge.module, plan.keep)
        self._edge = edge
        self._layer = Layer(context=_autocast(plan.device.type, DTYPES[plan.name]), after=back_to_fp32)
        self._held = [_Held(module, own, context=_autocast(plan.device.type, own)) for module, own in kept]
        self.text = f"{plan.name} (autocast{_and_kept(kept)})"

    def on(self) -> None:
        self._edge.layers.append(self._layer)
        for held in self._held:
            held.on()

    def off(self) -> None:
        _take_away(self._edge, self._layer)
        for held in self._held:
            held.off()


class _SinglePrecision(Change):
    """fp32: all weights in fp32 and no shortcut in the arithmetic; tf32: the same with TF32 matrix units."""

    def __init__(self, edge: Edge, plan: PrecisionPlan) -> None:
        shorter = [tensor for tensor in floating(edge.module) if tensor.dtype != torch.float32]
        self._switches = _Switches(plan.name)
        if not shorter and self._switches.set_already():
            raise AlreadySo("fp32", "as loaded")
        self._edge = edge
        self._weights = Exchange(shorter, to_dtype(torch.float32))
        self._layer = Layer(before=to_dtype(torch.float32)) if shorter else Layer()
        self.text = plan.name

    def on(self) -> None:
        self._weights.on()
        self._edge.layers.append(self._layer)
        self._switches.on()

    def off(self) -> None:
        self._weights.off()
        _take_away(self._edge, self._layer)
        self._switches.off()

    def keep(self) -> None:
        self._weights.keep()


class _Switches:
    """torch's process-wide fp32 arithmetic, set and put back. Convolutions count only on CUDA."""

    def __init__(self, name: str) -> None:
        self._before = _read_switches()
        matmul, conv = ("high", "tf32") if name == "tf32" else ("highest", "ieee")
        self._wanted = (matmul, conv if torch.cuda.is_available() else self._before[1])

    def set_already(self) -> bool:
        return self._before == self._wanted

    def on(self) -> None:
        _write_switches(*self._wanted)

    def off(self) -> None:
        _write_switches(*self._before)


def _conv() -> Any:
    """cudnn's switches for convolutions; None before torch had them."""
    return getattr(torch.backends.cudnn, "conv", None)


def _read_switches() -> tuple[str, str | None]:
    return torch.get_float32_matmul_precision(), getattr(_conv(), "fp32_precision", None)


def _write_switches(matmul: str, conv: str | None) -> None:
    torch.set_float32_matmul_precision(matmul)
    if conv is not None:
        _conv().fp32_precision = conv


class _Held:
    """A module with a type of its own inside a shorter model. A plain closure: compilers see through it."""

    def __init__(
        self, module: nn.Module, dtype: torch.dtype, *, leave: Convert | None = None, context: Context = nullcontext
    ) -> None:
        self._module = module
        self._own = own = module.forward
        self._had_own_attribute = "forward" in module.__dict__
        enter = to_dtype(dtype)

        @functools.wraps(own)
        def forward(*args: Any, **kwargs: Any) -> Any:
            with context():
                output = own(*mapped(args, enter), **mapped(kwargs, enter))
            return output if leave is None else mapped(output, leave)

        self._forward = forward

    def on(self) -> None:
        self._module.forward = self._forward

    def off(self) -> None:
        if self._had_own_attribute:
            self._module.forward = self._own
        else:
            self._module.__dict__.pop("forward", None)


def kept_modules(module: nn.Module, keep: Mapping[str, str]) -> list[tuple[nn.Module, torch.dtype]]:
    """The outermost submodules whose dotted name matches a glob of `keep`, with their type; first match counts.

    Raises StepFailed when a glob matches nothing: a typo must not pass for done.
    """
    names = [name for name, _ in module.named_modules() if name]
    for glob in keep:
        _check_matches(glob, names)
    matching = {
        name: dtype for glob, dtype in reversed(list(keep.items())) for name in names if fnmatchcase(name, glob)
    }
    outermost = [name for name in matching if not any(name.startswith(f"{other}.") for other in matching)]
    return [(module.get_submodule(name), DTYPES[matching[name]]) for name in outermost]


def _check_matches(glob: str, names: list[str]) -> None:
    if not any(fnmatchcase(name, glob) for name in names):
        near = difflib.get_close_matches(glob, names, n=1)
        hint = f", did you mean `{near[0]}`?" if near else ""
        raise StepFailed(f"keep: no module is called `{glob}`{hint}")


def _autocast(device_type: str, dtype: torch.dtype) -> Context:
    """Autocast to `dtype`; for fp32 that means switched off."""
    return lambda: torch.autocast(device_type, dtype=dtype, enabled=dtype != torch.float32)


def to_dtype(dtype: torch.dtype) -> Convert:
    """Floating-point tensors of any other type become `dtype`; integers and masks stay."""

    def convert(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return convert


def back_to_fp32(tensor: torch.Tensor) -> torch.Tensor:
    """fp16 and bf16 become fp32; fp64 was the model's own choice and stays."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _take_away(edge: Edge, layer: Layer) -> None:
    if layer in edge.layers:
        edge.layers.remove(layer)


def _and_kept(kept: list[tuple[nn.Module, torch.dtype]]) -> str:
    if not kept:
        return ""
    names = sorted({NAMES[dtype] for _, dtype in kept})
    return f", {len(kept)} module{'s' if len(kept) != 1 else ''} kept in {', '.join(names)}"
